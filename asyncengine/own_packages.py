"""The packages of the engine, whose names a project may use as well."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

NAMES = ("flows", "scripts")


def require_own_packages() -> None:
    """Raise ImproperlyConfigured where Python finds another package of one of these names first."""
    home = Path(__file__).resolve().parent.parent
    for name in NAMES:
        spec = find_spec(name)
        found = list(spec.submodule_search_locations or ()) if spec else []
        if not any(_is(home / name, Path(place)) for place in found):
            where = f"in {found[0]}" if found else "as a module"
            raise ImproperlyConfigured(
                f"Python finds the package {name!r} {where}, and not the engine's in "
                f"{home / name}. If it is your project's, give it another name: "
                f"{' and '.join(NAMES)} are the engine's."
            )


def _is(own: Path, found: Path) -> bool:
    try:
        return own.samefile(found)
    except OSError:
        return False
