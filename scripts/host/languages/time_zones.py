"""The time zones of scripts: those of the package `tzdata`, held in memory.

A host cannot open files, and its machine may have no zones or old ones. So the zygote reads the
data of all zones, and `zoneinfo` makes each zone from there, also after a script has cleared its
cache.
"""

import functools
import importlib
import io
from importlib.resources import files
from typing import Any


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
        raise PermissionError("a script has the time zones of the engine")

    # Where no path has a zone, zoneinfo asks this function.
    common.load_tzdata = load_tzdata
    zoneinfo.available_timezones = available_timezones
    zoneinfo.reset_tzpath = reset_tzpath


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
