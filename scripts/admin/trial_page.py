"""Trials on the script page: they run the form's code, saved or not, on a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.views.decorators.http import require_GET, require_POST

from scripts.admin.json_fields import pretty_json
from scripts.admin.json_lines import lines_of
from scripts.extensions import samples_of
from scripts.grants import Grant, missing_to_try_draft
from scripts.models import Language, Script
from scripts.trials.records import recorded
from scripts.trials.trial import (
    SampleInvalid,
    SampleMessage,
    TooManyTrials,
    Trial,
    run_trial,
    sample_message,
)

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

# What a new script begins with.
FIRST_CODE = {
    "python": "def run(message, context):\n    return message\n",
    "javascript": "const message = context.Data;\n\nsetData(message);\n",
    "callable": "",
}
NOT_HERE = {
    "field": "",
    "label": "Not run",
    "text": "A callable runs in the workers' own processes, not in this one. Where its code is,"
    " manage.py script test NAME runs it and takes back what it wrote to the database.",
}
# Its name and description make no difference to how a script runs.
IRRELEVANT = {"name", "description"}


class TrialAdmin(Base):
    """Adds the addresses of trials to the admin of scripts."""

    def get_urls(self) -> list[URLPattern]:
        def view(address: str, view: Any, name: str) -> URLPattern:
            return path(address, self.admin_site.admin_view(view), name=f"scripts_script_{name}")

        return [
            view("try/", self.trial_view, "trial_new"),
            view("<path:object_id>/try/", self.trial_view, "trial"),
            view("<path:object_id>/samples/", self.samples_view, "samples"),
            *super().get_urls(),
        ]

    @method_decorator(require_POST)
    def trial_view(self, request: HttpRequest, object_id: str | None = None) -> JsonResponse:
        script = self._script(request, object_id)
        form_class = self.get_form(request, script, change=script is not None)
        # A trial saves nothing; it requires the grants of the script that is tried.
        form_class.user = None
        form = form_class(request.POST, instance=script)
        if refusals := _refusals(form):
            return JsonResponse({"refusals": refusals})
        draft = form.instance
        if missing := missing_to_try_draft(request.user, draft):
            return JsonResponse({"refusals": [_not_granted(grant) for grant in missing]})
        if draft.language == Language.CALLABLE:
            return JsonResponse({"refusals": [NOT_HERE]})
        draft.name = draft.name or "script"
        sample = request.POST.get("sample", "").replace("\r\n", "\n")
        try:
            message = sample_message(sample)
            trial = self._run(request, draft, script, message)
        except SampleInvalid as error:
            refusal = {"field": "sample", "label": "Sample", "text": str(error), "line": error.line}
            return JsonResponse({"refusals": [refusal]})
        except TooManyTrials as error:
            return JsonResponse(
                {"refusals": [{"field": "", "label": "Not run", "text": str(error)}]}, status=429
            )
        return JsonResponse(_described(trial, sample, message.root))

    def _run(
        self, request: HttpRequest, draft: Script, script: Script | None, message: SampleMessage
    ) -> Trial:
        program, name = draft.program(), str(request.user.get_username())
        is_last = request.POST.get("is_last") == "true"
        with recorded(program, name, request.user, script) as services:
            return run_trial(program, message.body, is_last=is_last, services=services)

    @method_decorator(require_GET)
    def samples_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        script = self._script(request, object_id)
        choice = request.GET.get("sample", "")
        samples = [] if script is None else samples_of(script, request.user, choice)
        return JsonResponse(
            {
                "samples": [
                    {
                        "origin": each.origin,
                        "label": each.label,
                        "text": pretty_json(each.text),
                        "isChosen": each.is_chosen,
                        "isLast": each.is_last,
                    }
                    for each in samples
                ]
            }
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        script = context.get("original")
        if self.has_change_permission(request, script) or script is None:
            context["trial"] = _addresses(script)
        # The history is on the page itself, in the tab of the versions.
        context["show_history"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def _script(self, request: HttpRequest, object_id: str | None) -> Script | None:
        """Return the script to try, None for a new one. Refuses users who may not change it."""
        if object_id is None:
            if not self.has_add_permission(request):
                raise PermissionDenied
            return None
        script = self.get_object(request, object_id)
        if script is None:
            raise Http404
        if not self.has_change_permission(request, script):
            raise PermissionDenied
        return script


def _not_granted(grant: Grant) -> dict[str, Any]:
    return {"field": grant.field, "label": "Not run", "text": str(grant)}


def _addresses(script: Script | None) -> dict[str, Any]:
    button = {"type": "button", "id": "trial-run"}
    if script is None:
        return {
            "run_button": button,
            "trial_url": reverse("admin:scripts_script_trial_new"),
            "first_code": FIRST_CODE,
        }
    return {
        "run_button": button,
        "trial_url": reverse("admin:scripts_script_trial", args=[script.pk]),
        "samples_url": reverse("admin:scripts_script_samples", args=[script.pk]),
    }


def _refusals(form: Any) -> list[dict[str, Any]]:
    return [
        {"field": name, "label": _label(form, name), "text": text}
        for name, errors in form.errors.items()
        if name not in IRRELEVANT
        for text in errors
    ]


def _label(form: Any, name: str) -> str:
    return capfirst(form.fields[name].label or name) if name in form.fields else "Script"


def _heading(trial: Trial) -> str:
    goes_on = trial.outcome in ("RETRY", "WAITING")
    return f"{trial.outcome}: {trial.heading}" if goes_on else trial.heading


def _described(trial: Trial, sample: str, root: str) -> dict[str, Any]:
    output = None if trial.output is None else pretty_json(trial.output)
    # The faults are those of the output where there is one, else of the message.
    paths = {fault["path"] for fault in trial.faults}
    lines = lines_of(sample, paths, root) if output is None else lines_of(output, paths)
    faults = [fault | {"line": lines.get(fault["path"])} for fault in trial.faults]
    return {
        "output": output,
        "faults": faults,
        "heading": _heading(trial),
        "outcome": trial.outcome,
        "error": "" if trial.error is None else str(trial.error),
        "traceback": trial.traceback,
        "line": trial.line,
        "warning": " ".join(filter(None, (trial.warning, *trial.decisions))),
        "milliseconds": round(trial.seconds * 1000, 1),
        "memoryMb": round(trial.peak_bytes / 2**20, 1),
        "logs": [
            {
                "after": f"{max(0.0, line['at'] - trial.started_at) * 1000:.0f} ms",
                "level": line["level"],
                "text": line["text"],
            }
            for line in trial.logs
        ],
    }
