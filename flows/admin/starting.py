"""The page that starts a run: a form after the input schema of the first script, and its JSON."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.widgets import BASE_INPUT_CLASSES, TEXTAREA_CLASSES

from flows import engine
from flows.admin.display import page_of
from flows.admin.run_bodies import payload_like
from flows.admin.start_calls import example_of
from flows.admin.trying import may_try, tried_page
from flows.errors import (
    CallbackRefused,
    DeadlineInvalid,
    DelayTooLong,
    FlowError,
    IdempotencyConflict,
    OptionInvalid,
    PayloadInvalid,
)
from flows.models import Flow, Right, Step
from flows.models.message import DEFAULT_PRIORITY
from flows.models.run_label import MOST_LABELS
from flows.models.webhook_url import url_fault
from flows.options import read_labels
from flows.starts.refusals import counting_refusals
from scripts.admin.editor import EditorWidget
from scripts.admin.json_fields import indented

if TYPE_CHECKING:
    from flows.admin.pausing import PausingAdmin as Base
else:
    Base = object

EXAMPLES = {"default", "const", "example", "examples"}
# What the editor adds to a payload that came without.
_INDENTS = re.compile(rb"[\r\n]\s*|(?<=\":) ")
_INPUT = " ".join(BASE_INPUT_CLASSES)
_TEXT = " ".join(TEXTAREA_CLASSES)
FIELD_BY_ERROR: dict[type[FlowError], str] = {
    CallbackRefused: "callback_url",
    DelayTooLong: "start_at",
    DeadlineInvalid: "deadline",
    IdempotencyConflict: "idempotency_key",
}


# Their first error says what is wrong with the option.
HAS_DETAIL = (DelayTooLong, DeadlineInvalid, CallbackRefused)


def utc(text: str) -> datetime:
    """Return the time that a text has, UTC where it has no zone.

    Raises ValueError and OverflowError.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


class MomentInput(forms.TextInput):
    """A field for a time. It shows UTC; schema_form.js shows the browser's zone instead."""

    input_type = "datetime-local"

    def __init__(self, if_empty: str) -> None:
        more = {"data-local-time": "", "data-if-empty": if_empty, "step": 1}
        super().__init__(attrs={"class": _INPUT, **more})

    def format_value(self, value: Any) -> str | None:
        with suppress(ValueError, OverflowError):
            # Not strftime, which writes years before 1000 with fewer digits.
            return utc(value).replace(tzinfo=None).isoformat(timespec="seconds") if value else None
        return None


class MomentField(forms.Field):
    """A time that may be left out. The browser sends it with its zone; without JavaScript it is
    taken as UTC. `if_empty` says what happens without it.
    """

    default_error_messages = {"invalid": "Must be a time as in 2026-11-02 09:30."}

    def __init__(self, if_empty: str, **options: Any) -> None:
        widget, help_text = MomentInput(if_empty), f"{if_empty} Times are in UTC."
        super().__init__(required=False, widget=widget, help_text=help_text, **options)

    def to_python(self, value: Any) -> datetime | None:
        if not value:
            return None
        try:
            return utc(value)
        except (ValueError, OverflowError) as error:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class LabelsField(forms.CharField):
    """Labels, each in a line of its own, with or without blanks around key and value."""

    def to_python(self, value: Any) -> Any:
        lines = filter(str.strip, (super().to_python(value) or "").splitlines())
        try:
            return read_labels(
                ":".join(map(str.strip, line.split(":", maxsplit=1))) for line in lines
            )
        except OptionInvalid as error:
            raise ValidationError(sentence(error), code="invalid") from error


def sentence(error: OptionInvalid) -> str:
    """Return what is wrong with an option as the text at its field: the field has the name."""
    named = error.errors[0]["detail"] if isinstance(error, HAS_DETAIL) else ""
    said = named or str(error).removesuffix(".")
    return f"{said[0].upper()}{said[1:]}."


class StartForm(forms.Form):
    payload = forms.CharField(
        widget=EditorWidget("json", rows=22),
        strip=False,
        label="JSON",
        help_text="A JSON object. The script of the first step receives it.",
    )
    priority = forms.IntegerField(
        min_value=0,
        max_value=9,
        required=False,
        initial=DEFAULT_PRIORITY,
        widget=forms.NumberInput(attrs={"class": _INPUT}),
        help_text="0 to 9. Of the messages that wait, those of a higher priority go first.",
    )
    start_at = MomentField("Empty: at once.", label="Start time")
    deadline = MomentField(
        "A run that has not ended by then is cancelled. Empty: none.", label="Deadline"
    )
    labels = LabelsField(
        required=False,
        widget=forms.Textarea(attrs={"class": _TEXT, "rows": 3, "placeholder": "order:4711"}),
        help_text=f"key:value, each in a line of its own; at most {MOST_LABELS}. Runs are found by"
        " their labels.",
    )
    idempotency_key = forms.CharField(
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={"class": _INPUT, "autocomplete": "off"}),
        help_text="A second start with this key within 24 hours starts no second run.",
    )

    callback_url = forms.CharField(
        required=False,
        label="Callback URL",
        widget=forms.URLInput(attrs={"class": _INPUT, "autocomplete": "off"}),
        help_text="This address is told the end of the run. Empty: none.",
    )

    def clean_callback_url(self) -> str | None:
        url = self.cleaned_data["callback_url"] or None
        if url and (fault := url_fault(url)):
            raise ValidationError(f"{fault[0].upper()}{fault[1:]}.")
        return url

    def clean_priority(self) -> int:
        priority = self.cleaned_data["priority"]
        return DEFAULT_PRIORITY if priority is None else int(priority)

    def clean_idempotency_key(self) -> str | None:
        key = self.cleaned_data["idempotency_key"] or None
        if key and not engine.is_idempotency_key(key):
            raise ValidationError("Must be printable ASCII characters without a comma.")
        return key

    def options(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.fields if name != "payload"}


