from typing import Any

from django.core.checks import CheckMessage, Warning, register

from scripts.seal import missing_here


@register()
def scripts_are_sealed(**kwargs: Any) -> list[CheckMessage]:
    missing = missing_here()
    if not missing:
        return []
    return [
        Warning(
            f"Scripts are sealed incompletely here. Missing: {', '.join(missing)}.",
            hint="Run workers on Linux with seccomp filters, on x86-64 or aarch64, if you do not"
            " trust all who write scripts.",
            id="scripts.W001",
        )
    ]
