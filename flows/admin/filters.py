"""Filters of long lists. They offer their choices without reading the whole table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_time
from unfold.contrib.filters.admin import (
    DropdownFilter,
    RangeDateTimeFilter,
    RelatedDropdownFilter,
)
from unfold.contrib.filters.forms import RangeDateTimeForm

from flows.access.rights import SEES_EVERY_RUN, flows_allowed, queues_seen
from flows.dead_letters import DeadLetterFilter
from flows.models import DeadLetter, FlowVersion, Right, Step
from flows.models.run import Status
from flows.models.uuid7 import first_uuid7


class FlowFilter(DropdownFilter):
    title = "flow"
    parameter_name = "flow"
    lookup = "flow_version__in"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return flow_choices(request)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        # The versions by their ids, so that the index of runs by version serves.
        versions = FlowVersion.objects.filter(FlowVersion.of_flow(str(self.value())))
        return queryset.filter(**{self.lookup: list(versions.values_list("pk", flat=True))})


class DeadLetterPart(DropdownFilter):
    """A part of a filter of dead letters: bulk reprocessing takes the same."""

    part = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        found: Any = queryset
        return DeadLetterFilter(**{self.part: self.value()}).restrict(found)


class DeadLetterFlowFilter(DeadLetterPart):
    title = parameter_name = "flow"
    part = "flow_name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return flow_choices(request)


class StepFilter(DeadLetterPart):
    title = parameter_name = part = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        flows = flows_allowed(request.user, SEES_EVERY_RUN)
        if flow := request.GET.get("flow"):
            flows = flows.filter(name=flow)
        names = Step.objects.filter(flow__in=flows).order_by("name").values_list("name", flat=True)
        return [(name, name) for name in dict.fromkeys([*names, *_given(request, "step")])]


class QueueFilter(DeadLetterPart):
    title = parameter_name = part = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in queues_seen(request.user).values_list("name", flat=True)]


class ScriptFilter(DeadLetterPart):
    title = parameter_name = part = "script"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in _given(request, "script")]


class CodeFilter(DeadLetterPart):
    """The page of a dead letter with a code leads to it."""

    title = parameter_name = part = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in _given(request, "code")]


class ErrorClassFilter(DeadLetterPart):
    """The groups above the list are its choices, so that it offers none but the chosen one."""

    title = parameter_name = "error"
    part = "error_class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in _given(request, "error")]


def flow_choices(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the flows that the user may see, and the given one, which may be gone or renamed."""
    names = flows_allowed(request.user, Right.values).values_list("name", flat=True)
    return [(name, name) for name in dict.fromkeys([*names, *_given(request, "flow")])]


def _given(request: HttpRequest, name: str) -> list[str]:
    return [value] if (value := request.GET.get(name)) else []


class StatusFilter(DropdownFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, status.value.capitalize()) for status in Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class ReasonFilter(DeadLetterPart):
    title = parameter_name = part = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason.value, reason.label) for reason in DeadLetter.Reason]