class StartingAdmin(Base):
    """Adds the start form to the admin of flows."""

    def has_start_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.may(request, Right.START, object_id)

    @action(
        description="Start",
        icon="play_arrow",
        permissions=["start"],
        variant=ActionVariant.PRIMARY,
    )
    def start(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.get_object(request, object_id)
        if flow is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        payload = payload_like(request, flow) or indented(first_payload(flow))
        form = StartForm(request.POST or None, initial={"payload": payload})
        faults: list[dict[str, str]] = []
        trial = None
        if form.is_valid():
            if "_try" in request.POST:
                trial = self._tried(request, flow, form, faults)
            elif response := self._start(request, flow, form, faults):
                return response
        context = self._start_context(request, flow)
        context |= {"form": form, "faults": faults, "trial": trial}
        return TemplateResponse(request, "admin/flows/flow/start.html", context)

    def _start_context(self, request: HttpRequest, flow: Flow) -> dict[str, Any]:
        first = first_step_of(flow)
        return {
            **self.admin_site.each_context(request),
            "title": "Start",
            "card_title": f"Start a run of {flow.name}",
            "verb": "Start",
            "opts": self.opts,
            "original": flow,
            "path": self.path(flow),
            "schema": first.script.input_schema if first else {},
            "takes": first.script.name if first else "",
            "why_it_waits": why_it_would_wait(flow),
            "back_url": page_of(flow),
            "may_try": may_try(request, flow),
            "try_button": {"name": "_try", "value": "1", "id": "start-try"},
        }

    def _tried(
        self, request: HttpRequest, flow: Flow, form: StartForm, faults: list[dict[str, str]]
    ) -> dict[str, Any] | None:
        try:
            return tried_page(request, flow, form.cleaned_data["payload"])
        except PayloadInvalid as error:
            refuse_payload(form, error, faults)
            return None

    def _start(
        self, request: HttpRequest, flow: Flow, form: StartForm, faults: list[dict[str, str]]
    ) -> HttpResponse | None:
        """Start the run; None if it is refused. `faults` receives the places in the payload."""
        payload = form.cleaned_data["payload"].encode()
        try:
            require_size(payload)
            with counting_refusals(flow.name):
                started = engine.start(flow.name, payload, user=request.user, **form.options())
        except PayloadInvalid as error:
            refuse_payload(form, error, faults)
            return None
        except FlowError as error:
            field = _field_of(error)
            form.add_error(
                field, sentence(error) if isinstance(error, OptionInvalid) else str(error)
            )
            return None
        return self._started(request, flow, started)

    def _started(self, request: HttpRequest, flow: Flow, started: engine.Started) -> HttpResponse:
        before = " with this idempotency key before" if started.repeated else ""
        note = f"Run {started.correlation_id} was started{before}."
        self.message_user(request, note, messages.SUCCESS)
        if why := why_it_would_wait(flow):
            self.message_user(request, why, messages.WARNING)
        if not self.has_see_runs_permission(request):
            return redirect(page_of(flow))
        return redirect(reverse("admin:flows_run_change", args=[started.correlation_id]))


def require_size(payload: bytes) -> None:
    """Raise PayloadInvalid where the API would take the body of a start for too large."""
    size, limit = len(_INDENTS.sub(b"", payload)), settings.ASYNCENGINE_MAX_PAYLOAD_BYTES
    if size > limit:
        raise PayloadInvalid(f"The payload has {size:,} bytes. It may have at most {limit:,}.")


def refuse_payload(form: forms.Form, error: PayloadInvalid, faults: list[dict[str, str]]) -> None:
    faults += [fault for fault in error.errors if "path" in fault]
    places = [f"{fault['path']}: {fault['detail']}" for fault in error.errors]
    form.add_error("payload", [str(error), *places])


def _field_of(error: FlowError) -> str | None:
    for kind, field in FIELD_BY_ERROR.items():
        if isinstance(error, kind):
            return field
    return None


def first_payload(flow: Flow) -> dict[str, Any]:
    """Return an example without the optional members that the schema has no example for."""
    first = first_step_of(flow)
    return _chosen(example_of(flow), first.script.input_schema) if first else {}


def _chosen(example: Any, schema: Any) -> Any:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(example, dict) or not isinstance(properties, dict):
        return example
    required = schema.get("required")
    names = required if isinstance(required, list) else []
    return {
        name: _chosen(value, properties.get(name))
        for name, value in example.items()
        if name in names or _has_example(properties.get(name))
    }


def _has_example(schema: Any) -> bool:
    return isinstance(schema, dict) and not EXAMPLES.isdisjoint(schema)


def first_step_of(flow: Flow) -> Step | None:
    return flow.steps.select_related("script").order_by("position", "pk").first()


def why_it_would_wait(flow: Flow) -> str | None:
    """Say why a run that is started now waits at its first step."""
    if flow.paused:
        return "The flow is paused: a run waits until it is resumed."
    first = flow.steps.select_related("queue").first()
    if first and first.queue.paused:
        return f"The queue {first.queue.name!r} is paused: a run waits until it is resumed."
    return None
