"""The second button of the start form: it tries the whole flow without storing anything."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import mark_safe

from flows.admin.by_role import has_right
from flows.admin.flow_trial import CALLABLE, FlowTrial, Tried, try_flow
from flows.models import Flow, Right, Step
from scripts.admin.json_fields import pretty_json
from scripts.admin.site import site
from scripts.grants import missing_to_try
from scripts.models import Language, Script
from scripts.protocol.json_text import items_of

# Characters of an input or output that are shown; a longer one is cut.
MOST_SHOWN = 20_000
LABELS = {
    "passed": "passed",
    "failed": "failed",
    "rejected": "rejected",
    "retry": "asks for another try",
    "waiting": "waits for something",
    "skipped": "not run",
}


def may_try(request: HttpRequest, flow: Flow) -> bool:
    """Whether the user operates or configures the flow, which seeing its messages takes."""
    rights = {Right.OPERATE.value, Right.CONFIGURE.value}
    return has_right(request, rights, flow.pk) or request.user.has_perm("flows.change_flow")


def refusals(request: HttpRequest, flow: Flow) -> list[str]:
    """Return why the user may not try each script of the flow as on the page of that script."""
    scripts = site.get_model_admin(Script)
    found = []
    for step in flow.steps.select_related("script").order_by("position", "pk"):
        if step.script.language == Language.CALLABLE:
            continue
        if not scripts.has_change_permission(request, step.script):
            found.append(f"{step.name}: you may not try the script {step.script.name!r}.")
        else:
            missing = missing_to_try(request.user, step.script)
            found += [f"{step.name}: {grant}" for grant in missing]
    return found


def tried_page(request: HttpRequest, flow: Flow, payload: str) -> dict[str, Any]:
    """Try the flow and return what the page shows. Raises PayloadInvalid."""
    if not may_try(request, flow):
        raise PermissionDenied
    if found := refusals(request, flow):
        return {"tried": [], "stop": "Not tried. " + " ".join(found), "seconds": 0}
    trial = try_flow(flow, payload, request.user)
    steps = list(flow.steps.order_by("position", "pk"))
    return {
        "tried": [shown(each) for each in trial.tried],
        "untried": _untried(trial, steps),
        "result": None if trial.result is None else _cut(trial.result),
        "state": [(key, _cut(text)) for key, text in trial.state.items()],
        "stop": trial.stop,
        "seconds": trial.seconds,
    }


def _untried(trial: FlowTrial, steps: list[Step]) -> list[str]:
    reached = {each.step.pk for each in trial.tried}
    return [step.name for step in steps if step.pk not in reached]


def shown(tried: Tried) -> dict[str, Any]:
    trial, script = tried.trial, tried.step.script
    values: dict[str, Any] = {
        "name": tried.step.name,
        "branch": tried.branch,
        "is_join": tried.step.join,
        "script": script.name,
        "script_id": script.pk,
        "state": tried.state,
        "label": LABELS[tried.state],
        "input": _cut(tried.body),
        "sample": _in_script(pretty_json(tried.body)),
        "is_last": tried.is_last,
        "bench_url": reverse("admin:scripts_script_change", args=[script.pk]),
        "error": tried.note,
        "output": None,
    }
    if script.language == Language.CALLABLE:
        values |= {"bench_url": "", "error": CALLABLE}
    if trial is None:
        return values
    return values | {
        "time": f"{trial.seconds * 1000:,.1f} ms",
        "output": None if trial.output is None else _cut(trial.output),
        "fans_out": _branches(tried),
        "goes_to": trial.goes_to,
        "starts": [each | {"payload": _cut(each["payload"])} for each in trial.starts],
        "error": trial.traceback or (str(trial.error) if trial.error else ""),
        "faults": trial.faults,
        "warning": " ".join(filter(None, (trial.warning, *trial.told))),
        "logs": [
            line | {"after": f"{max(0.0, line['at'] - trial.started_at) * 1000:.0f} ms"}
            for line in trial.logs
        ],
    }


def _branches(tried: Tried) -> int:
    output = tried.output or ""
    is_list = not tried.finishes and output.lstrip().startswith("[")
    return len(items_of(output)) if is_list else 0


def _cut(text: str) -> str:
    text = pretty_json(text)
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN:,} characters more"


def _in_script(text: str) -> Any:
    """Return JSON text for a script element: it has no letter that HTML would take for a tag."""
    escapes = {ord(">"): "\\u003E", ord("<"): "\\u003C", ord("&"): "\\u0026"}
    return mark_safe(text.translate(escapes))  # noqa: S308 - the letters are escaped
