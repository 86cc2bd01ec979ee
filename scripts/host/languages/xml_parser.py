"""The XML parser of scripts: without entities, without files, bounded.

`xml.etree.ElementTree` makes each parser by its name `XMLParser`. The zygote puts this one there.
"""

import importlib
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

# Some functions go through a tree by recursion.
MAX_DEPTH = 1000
_CHUNK = 64 * 1024


class SafeXMLParser(ElementTree.XMLParser):
    """Refuses what a document could attack with: own entities, and elements nested too deep.

    Expat reads each piece twice: at first only to look for these.
    """

    def __init__(self, *, target: Any = None, encoding: str | None = None) -> None:
        super().__init__(target=target, encoding=encoding)
        self._depth = 0
        watch = self._watch = expat.ParserCreate(encoding)
        watch.EntityDeclHandler = _refuse_entity
        watch.StartElementHandler = self._enter
        watch.EndElementHandler = self._leave

    def feed(self, data: str | bytes) -> None:  # type: ignore[override]
        """Raises ParseError."""
        self._look(data, is_end=False)
        super().feed(data)

    def close(self) -> Any:
        """Raises ParseError."""
        self._look(b"", is_end=True)
        return super().close()

    # ElementTree.parse calls it instead of feed where it is there.
    def _parse_whole(self, file: Any) -> Any:
        while data := file.read(_CHUNK):
            self.feed(data)
        return self.close()

    def _look(self, data: str | bytes, *, is_end: bool) -> None:
        try:
            self._watch.Parse(data, is_end)
        except expat.ExpatError as error:
            raise _parse_error(str(error), error.code, error.lineno, error.offset) from None
        except _Refused as error:
            place = self._watch.CurrentLineNumber, self._watch.CurrentColumnNumber
            raise _parse_error(f"{error}: line {place[0]}, column {place[1]}", 0, *place) from None

    def _enter(self, name: str, attributes: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Refused(f"elements are nested more than {MAX_DEPTH} deep")

    def _leave(self, name: str) -> None:
        self._depth -= 1


def preload() -> None:
    """Make this the parser of all functions of `xml.etree.ElementTree`."""
    module: Any = importlib.import_module("xml.etree.ElementTree")
    module.XMLParser = SafeXMLParser


class _Refused(Exception):
    """The document has what no document of a script may have."""


def _refuse_entity(name: str, *_: Any) -> None:
    raise _Refused(f"the document declares an entity, {name[:100]!r}, which is not allowed")


def _parse_error(text: str, code: int, line: int, column: int) -> ElementTree.ParseError:
    error = ElementTree.ParseError(text)
    error.code = code
    error.position = line, column
    return error
