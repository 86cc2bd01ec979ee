"""The forms of the side panel on a flow's page."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.text import slugify
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from flows.access.configuring import scripts_to_choose
from flows.access.rights import flows_allowed, queues_seen
from flows.admin.named_rows import NamedRowField, offer_names
from flows.models import Flow, Queue, Right, Step
from flows.models.ways import later_steps
from scripts.admin.bounds import state_bounds
from scripts.admin.editor import CodeField, EditorWidget
from scripts.admin.site import site
from scripts.admin.trial_page import FIRST_CODE
from scripts.dotted_path import callables_are_on
from scripts.models import Language, Script
from scripts.names import name_fault

ONE_NAME_A_STEP = "Another step of this flow has this name."
LONGEST_NAME = 100
NEW, EXISTING = "new", "existing"
# Of a queue, what the panel shows; the rest is on the queue's page.
QUEUE_FIELDS = (
    "size",
    "polling",
    "max_deliveries",
    "max_wait",
    "backoff_initial",
    "backoff_multiplier",
    "backoff_max",
    "backoff_jitter",
    "rate_count",
    "rate_period",
)
STEP_WIDGETS = {
    "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    "threads": UnfoldAdminIntegerFieldWidget(attrs={"min": 1, "max": 1_000}),
    "join": UnfoldBooleanSwitchWidget(),
}


def use_of(queue: Queue, user: Any) -> str | None:
    """Return the sentence that names the step that the queue feeds, None if it feeds none."""
    step = Step.objects.filter(queue=queue).select_related("flow").first()
    if step is None:
        return None
    if not flows_allowed(user, Right.values).filter(pk=step.flow_id).exists():
        return f"The queue {queue.name!r} feeds a step of a flow that you may not see."
    return (
        f"The queue {queue.name!r} feeds the step {step.name!r} of the flow {step.flow.name!r}"
        " already. A queue feeds one step."
    )


def code_form(request: HttpRequest, script: Script, data: Any = None) -> Any:
    """Return the form of a script's code, with the examination of the script's own page."""
    form = _form_of(request, script, ("code",), data)
    form.fields["code"].widget = EditorWidget(mode=script.language, rows=18)
    return form


def queue_form(request: HttpRequest, queue: Queue, data: Any = None) -> Any:
    return _form_of(request, queue, QUEUE_FIELDS, data)


def step_form(request: HttpRequest, step: Step, data: Any = None) -> StepForm:
    return StepForm(request.user, data, instance=step)


def _form_of(request: HttpRequest, obj: Any, fields: tuple[str, ...], data: Any) -> Any:
    """Return some fields of the form of an object's own page."""
    found = site.get_model_admin(type(obj))
    form_class = found.get_form(
        request, obj if obj.pk else None, change=bool(obj.pk), fields=fields
    )
    form = form_class(data, instance=obj, auto_id=f"panel-{obj._meta.model_name}-%s")
    # Fields that a form declares itself are there always.
    for name in set(form.fields) - set(fields):
        del form.fields[name]
    return form


class StepForm(ModelForm):
    """The settings of a step of a flow."""

    script = NamedRowField(Script.objects.all(), "script")
    queue = NamedRowField(Queue.objects.all(), "queue")
    goes_to = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Later steps that its script may choose with context.go; the next one it may"
        " always choose. A message waits at this step until each has room.",
    )

    class Meta:
        model = Step
        fields = ("name", "script", "queue", "threads", "join", "goes_to")
        widgets = STEP_WIDGETS

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "panel-step-%s", **kwargs})
        self.user = user
        _state_bounds(self, Step, "threads")
        self._offer_ways()
        own = Queue.objects.filter(pk=self.instance.queue_id)
        present = Script.objects.filter(pk=self.instance.script_id)
        script: Any = self.fields["script"]
        script.queryset = (scripts_to_choose(user) | present).distinct()
        queue: Any = self.fields["queue"]
        queue.queryset = (queues_seen(user) | own).distinct()
        queue.only_offers = {"step": None}
        queue.help_text = "One that feeds no other step. Messages that wait stay in the old one."
        offer_names(self)

    def _offer_ways(self) -> None:
        """Offer the steps behind the next one, and what was chosen before."""
        names = later_steps(self.instance)[1:]
        names += [name for name in self.instance.goes_to if name not in names]
        if names:
            ways: Any = self.fields["goes_to"]
            ways.choices = [(name, name) for name in names]
        else:
            del self.fields["goes_to"]

    def clean_goes_to(self) -> list[str]:
        names: list[str] = self.cleaned_data["goes_to"]
        if lost := set(names) - set(later_steps(self.instance)):
            raise ValidationError(f"No later steps: {', '.join(sorted(lost))}.")
        return names

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        _require_new_name(self.instance.flow, name, self.instance.pk)
        return name

    def clean_queue(self) -> Queue:
        queue: Queue = self.cleaned_data["queue"]
        if queue.pk != self.instance.queue_id and (fault := use_of(queue, self.user)):
            raise ValidationError(fault, code="unique")
        return queue


