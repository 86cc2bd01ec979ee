"""The page that restores a version of a flow whose scripts or queues are gone.

For each it offers to restore it from its history, or to choose another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import escape
from unfold.widgets import UnfoldAdminSelectWidget

from flows.access.configuring import scripts_out_of_reach, scripts_to_choose
from flows.access.rights import queues_seen
from flows.admin.display import page_of
from flows.admin.step_rights import StepRights
from flows.configuration.restoring import script_from_history
from flows.models import Flow, FlowVersion, Queue
from flows.models.step_restoring import (
    Missing,
    missing_parts,
    restore_steps,
    starts_left_out,
)
from scripts.grants import missing_to_save
from scripts.models import Script

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

FROM_HISTORY, ANEW = "history", "anew"
MOST_CHOICES = 500


class MissingForm(forms.Form):
    """A field for each script or queue that is missing."""

    def __init__(self, request: HttpRequest, missing: list[Missing], data: Any = None) -> None:
        super().__init__(data)
        self.request = request
        self.missing = missing
        flow = missing[0].step.flow_version.flow if missing else None
        self.rights = StepRights(request, flow) if flow else None
        for each in missing:
            choices = self._scripts(each) if each.part == "script" else self._queues(each)
            self.fields[each.key] = forms.ChoiceField(
                label=f"{each.part.capitalize()} of the step {each.step.name}",
                choices=choices or [("", "There is none to choose")],
                widget=UnfoldAdminSelectWidget,
                # A page takes a help text for HTML, and this one has names in it.
                help_text=escape(each.why),
            )

    def _scripts(self, missing: Missing) -> list[tuple[str, str]]:
        found = [
            (str(script.pk), script.name)
            for script in scripts_to_choose(self.request.user).order_by("name")[:MOST_CHOICES]
        ]
        may_add = self.rights is not None and self.rights.may_add_scripts
        if may_add and self._deleted_script(missing):
            name = missing.step.script_version.script_name
            found.insert(0, (FROM_HISTORY, f"Restore {name} from its history"))
        return found

    def _queues(self, missing: Missing) -> list[tuple[str, str]]:
        free = queues_seen(self.request.user).filter(step=None).order_by("name")
        found = [(str(queue.pk), queue.name) for queue in free[:MOST_CHOICES]]
        name = missing.step.queue_name
        may_add = self.rights is not None and self.rights.may_add_queues
        if may_add and not Queue.objects.filter(name=name).exists():
            found.insert(0, (ANEW, f"Make the queue {name} again"))
        return found

    def _deleted_script(self, missing: Missing) -> Script | None:
        """Return the script of the history, if the user may save it and none has its name."""
        name = missing.step.script_version.script_name
        if Script.objects.filter(name=name).exists():
            return None
        records = Script.history.filter(name=name, history_type="-")
        record = records.order_by("history_date", "history_id").last()
        script, gone = script_from_history(record.id) if record else (None, [])
        if script is None or gone or missing_to_save(self.request.user, script):
            return None
        return script

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        queues = [cleaned.get(each.key) for each in self.missing if each.part == "queue"]
        chosen = [each for each in queues if each not in {None, ANEW}]
        if len(set(chosen)) < len(chosen):
            raise ValidationError("A queue feeds one step: choose another one for each.")
        return cleaned

    def made(self) -> dict[str, Any]:
        """Save what is restored or made anew, and return the object for each that is missing."""
        scripts: dict[str, Any] = {}
        return {
            each.key: self._script(each, scripts) if each.part == "script" else self._queue(each)
            for each in self.missing
        }

    def _script(self, missing: Missing, made: dict[str, Any]) -> Any:
        choice = self.cleaned_data[missing.key]
        if choice != FROM_HISTORY:
            return Script.objects.get(pk=choice)
        name = missing.step.script_version.script_name
        if name not in made:
            script = self._deleted_script(missing)
            if script is None:
                raise ValidationError(f"The script {name!r} cannot be restored any more.")
            script.full_clean()
            script.save(force_insert=True)
            made[name] = script
        return made[name]

    def _queue(self, missing: Missing) -> Queue:
        choice = self.cleaned_data[missing.key]
        if choice != ANEW:
            return Queue.objects.get(pk=choice)
        name = missing.step.queue_name
        record = Queue.history.filter(name=name).order_by("history_date", "history_id").last()
        queue: Queue = record.instance if record else Queue(name=name)
        queue.paused, queue.paused_by, queue.pause_reason = False, None, ""
        if Queue.objects.filter(pk=queue.pk).exists():
            # The one that had the name has another now.
            queue.pk = None
        queue.save(force_insert=True)
        return queue


class VersionRestoringAdmin(Base):
    """Adds the page to the admin of versions."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.restore_with)
        route = path("<int:pk>/restore-with/", view, name="flows_flowversion_restore_with")
        return [route, *super().get_urls()]

    def restore_with(self, request: HttpRequest, pk: int) -> HttpResponse:
        version = self.get_object(request, str(pk))
        if version is None or version.flow is None:
            raise Http404
        if not self.has_restore_permission(request, pk):
            raise PermissionDenied
        if scripts_out_of_reach(request.user, version):
            raise PermissionDenied
        form = MissingForm(request, missing_parts(version), request.POST or None)
        if form.is_valid() and (restored := _restored(request, version, form)):
            note = f"Restored: version {restored.number} has the steps of version {version.number}."
            self.message_user(request, note, messages.SUCCESS)
            for left_out in starts_left_out(version, restored):
                self.message_user(request, left_out, messages.WARNING)
            return redirect(page_of(version.flow))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Restore the steps of {version}",
            "card_title": "What is gone, and what to do instead",
            "verb": "Restore the steps",
            "opts": self.opts,
            "original": version,
            "form": form,
            "back_url": page_of(version),
        }
        return TemplateResponse(request, "admin/flows/flowversion/restore_with.html", context)


def _restored(request: HttpRequest, version: FlowVersion, form: MissingForm) -> FlowVersion | None:
    """Restore it with what was chosen; None, and an error in the form, where that fails."""
    try:
        with transaction.atomic():
            return restore_steps(version, request.user, form.made())
    except (ValidationError, Flow.DoesNotExist) as error:
        texts = error.messages if isinstance(error, ValidationError) else ["Its flow was removed."]
        form.add_error(None, texts)
        return None
