"""The form that begins a bulk reprocessing. It begins none before the user has seen the count."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from flows.access.rights import flows_allowed, rights_by_flow
from flows.dead_letters import DeadLetterFilter, Matched, newer_scripts
from flows.models import DeadLetter, Queue, Reprocessing, Right, Step
from flows.options import LONGEST_REASON
from flows.tasks import reprocessing
from flows.tasks.reprocessing import SAMPLE
from scripts.admin.bounds import MOST_OF_COLUMN

ScriptChoice = Reprocessing.ScriptChoice
ANY = ("", "any")
FILTER = (
    *("flow_name", "step", "queue", "reason", "of_error", "text"),
    *("code", "dead_after", "dead_before", "of_script", "ids"),
)
# Of nine digits they fit into an address of 8 KiB, the longest that nginx takes.
MOST_IDS = 800
# With more digits it is beyond a column of the database.
LONGEST_ID = 18


class ClockWidget(forms.DateTimeInput):
    input_type = "datetime-local"

    def __init__(self) -> None:
        attrs = {**UnfoldAdminTextInputWidget().attrs, "step": "any"}
        super().__init__(attrs, format="%Y-%m-%dT%H:%M:%S.%f")


class UtcField(forms.DateTimeField):
    """A time in UTC, whatever time zone the project has."""

    def to_python(self, value: Any) -> datetime | None:
        with timezone.override(UTC):
            found: datetime | None = super().to_python(value)
            return found


class ReprocessingForm(forms.Form):
    """Its first part is a filter of dead letters, as the list of dead letters has it."""

    flow_name = forms.ChoiceField(label="Flow", required=False, widget=UnfoldAdminSelectWidget)
    step = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    queue = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    reason = forms.ChoiceField(
        required=False, choices=[ANY, *DeadLetter.Reason.choices], widget=UnfoldAdminSelectWidget
    )
    of_error = forms.CharField(
        label="Error",
        required=False,
        strip=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Exactly as the list of dead letters shows it.",
    )
    text = forms.CharField(
        label="Text in error or payload",
        required=False,
        help_text="Encrypted ones are not searched.",
        widget=UnfoldAdminTextInputWidget,
    )
    code = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="That a script has given when it rejected the message.",
    )
    dead_after = UtcField(required=False, widget=ClockWidget, help_text="In UTC.")
    dead_before = UtcField(required=False, widget=ClockWidget, help_text="In UTC.")
    of_script = forms.CharField(label="Script", required=False, widget=forms.HiddenInput)
    ids = forms.CharField(required=False, widget=forms.HiddenInput)
    script = forms.ChoiceField(
        label="Script version",
        choices=ScriptChoice.choices,
        initial=ScriptChoice.OWN,
        widget=UnfoldAdminRadioSelectWidget,
    )
    sample = forms.IntegerField(
        label="First sample",
        min_value=0,
        max_value=MOST_OF_COLUMN,
        initial=SAMPLE,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="This many go first. The rest waits until their runs have ended. 0: no sample.",
    )
    stop_after_failures = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_OF_COLUMN,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="It stops when this many have failed again. Empty: it never stops.",
    )
    rate_per_second = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=1_000_000,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Dead letters a second. Empty: no limit.",
    )
    # `reason` is that of the dead letters.
    note = forms.CharField(
        label="Reason for reprocessing",
        required=False,
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextInputWidget,
        help_text="Optional; it stays in the audit log.",
    )

    def __init__(self, data: Mapping[str, Any], user: Any) -> None:
        super().__init__(data)
        flows = flows_allowed(user, {Right.OPERATE})
        is_everywhere = Right.OPERATE in rights_by_flow(user)[None]
        # Only the right to every flow covers deleted flows.
        self.flow_ids = None if is_everywhere else list(flows.values_list("pk", flat=True))
        queues = (
            Queue.objects.all() if is_everywhere else Queue.objects.filter(step__flow__in=flows)
        )
        steps = Step.objects.filter(flow__in=flows)
        for field, rows in (("flow_name", flows), ("queue", queues), ("step", steps)):
            names = set(rows.order_by().values_list("name", flat=True))
            # What was deleted, or is named anew, still has dead letters.
            names |= {data[field]} if data.get(field) else set()
            choices = [ANY, *((name, name) for name in sorted(names))]
            self.fields[field].choices = choices  # type: ignore[attr-defined]

    def clean_ids(self) -> tuple[int, ...] | None:
        given = self.cleaned_data["ids"]
        if not given:
            return None
        parts = given.split(",")
        found = ids_in(parts)
        if len(parts) > MOST_IDS or len(found) < len(parts):
            raise forms.ValidationError("These are no ids of dead letters.")
        return tuple(sorted(set(found)))

    @property
    def has_filter(self) -> bool:
        """Whether the fields of the filter are valid, whatever the others are."""
        return self.errors.keys().isdisjoint(FILTER)

    @property
    def filter(self) -> DeadLetterFilter:
        """The filter of a form that has one."""
        given = {name: self.cleaned_data[name] or None for name in FILTER}
        script, error_class = given.pop("of_script"), given.pop("of_error")
        return DeadLetterFilter(script=script, error_class=error_class, **given)

    @property
    def is_confirmed(self) -> bool:
        """Whether the user has seen the count of this very filter."""
        return self.data.get("confirmed") == confirmation_of(self.filter)

    def newer_scripts(self) -> list[Any]:
        return newer_scripts(self.filter.open(self.flow_ids))

    def reprocess(self, user: Any, *, dry_run: bool) -> Matched:
        """Begin the reprocessing; with `dry_run` only count the dead letters."""
        given = {name: value or None for name, value in self.cleaned_data.items()}
        return reprocessing.reprocess_many(
            self.filter,
            user=user,
            flow_ids=self.flow_ids,
            rate_per_second=given["rate_per_second"],
            stop_after_failures=given["stop_after_failures"],
            sample=self.cleaned_data["sample"],
            newest_script=given["script"] == ScriptChoice.NEWEST,
            dry_run=dry_run,
            reason=self.cleaned_data["note"],
        )


def ids_in(parts: Iterable[str]) -> list[int]:
    """Return those of the texts that can be ids of rows."""
    return [int(part) for part in parts if part.isdecimal() and len(part) <= LONGEST_ID]


def confirmation_of(filter: DeadLetterFilter) -> str:
    """Return the filter as text: a page with a count sends it back to confirm that count."""
    return json.dumps(filter.document(), sort_keys=True)
