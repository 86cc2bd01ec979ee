from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from scripts.callables.functions import import_fault
from scripts.host.seal import missing_here


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


@register()
def modules_of_callables_are_there(**kwargs: Any) -> list[CheckMessage]:
    faults = {module: import_fault(module) for module in settings.ASYNCENGINE_CALLABLE_MODULES}
    return [
        Warning(
            f"ASYNCENGINE_CALLABLE_MODULES names {module}, which allows nothing here. {fault}",
            hint="Name modules or packages as they are imported, separated by commas.",
            id="scripts.W002",
        )
        for module, fault in faults.items()
        if fault
    ]