class DeadLetterStateFilter(DropdownFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("reprocessed", "Reprocessed"), ("discarded", "Discarded")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "open":
            return queryset.filter(reprocessed_at=None, discarded_at=None)
        if self.value() == "reprocessed":
            return queryset.exclude(reprocessed_at=None)
        if self.value() == "discarded":
            return queryset.exclude(discarded_at=None)
        if self.value():
            raise IncorrectLookupParameters
        return queryset


class FlowOfRowFilter(RelatedDropdownFilter):
    """For models with a foreign key to the flow."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(flow.pk, flow.name) for flow in flows_allowed(request.user, Right.values)]


class QueueOfRowFilter(RelatedDropdownFilter):
    """For models with a foreign key to the queue."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        return [(queue.pk, queue.name) for queue in queues_seen(request.user)]


class AgeFilter(DropdownFilter):
    """Filters runs by age. It reads the key, because a UUIDv7 begins with the time."""

    title = "age"
    parameter_name = "age"
    ages = {
        "1h": ("Last hour", timedelta(hours=1)),
        "24h": ("Last 24 hours", timedelta(hours=24)),
        "7d": ("Last 7 days", timedelta(days=7)),
        "30d": ("Last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, label) for key, (label, _) in self.ages.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        if self.value() not in self.ages:
            raise IncorrectLookupParameters
        _, age = self.ages[self.value()]
        return queryset.filter(pk__gte=first_uuid7(timezone.now() - age))


DAY_BEGIN, DAY_END = "00:00:00", "23:59:59.999999"


def zone_of(given: Mapping[str, str], field: str) -> tzinfo:
    """Return the zone that the times of a filter are in: times.js gives that of the browser."""
    try:
        return ZoneInfo(given.get(f"{field}_zone") or "UTC")
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC


def time_given(day: str, time: str, zone: tzinfo) -> datetime:
    """Return the time of a day in a zone. Raises IncorrectLookupParameters."""
    try:
        date, clock = parse_date(day), parse_time(time)
    except ValueError as error:
        raise IncorrectLookupParameters from error
    if date is None or clock is None:
        raise IncorrectLookupParameters
    return datetime.combine(date, clock, tzinfo=zone)


class TimeRangeForm(RangeDateTimeForm):
    """Has the browser refuse what is no date."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(name, *args, **kwargs)
        for side in ("from", "to"):
            date, time = self.fields[f"{name}_{side}"].widget.widgets
            date.attrs |= {
                "placeholder": f"Date {side}, as 2026-11-30",
                "title": "A date as 2026-11-30",
                "pattern": r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}",
            }
            time.attrs |= {
                "placeholder": "Time, as 16:30",
                "title": "A time as 16:30 or 16:30:05",
                "pattern": r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?",
            }


class TimeRangeFilter(RangeDateTimeFilter):
    """Filters from a time to another. Without a time of day, the whole day counts."""

    form_class = TimeRangeForm
    template = "admin/flows/time_range_filter.html"

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """Yield the form with its zone; times.js shows its times in the zone of the browser."""
        request: Any = self.request
        for choice in super().choices(changelist):
            bounds = self._time("from", DAY_BEGIN), self._time("to", DAY_END)
            for field, at in zip(choice["form"].fields.values(), bounds, strict=True):
                field.widget.widgets[0].attrs["data-at"] = at.isoformat() if at else ""
            zone = str(zone_of(request.GET, self.field_path))
            yield {**choice, "zone": zone}

    def expected_parameters(self) -> list[str | None]:
        return [*super().expected_parameters(), f"{self.field_path}_zone"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if start := self._time("from", DAY_BEGIN):
            queryset = queryset.filter(**{f"{self.field_path}__gte": start})
        if end := self._time("to", DAY_END):
            queryset = queryset.filter(**{f"{self.field_path}__lte": end})
        return queryset

    def _time(self, side: str, default_time: str) -> datetime | None:
        """Return a bound, None where there is none. Raises IncorrectLookupParameters."""
        day = self.used_parameters.get(f"{self.field_path}_{side}_0")
        time = self.used_parameters.get(f"{self.field_path}_{side}_1")
        if not day and not time:
            return None
        request: Any = self.request
        zone = zone_of(request.GET, self.field_path)
        at = time_given(str(day), str(time or default_time), zone)
        try:
            return at.astimezone(UTC)
        except OverflowError:
            # At an end of the calendar it may lie outside of it in UTC.
            return None


class CreatedFilter(TimeRangeFilter):
    """Filters runs by their key, because a UUIDv7 begins with the time."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if start := self._time("from", DAY_BEGIN):
            queryset = queryset.filter(pk__gte=first_uuid7(start))
        if end := self._time("to", DAY_END):
            queryset = queryset.filter(pk__lt=first_uuid7(end, timedelta(milliseconds=1)))
        return queryset
