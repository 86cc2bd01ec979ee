"""The objects of a JavaScript realm besides the language: the files beside this one.

Making all of them for each message would take longer than most scripts run. So a script gets the
parts that its code and libraries name, and all parts where the code could reach unnamed ones.
"""

import functools
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.host.languages import quickjs, time_zones
from scripts.host.languages.members import missing_members

# The engine's name for all of these files, in stacks.
FILE = "<engine>"

# What code reads the messages of errors with.
_CATCHES = r"catch|then|allSettled"
# What asks the worker, beside http.
_ASKING = r"cached|sign|start|state|verify|jwt|verifyJwt|verify_jwt"
# The parts, with the names that code reaches them with. The others need the first one.
_PARTS = {
    "options": (
        r"http|retry|wait|reject|cached|finish|go|progress|sign|verify|jwt|verifyJwt|verify_jwt"
        r"|start|state|structuredClone|table"
    ),
    "answers": rf"http|{_ASKING}",
    "decisions": r"retry|wait|reject",
    "hidden": r"getOwnPropertySymbols|ownKeys",
    "http": r"http",
    "naming": _CATCHES,
    "locale": r"toLocale\w*|localeCompare|Intl",
    "secrets": r"secrets",
    # The second of Day.js.
    "zones": r"zoned|tz",
}
_LOG = rf"log|ftos|console|config|finish|go|progress|table|{_CATCHES}"
# The built-ins that the part numerals needs, and those for orders of keys.
BUILT_INS_OF_NUMERALS = frozenset({"JS_AddIntrinsicMapSet"})
BUILT_INS_OF_ORDERS = frozenset({"JS_AddIntrinsicMapSet", "JS_AddIntrinsicProxy"})
# Larger parts, which take longer to make. Code gets them only where it names them.
_NAMED_PARTS = {
    # Those below that ask the worker.
    "asking": _ASKING,
    "cached": r"cached",
    "clone": r"structuredClone",
    "config": r"config",
    "crypto": r"crypto",
    "dayjs": r"dayjs",
    "encoding": r"TextEncoder|TextDecoder",
    "finish": r"finish",
    "go": r"go",
    "progress": r"progress",
    "signatures": r"sign|verify|jwt|verifyJwt|verify_jwt",
    "start": r"start",
    "state": r"state",
    "table": r"table",
    "url": r"URL|URLSearchParams",
}
# Those that are made of data of the message.
_OF_THE_MESSAGE = {"config", "crypto", "go", "secrets"}
# The built-ins that parts need beside those that the code names.
_NEEDS = {
    # The numbers of a reply may need them.
    "asking": BUILT_INS_OF_NUMERALS,
    "clone": {
        "JS_AddIntrinsicMapSet",
        "JS_AddIntrinsicTypedArrays",
        # Has DOMException, here and below.
        "JS_AddIntrinsicAToB",
    },
    "config": {"JS_AddIntrinsicProxy"},
    "crypto": {"JS_AddIntrinsicTypedArrays", "JS_AddIntrinsicAToB"},
    "encoding": {"JS_AddIntrinsicTypedArrays"},
    "http": BUILT_INS_OF_NUMERALS,
    "secrets": {"JS_AddIntrinsicProxy"},
    "state": {"JS_AddIntrinsicProxy"},
    # The numbers of a row may need a Map.
    "table": BUILT_INS_OF_NUMERALS | {"JS_AddIntrinsicProxy"},
}
# Of Day.js; each plug-in stands behind those that it needs.
_LOCALES = ("de", "en-gb", "es", "fr", "it", "nl", "pl", "pt")
_PLUGINS = (
    "utc", "customParseFormat", "localizedFormat", "weekOfYear", "weekYear", "isoWeek",
    "advancedFormat", "dayOfYear", "duration", "isBetween", "isLeapYear", "isSameOrAfter",
    "isSameOrBefore", "localeData", "minMax", "quarterOfYear", "relativeTime", "weekday",
)  # fmt: skip
# With these, code can reach anything without naming it. A word behind "this" is prose in a comment,
# or `in` or `instanceof`, which reach nothing.
_UNNAMED = re.compile(
    r"\b(eval|Function|constructor|globalThis)\b|\bthis\b(?!\s*\.|[ \t]+[A-Za-z])|\\u"
)
# The lines of a stack that are of no use to an author, with what those call that is built in.
_CALLED = r"(?:\n    at [^\n]*\((?:native|<input>:\d+:\d+)\))*"
_FRAMES = re.compile(rf"{_CALLED}\n    at [^\n]*\({FILE}:\d+:\d+\)(?=\n|$)")


