"""The objects of a JavaScript realm besides the language: the files beside this one.

Making all of them for each message would take longer than most scripts run. So a script gets the
parts that its code and libraries name, and all parts where the code could reach unnamed ones.
"""

import functools
import re
from pathlib import Path

from scripts.host.languages import quickjs, time_zones

# The engine's name for all of these files, in stacks.
FILE = "<engine>"

# The parts, with the names that code reaches them with.
_PARTS = {
    "decisions": r"retry|reject",
    "http": r"http",
    "locale": r"toLocale\w*|localeCompare|Intl",
    "random": r"random",
    "secrets": r"secrets",
    "zones": r"zoned",
}
_LOG = r"log|ftos|console"
# With these, code can reach anything without naming it. A word behind "this" is prose in a comment,
# or `in` or `instanceof`, which reach nothing.
_UNNAMED = re.compile(
    r"\b(eval|Function|constructor|globalThis)\b|\bthis\b(?!\s*\.|[ \t]+[A-Za-z])|\\u"
)
# The lines of a stack that are of no use to an author.
_FRAMES = re.compile(rf"\n    at [^\n]*\({FILE}:\d+:\d+\)(?=\n|$)")


# The built-ins that the part numerals needs, and those for orders of keys.
BUILT_INS_OF_NUMERALS = frozenset({"JS_AddIntrinsicMapSet"})
BUILT_INS_OF_ORDERS = frozenset({"JS_AddIntrinsicMapSet", "JS_AddIntrinsicProxy"})


class Prelude:
    """The compiled parts for some code, and the built-in objects that it does without."""

    def __init__(self, code: str) -> None:
        self.core = _part("core")
        names = [name for name, words in _PARTS.items() if _can_reach(words, code)]
        # The compiled code, and the data that it is given.
        self.parts = [
            (_part(name), time_zones.packed() if name == "zones" else None) for name in names
        ]
        self.log = _part("log") if _can_reach(_LOG, code) else None
        self.has_random, self.has_secrets = "random" in names, "secrets" in names
        self.omitted = frozenset(
            name for name, words in quickjs.OPTIONAL.items() if not _can_reach(words, code)
        )
        if self.has_secrets:
            self.omitted -= {"JS_AddIntrinsicProxy"}
        if "http" in names:
            # The numbers of a reply may need them.
            self.omitted -= BUILT_INS_OF_NUMERALS


def preload() -> None:
    """Compile all parts, which reads files. Raises EngineMissing."""
    unserializable()
    for name in ("core", "failures", "log", "numerals", *_PARTS):
        _part(name)
    time_zones.packed()


def without_frames(text: str) -> str:
    """Leave out the lines of a stack that are in these files."""
    return _FRAMES.sub("", text).rstrip("\n")


def failures() -> bytes:
    """Return the part that describes what was thrown."""
    return _part("failures")


def numerals() -> bytes:
    """Return the part that remembers how numbers were written."""
    return _part("numerals")


@functools.cache
def unserializable() -> bytes:
    """Return the source of the part that names what JSON cannot hold, without comments."""
    return re.sub(r"^\s+(//.*)?", "", _source("unserializable"), flags=re.MULTILINE).encode()


def _can_reach(words: str, code: str) -> bool:
    return bool(_UNNAMED.search(code) or re.search(rf"\b({words})\b", code))


def _data(name: str) -> bytes | None:
    return time_zones.packed() if name == "zones" else None


@functools.cache
def _part(name: str) -> bytes:
    return quickjs.compiled(_source(name), FILE, keep_source=False)


def _source(name: str) -> str:
    return Path(__file__).with_name(f"{name}.js").read_text(encoding="utf-8").rstrip()
