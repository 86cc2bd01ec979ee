from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from scripts.dotted_path import import_fault
from scripts.pool.sandbox_probe import missing_measures, scripts_may_run

# The tag of the engine's own checks. Commands that show no pages make these alone: others load the
# pages and the API, and take longer than the command.
ENGINE = "asyncengine"


@register(ENGINE)
def scripts_are_sandboxed(**kwargs: Any) -> list[CheckMessage]:
    missing = missing_measures()
    if not missing:
        return []
    runs = scripts_may_run()
    consequence = "Scripts run without the complete sandbox" if runs else "No script runs"
    return [
        Warning(
            f"{consequence} on this machine. Missing: {', '.join(missing)}.",
            hint="Run workers on Linux with seccomp filters, on x86-64 or aarch64. If you trust all"
            " authors of scripts, ASYNCENGINE_UNSEALED_SCRIPTS=1 lets scripts run nevertheless.",
            id="scripts.W001",
        )
    ]


@register(ENGINE)
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