class NewStepForm(forms.Form):
    """A step with its script and its queue, each a new one or one that there is."""

    name = forms.CharField(
        label="Step",
        max_length=LONGEST_NAME,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "data-step-name": ""}),
        help_text="What it does, such as check or send.",
    )
    script_choice = forms.ChoiceField(
        choices=[(NEW, "New script"), (EXISTING, "Existing script")], widget=forms.RadioSelect
    )
    language = forms.ChoiceField(choices=Language.of_code, widget=UnfoldAdminSelectWidget)
    script_name = forms.CharField(
        label="Name of the script",
        required=False,
        max_length=LONGEST_NAME,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "data-default-name": ""}),
    )
    code = CodeField(
        required=False,
        widget=EditorWidget(mode_from="language", rows=8),
        initial=FIRST_CODE["python"],
    )
    script = NamedRowField(Script.objects.all(), "script", required=False)
    queue_choice = forms.ChoiceField(
        choices=[(NEW, "New queue"), (EXISTING, "Existing queue")], widget=forms.RadioSelect
    )
    queue_name = forms.CharField(
        label="Name of the queue",
        required=False,
        max_length=LONGEST_NAME,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "data-default-name": ""}),
    )
    size = forms.IntegerField(
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 1}),
        help_text="Most messages it holds. While it is full, the steps before it wait; that of the"
        " first step refuses starts.",
        required=False,
    )
    queue = NamedRowField(
        Queue.objects.all(),
        "queue",
        required=False,
        help_text="One that feeds no step.",
    )
    threads = forms.IntegerField(
        min_value=1,
        max_value=1_000,
        widget=STEP_WIDGETS["threads"],
        help_text="Messages run at the same time, over all clusters.",
    )
    join = forms.BooleanField(
        required=False,
        widget=STEP_WIDGETS["join"],
        help_text="Waits for all branches of a run and gets them as one message.",
    )

    def __init__(self, request: HttpRequest, flow: Flow, data: Any = None) -> None:
        initial = {
            "script_choice": NEW,
            "queue_choice": NEW,
            "language": Language.PYTHON,
            "size": Queue().size,
            "threads": Step().threads,
        }
        super().__init__(data, initial=initial, auto_id="panel-new-%s")
        self.request = request
        self.flow = flow
        self.made: dict[str, Any] = {}
        _state_bounds(self, Step, "threads")
        _state_bounds(self, Queue, "size")
        queue: Any = self.fields["queue"]
        queue.queryset = queues_seen(request.user)
        script: Any = self.fields["script"]
        script.queryset = scripts_to_choose(request.user)
        queue.only_offers = {"step": None}
        offer_names(self)
        if callables_are_on():
            language: Any = self.fields["language"]
            language.choices = Language.choices

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if fault := name_fault(name):
            raise ValidationError(f"The name {fault}.")
        _require_new_name(self.flow, name)
        return name

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        default = default_name(self.flow.name, cleaned.get("name", ""))
        for choice, clean in (("script", self._clean_script), ("queue", self._clean_queue)):
            if cleaned.get(f"{choice}_choice") == NEW:
                clean(cleaned.get(f"{choice}_name") or default)
            elif cleaned.get(f"{choice}_choice") == EXISTING and choice not in self.errors:
                self._clean_existing(choice)
        return cleaned

    def _clean_existing(self, choice: str) -> None:
        row = self.cleaned_data.get(choice)
        if row is None:
            self.add_error(choice, f"Choose a {choice}.")
        elif choice == "queue" and (fault := use_of(row, self.request.user)):
            self.add_error("queue", fault)

    def _clean_script(self, name: str) -> None:
        cleaned = self.cleaned_data
        language, code = cleaned.get("language", ""), cleaned.get("code", "")
        if code in FIRST_CODE.values():
            # Without JavaScript a page cannot follow the choice of the language.
            code = FIRST_CODE.get(language, code)
        values = {"name": name, "language": language, "code": code}
        places = {"name": "script_name", "language": "language", "code": "code"}
        self._check(Script, values, places)

    def _clean_queue(self, name: str) -> None:
        queue = Queue.objects.filter(name=name).first()
        if queue is not None:
            free = f"There is a queue {name!r} that feeds no step: choose it as an existing queue."
            self.add_error("queue_name", use_of(queue, self.request.user) or free)
            return
        if "size" in self.errors:
            return
        values = {"name": name, "size": self.cleaned_data.get("size") or Queue().size}
        self._check(Queue, values, {"name": "queue_name", "size": "size"})

    def _check(self, model: Any, values: dict[str, Any], places: dict[str, str]) -> None:
        """Check the values with the form of the model's own page, and note where each is wrong."""
        given = {key: value for key, value in values.items() if value is not None}
        form = _form_of(self.request, model(), tuple(values), given)
        for field, errors in form.errors.get_json_data().items():
            place = places.get(field)
            if place in self.errors:
                continue
            for error in errors:
                self.add_error(place, error["message"])
        self.made[model._meta.model_name] = form


def default_name(flow_name: str, step_name: str) -> str:
    """Return the name of the script and the queue that are made with a step."""
    step = slugify(step_name, allow_unicode=True) or "step"
    flow = re.sub(r"[\s/]+", "-", flow_name)
    room = max(LONGEST_NAME - len(step) - 1, 0)
    return f"{flow[:room]}-{step}"[:LONGEST_NAME].strip("-")


def _state_bounds(form: Any, model: Any, name: str) -> None:
    state_bounds(model._meta.get_field(name), form.fields[name])


def _require_new_name(flow: Flow, name: str, own: int | None = None) -> None:
    others = Step.objects.filter(~Q(pk=own), flow=flow, name=name)
    if others.exists():
        raise ValidationError(ONE_NAME_A_STEP, code="unique")
