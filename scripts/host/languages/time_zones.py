"""The time zones of scripts: those of the package `tzdata`, held in memory.

A host cannot open files, and its machine may have no zones or old ones. So the zygote reads the
data of all zones, and `zoneinfo` makes each zone from there, also after a script has cleared its
cache.
"""

import functools
import importlib
import io
import re
import struct
from importlib.resources import files
from typing import Any

from scripts.protocol.errors import WrongArgument

# Of a part of a zone's file: the numbers of UT and standard flags, leap seconds, times, kinds and
# letters.
_HEADER = struct.Struct(">4sc15x6l")
_KIND = struct.Struct(">lbB")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_RULE = re.compile(
    r"(?:<[^>]+>|[A-Za-z]+)(?P<standard>[-+\d:]+)"
    r"(?:(?:<[^>]+>|[A-Za-z]+)(?P<summer>[-+\d:]+)?"
    r",M(\d+)\.(\d)\.(\d)(?:/([-+\d:]+))?,M(\d+)\.(\d)\.(\d)(?:/([-+\d:]+))?)?"
)


def preload() -> None:
    """Have `zoneinfo` read the zones from memory."""
    zoneinfo: Any = importlib.import_module("zoneinfo")
    common: Any = importlib.import_module("zoneinfo._common")
    zones = data()
    zoneinfo.reset_tzpath(())

    def load_tzdata(key: str) -> io.BytesIO:
        if key not in zones:
            raise zoneinfo.ZoneInfoNotFoundError(f"No time zone found with key {key}")
        return io.BytesIO(zones[key])

    def available_timezones() -> set[str]:
        return set(zones)

    def reset_tzpath(to: Any = None) -> None:
        raise WrongArgument("a script has the time zones of the engine")

    # Where no path has a zone, zoneinfo asks this function.
    common.load_tzdata = load_tzdata
    zoneinfo.available_timezones = available_timezones
    zoneinfo.reset_tzpath = reset_tzpath
    _give_to_dateutil(zoneinfo)


def _give_to_dateutil(zoneinfo: Any) -> None:
    """Have `dateutil.tz` take its zones from `zoneinfo`: it would look for files, and find none."""
    tz: Any = importlib.import_module("dateutil.tz")

    def gettz(name: str | None = None) -> Any:
        """Return a time zone by its name, None where there is none."""
        if not name:
            return tz.tzlocal()
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            return None

    tz.gettz = gettz


@functools.cache
def data() -> dict[str, bytes]:
    """Return the contents of each zone's file, by the name of the zone."""
    package = files("tzdata")
    names = package.joinpath("zones").read_text(encoding="ascii").split()
    folder = package.joinpath("zoneinfo")
    # Many zones are other names of the same one.
    known: dict[bytes, bytes] = {}
    found = {name: folder.joinpath(*name.split("/")).read_bytes() for name in names}
    return {name: known.setdefault(content, content) for name, content in found.items()}


@functools.cache
def packed() -> bytes:
    """Return all zones in the form that `prelude/zones.js` reads, as ASCII text."""
    zones = data()
    numbers = {content: number for number, content in enumerate(dict.fromkeys(zones.values()))}
    names = [f"{name} {numbers[content]}" for name, content in zones.items()]
    contents = [f"#{number} {_packed(content)}" for content, number in numbers.items()]
    return "\n".join(["", *names, *contents, ""]).encode("ascii")


def _packed(content: bytes) -> str:
    """Pack the file of a zone (RFC 8536): offsets, steps between times, offsets of these, rule."""
    # The second part has 64 bits for each time; the first one is for older readers.
    first = _counts(content)
    at = _HEADER.size + _size(first, 4)
    second = _counts(content, at)
    at += _HEADER.size
    _, _, _, time_count, kind_count, _ = second
    times = struct.unpack_from(f">{time_count}q", content, at)
    order = content[at + 8 * time_count : at + 9 * time_count]
    kinds = [
        _KIND.unpack_from(content, at + 9 * time_count + _KIND.size * number)
        for number in range(kind_count)
    ]
    steps = ",".join(
        _base_36(time - before) for before, time in zip((0, *times), times, strict=False)
    )
    offsets = ",".join(str(offset) for offset, _, _ in kinds)
    rule = content[at + _size(second, 8) :].decode("ascii").strip()
    return f"{offsets} {steps} {''.join(chr(48 + kind) for kind in order)} {_rule(rule)}"


def _counts(content: bytes, at: int = 0) -> tuple[int, ...]:
    return _HEADER.unpack_from(content, at)[2:]


def _size(counts: tuple[int, ...], bytes_of_a_time: int) -> int:
    ut, standard, leaps, times, kinds, letters = counts
    return (
        times * (bytes_of_a_time + 1)
        + kinds * _KIND.size
        + letters
        + leaps * (bytes_of_a_time + 4)
        + standard
        + ut
    )


def _rule(text: str) -> str:
    """Return the rule for later years as numbers: offsets, and the change to summer and back."""
    if not text:
        return ""
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no rule of a time zone that is known here")
    # POSIX counts to the west.
    standard = -_seconds(found["standard"])
    if not found[3]:
        return str(standard)
    summer = -_seconds(found["summer"]) if found["summer"] else standard + 3600
    start = [*found.group(3, 4, 5), str(_seconds(found[6] or "2"))]
    end = [*found.group(7, 8, 9), str(_seconds(found[10] or "2"))]
    return ",".join([str(standard), str(summer), *start, *end])


def _seconds(text: str) -> int:
    hours, *rest = text.lstrip("+-").split(":")
    minutes, seconds = [*map(int, rest), 0, 0][:2]
    size = int(hours) * 3600 + minutes * 60 + seconds
    return -size if text.startswith("-") else size


def _base_36(number: int) -> str:
    if number < 0:
        return "-" + _base_36(-number)
    digits = _DIGITS[number % 36]
    while number := number // 36:
        digits = _DIGITS[number % 36] + digits
    return digits
