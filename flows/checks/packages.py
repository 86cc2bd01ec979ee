"""A check of packages that have the names of the engine's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Warning, register

from scripts.checks import ENGINE


@register(ENGINE)
def no_package_of_the_project_is_hidden(**kwargs: Any) -> list[CheckMessage]:
    own = {config.label: Path(config.path) for config in apps.get_app_configs()}
    return [
        Warning(
            f"The package {place} cannot be imported: the engine's {name!r} is found first.",
            hint="Give it another name: `flows` and `scripts` are the engine's.",
            id="flows.W017",
        )
        for name in ("flows", "scripts")
        for place in dict.fromkeys(Path(entry, name) for entry in sys.path)
        if (place / "__init__.py").is_file() and not place.samefile(own[name])
    ]