class Prelude:
    """The compiled parts for some code, and the built-in objects that it does without."""

    def __init__(self, code: str) -> None:
        self.core = _part("core")
        names = [name for name, words in _PARTS.items() if _can_reach(words, code)]
        names += [name for name, words in _NAMED_PARTS.items() if _names(words, code)]
        self.has_answers = "answers" in names
        self.has_config, self.has_ways = "config" in names, "go" in names
        # The compiled code, and what makes the data that it is given.
        self.parts = _parts(name for name in names if name not in _OF_THE_MESSAGE)
        if missing := missing_members(code):
            self.parts.append((_part("members"), lambda: json.dumps(missing).encode()))
        self.message_parts = _parts(name for name in names if name in _OF_THE_MESSAGE)
        self.log = _part("log") if _can_reach(_LOG, code) else None
        self.has_secrets = "secrets" in names
        self.has_clock = _can_reach("performance", code)
        self.omitted = frozenset(
            name for name, words in quickjs.OPTIONAL.items() if not _can_reach(words, code)
        )
        for name in names:
            self.omitted -= _NEEDS.get(name, set())


def preload() -> None:
    """Compile all parts, which reads files. Raises EngineMissing."""
    for name in ("unserializable", "copies", "showing"):
        source_of(name)
    for name in (
        "core",
        "failures",
        "log",
        "members",
        "numerals",
        "random",
        *_PARTS,
        *_NAMED_PARTS,
    ):
        _part(name)
    time_zones.packed()


def without_frames(text: str) -> str:
    """Leave out the lines of a stack that are in these files, or called by them."""
    return _FRAMES.sub("", text).rstrip("\n")


def failures() -> bytes:
    """Return the part that describes what was thrown."""
    return _part("failures")


def numerals() -> bytes:
    """Return the part that remembers how numbers were written."""
    return _part("numerals")


def random() -> bytes:
    """Return the part that every script has: Math.random."""
    return _part("random")


@functools.cache
def source_of(name: str) -> bytes:
    """Return the source of a part that is seldom needed, without comments.

    Such as `unserializable`, which names what JSON cannot hold.
    """
    return re.sub(r"^\s+(//.*)?", "", _source(name), flags=re.MULTILINE).encode()


def _can_reach(words: str, code: str) -> bool:
    return bool(_UNNAMED.search(code)) or _names(words, code)


def _names(words: str, code: str) -> bool:
    return re.search(rf"\b({words})\b", code) is not None


# Makes the data that a part is given, for each message.
_DATA: dict[str, Callable[[], bytes]] = {
    "crypto": lambda: os.urandom(32).hex().encode(),
    "zones": time_zones.packed,
}


def _parts(names: Iterable[str]) -> list[tuple[bytes, Callable[[], bytes] | None]]:
    return [(_part(name), _DATA.get(name)) for name in names]


@functools.cache
def _part(name: str) -> bytes:
    return quickjs.compiled(_source(name), FILE, keep_source=False)


def _source(name: str) -> str:
    if name == "dayjs":
        return _dayjs()
    return Path(__file__).with_name(f"{name}.js").read_text(encoding="utf-8").rstrip()


def _dayjs() -> str:
    """Return Day.js with its languages and plug-ins, which put themselves into the realm."""
    shelf = Path(__file__).parents[1] / "shelf" / "dayjs"
    files = ["dayjs", *(f"locale/{name}" for name in _LOCALES)]
    files += [f"plugin/{name}" for name in _PLUGINS]
    code = "\n".join((shelf / f"{file}.js").read_text(encoding="utf-8") for file in files)
    extends = "".join(f"\ndayjs.extend(dayjs_plugin_{name});" for name in _PLUGINS)
    own = Path(__file__).with_name("dayjs.js").read_text(encoding="utf-8").rstrip()
    return f"(function () {{\n{code}{extends}\n{own}();\n}})"
