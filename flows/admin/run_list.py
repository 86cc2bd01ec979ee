"""The list of runs: its columns, its search, and the chips of what confines it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.html import format_html
from unfold import paginator
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.decorators import display

from flows.access.rights import SEES_EVERY_RUN, flows_with
from flows.admin.by_role import rights_of
from flows.admin.display import elapsed, first_line, link, page_of, shown_time
from flows.admin.filters import AgeFilter, CreatedFilter, FlowFilter, StatusFilter, zone_of
from flows.admin.run_labels import RUN_LABELS, words_of
from flows.encryption.payload_keys import has_keys
from flows.errors import OptionInvalid
from flows.models import (
    Consumer,
    DeadLetter,
    FlowVersion,
    Message,
    Right,
    Run,
    StepRun,
    StepVersion,
)
from flows.models.users import all_users, user_name_field
from flows.monitoring.run_search import ENOUGH, SHORTEST, Found, runs_with
from flows.monitoring.times import rfc3339
from flows.monitoring.trace import current_steps
from flows.options import read_labels
from flows.run_filter import RunFilter
from flows.store.bounded import OutOfTime, within

if TYPE_CHECKING:
    from scripts.admin.base import ReadOnlyAdmin as Base
else:
    Base = object

HEX_DIGITS = 32
# With fewer digits a text that is searched for may be anything.
DIGITS_OF_IDS = 8
# The most runs that are looked for at one step.
MOST_AT_STEP = 1_000
SECONDS_AT_STEP = 0.05
SECONDS_FOR_LABEL = 0.05
# Rows that filters leave may be far apart. After this time the list looks at the newest runs alone.
SECONDS = 0.12
NEWEST = 20_000
# Nearly all failed runs have a dead letter: beyond the newest runs, it tells where they are.
SECONDS_OF_FAILED = 0.05
MOST_WITH_LETTERS = 1_000

TOO_SHORT = f"Texts of fewer than {SHORTEST} characters are looked for as ids and labels alone."
NOT_SEARCHED = "Encrypted payloads, results and errors are not searched."
FURTHER = "Filters by flow, status or time lead further back."

# Of a range of times, which has four parameters.
RANGE = [f"created_at_{side}_{part}" for side in ("from", "to") for part in "01"]
CHIPS = {
    "q": ("", ["q"]),
    "flow": ("flow", ["flow", "step"]),
    "step": ("step", ["step"]),
    "status": ("status", ["status"]),
    "caller": ("started by", ["caller"]),
    "label": ("label", ["label"]),
    "age": ("age", ["age"]),
    "created_at_from_0": ("created from", RANGE[:2]),
    "created_at_to_0": ("created to", RANGE[2:]),
}


class CallerFilter(TextFilter):
    title = "name of the user who started it"
    parameter_name = "caller"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        name = (self.value() or "").replace("\0", "")
        if not name:
            return queryset
        users = all_users().filter(**{f"{user_name_field()}__iexact": name})
        return queryset.filter(started_by__in=list(users.values_list("pk", flat=True)[:10]))


class LabelFilter(TextFilter):
    title = "label, as key:value"
    parameter_name = "label"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        text = (self.value() or "").strip()
        return labelled(queryset, text) if text else queryset


class StepFilter(DropdownFilter):
    """Filters by a step that a run is at, failed at or passed. It has choices once a flow is."""

    title = "step that it is at, failed at or passed"
    parameter_name = "step"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = _steps_of_flow(request).order_by("position").values_list("name", flat=True)
        return [(name, name) for name in dict.fromkeys(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        if not self.value():
            return queryset
        steps = _steps_of_flow(request).filter(name=self.value())
        ids = list(steps.values_list("pk", flat=True))
        queues = list(steps.exclude(queue=None).values_list("queue", flat=True))
        consumers = list(Consumer.objects.filter(queue__in=queues).values_list("pk", flat=True))
        here: list[QuerySet[Any]] = [
            DeadLetter.objects.open().filter(step__in=ids).order_by("-id"),
            Message.objects.filter(queue__in=queues, step__in=ids).order_by(),
        ]
        if consumers:
            here.append(Message.objects.filter(consumer__in=consumers, step__in=ids).order_by())
        found: set[UUID] = set()
        for rows in here:
            with suppress(OutOfTime), within(SECONDS_AT_STEP):
                found |= set(rows.values_list("run_id", flat=True)[:MOST_AT_STEP])
        # Nothing has ended at a step of a queued run, and most completed ones passed all steps.
        versions = list(steps.values_list("flow_version", flat=True))
        passed = Q(status=Run.Status.COMPLETED, repeats=None, flow_version__in=versions)
        was_here = Exists(StepRun.objects.filter(run=OuterRef("pk"), step__in=ids))
        ended_here = ~Q(status=Run.Status.QUEUED) & Q(was_here)
        return queryset.filter(Q(pk__in=found) | passed | ended_here)


def _steps_of_flow(request: HttpRequest) -> QuerySet[StepVersion]:
    """Return the steps of all versions of the flow that the list is filtered by, if it is seen."""
    versions = FlowVersion.objects.filter(FlowVersion.of_flow(request.GET.get("flow", "")))
    rights = rights_of(request)
    if not rights[None]:
        versions = versions.filter(flow__in=flows_with(rights, set(Right.values)))
    return StepVersion.objects.filter(flow_version__in=versions)


class BeforeFilter(SimpleListFilter):
    """Has the list take the parameter of its next page, and shows nothing."""

    title = "before"
    parameter_name = "before"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset


class InfinitePaginator(paginator.InfinitePaginator):
    """Pages by the key of the last row: the thousandth costs what the first does.

    A template of unfold knows paginators without a count by this name.
    """

    template_name = "admin/flows/run/pages.html"


class RunList(Base):
    """The part of the runs' admin that makes the list."""

    list_display: Any = (
        "run",
        "flow",
        "status_label",
        "step",
        "first_error_line",
        "caller",
        "created",
        "duration",
    )
    list_filter = (
        FlowFilter,
        StepFilter,
        StatusFilter,
        CallerFilter,
        LabelFilter,
        AgeFilter,
        ("created_at", CreatedFilter),
        BeforeFilter,
    )
    list_filter_submit = True
    list_select_related = ("flow_version__flow", "started_by")
    list_before_template = "admin/flows/run/before_list.html"
    search_fields: Any = ("correlation_id",)
    search_help_text = "Correlation id, label as key:value, or text in a payload or an error"
    ordering = ("-correlation_id",)
    sortable_by = ()
    paginator = InfinitePaginator
    show_full_result_count = False

    def before(self, request: HttpRequest) -> Q:
        """Return the condition of the page that the address names."""
        before = before_of(request)
        return Q(pk__lt=before) if before else Q()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        text = search_term.strip().replace("\0", "")
        if not text:
            return queryset, False
        bounds = id_bounds(text)
        by_id = queryset.filter(pk__range=bounds) if bounds else queryset.none()
        digits = len(text.replace("-", ""))
        if bounds and digits >= DIGITS_OF_IDS and by_id.exists():
            return by_id, False
        if has_some(with_label := labelled(queryset, text)):
            return with_label, False
        if len(text) < SHORTEST:
            request.is_search_short = True  # type: ignore[attr-defined]
            return by_id, False
        seen = self._with_payloads_seen(request, queryset)
        found = runs_with(text, seen, before=before_of(request))
        request.found_runs = found  # type: ignore[attr-defined]
        either = Q(pk__in=found.ids) | Q(pk__range=bounds) if bounds else Q(pk__in=found.ids)
        return queryset.filter(either), False

    def _with_payloads_seen(self, request: HttpRequest, runs: QuerySet[Run]) -> QuerySet[Run]:
        rights = rights_of(request)
        if rights[None] & SEES_EVERY_RUN:
            return runs
        return runs.filter(flow_version__flow__in=flows_with(rights, SEES_EVERY_RUN))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes: Any = super().get_changelist_instance(request)
        rows, looked_at, oldest = self._rows(request, changes)
        steps = current_steps([run for run in rows if run.status != Run.Status.COMPLETED])
        words = words_of(rows)
        for run in rows:
            run.word = words[run.pk]
            run.current_step = steps.get(run.pk, "")
        changes.result_list = rows
        found: Found | None = getattr(request, "found_runs", None)
        changes.run_chips = list(chips(request.GET))
        changes.run_note = note_of(found) if found else ""
        if getattr(request, "is_search_short", False):
            changes.run_note = TOO_SHORT
        if found and has_keys():
            changes.run_note = f"{changes.run_note} {NOT_SEARCHED}".lstrip()
        is_full = len(rows) >= self.list_per_page
        further = rows[-1].pk if is_full else oldest or (found.last if found else None)
        is_full = found is not None or oldest is not None or is_full
        if oldest and not found:
            back_to = rfc3339(began_at(oldest), "seconds")
            changes.run_note = f"Looked at {looked_at}, back to {back_to}. {FURTHER}"
        changes.run_older_url = is_full and further and address(request.GET, before=further)
        is_later = "before" in request.GET
        changes.run_newest_url = is_later and address(request.GET, before=None)
        return changes

    def _rows(self, request: HttpRequest, changes: Any) -> tuple[list[Any], str, UUID | None]:
        """Return the rows of the page; and, if not all runs were looked at, which were, and the
        oldest of them.
        """
        is_of_failed = request.GET.get("status") == Run.Status.FAILED
        with suppress(OutOfTime), within(SECONDS_OF_FAILED if is_of_failed else SECONDS):
            return list(changes.result_list), "", None
        newest = Run.objects.filter(self.before(request)).order_by("-pk")
        oldest = next(iter(newest.values_list("pk", flat=True)[NEWEST - 1 : NEWEST]), None)
        if oldest is None:
            return list(changes.result_list), "", None
        rows: list[Any] = []
        with suppress(OutOfTime), within(SECONDS):
            rows = list(changes.queryset.filter(pk__gte=oldest)[: self.list_per_page])
        looked_at = f"{NEWEST:,} runs"
        lacking = self.list_per_page - len(rows)
        if lacking and is_of_failed:
            with suppress(OutOfTime), within(SECONDS):
                letters = DeadLetter.objects.filter(run__lt=oldest).order_by("-run_id").distinct()
                dead = list(letters.values_list("run_id", flat=True)[:MOST_WITH_LETTERS])
                rows += changes.queryset.filter(pk__in=dead)[:lacking]
                looked_at += " and those with dead letters"
                oldest = dead[-1] if dead else oldest
        return rows, looked_at, oldest

    @display(description="run", ordering="pk")
    def run(self, run: Run) -> str:
        text = str(run.pk)
        return format_html('<code title="{}">{}…{}</code>', text, text[:8], text[-6:])

    @admin.display(description="flow")
    def flow(self, run: Run) -> Any:
        version = run.flow_version
        if version.flow is None:
            return f"{version} (deleted)"
        return link(page_of(version.flow), version)

    @display(description="status", label=RUN_LABELS)
    def status_label(self, run: Any) -> str:
        return run.word

    @admin.display(description="step", empty_value="-")
    def step(self, run: Any) -> str | None:
        """Return the step where the run is, or failed."""
        return run.current_step or None

    @admin.display(description="error")
    def first_error_line(self, run: Run) -> str:
        return format_html('<span class="run-list-error">{}</span>', first_line(run.error))

    @admin.display(description="started by", empty_value="-")
    def caller(self, run: Run) -> Any:
        return run.started_by

    @admin.display(description="created")
    def created(self, run: Run) -> str:
        return shown_time(run.created_at)

    @admin.display(description="duration")
    def duration(self, run: Run) -> str:
        """Return the time from the start to the end, or until now."""
        return elapsed(run.created_at, run.finished_at or timezone.now())


def before_of(request: HttpRequest) -> UUID | None:
    try:
        return UUID(request.GET["before"])
    except (KeyError, ValueError):
        return None


def labelled(runs: QuerySet[Run], text: str) -> QuerySet[Run]:
    """Return the runs with a label, which the text has as `key:value`."""
    try:
        labels = read_labels([text])
    except OptionInvalid:
        return runs.none()
    return RunFilter(labels=labels).restrict(runs, None)


def has_some(runs: QuerySet[Run]) -> bool:
    """Say whether there are such runs. Where it takes long to see, there may be."""
    with suppress(OutOfTime), within(SECONDS_FOR_LABEL):
        return runs.exists()
    return True


def note_of(found: Found) -> str:
    """Say how far the search has looked."""
    if found.is_complete:
        return ""
    places = [f"the newest {found.looked_at:,} runs"] if found.looked_at else []
    if found.knows_all_letters:
        places.append("all dead letters")
    if found.until:
        since = f" from {rfc3339(found.since, 'seconds')} on" if found.since else ""
        places.append(
            "all kept payloads, results and errors of steps that ran"
            f"{since} until {rfc3339(found.until, 'seconds')}"
        )
    looked = " and at ".join(places or ["the newest texts"])
    more = f", until {ENOUGH} were found" if len(found.ids) >= ENOUGH else ""
    further = "" if found.until else f" {FURTHER}"
    return f"Looked at {looked}{more}.{further}"


def began_at(run_id: UUID) -> datetime:
    """Return the time that is in the id of a run."""
    return datetime.fromtimestamp((run_id.int >> 80) / 1000, UTC)


def chips(params: QueryDict) -> Iterator[dict[str, str]]:
    """Yield what confines the list, each with the address of the list without it."""
    for name, (label, names) in CHIPS.items():
        value = params.get(name, "").strip()
        if name in RANGE:
            value = " ".join(filter(None, (params.get(each) for each in names)))
            value = value and f"{value} {zone_of(params, 'created_at')}"
        if value:
            shown = f"{label}: {value}" if label else f"“{value}”"
            without = dict.fromkeys((*names, "before"))
            yield {"text": shown, "url": address(params, **without)}


def address(params: QueryDict, **changes: Any) -> str:
    """Return the address of the list with changed parameters; None removes one."""
    changes = {"p": None, "e": None, **changes}
    kept = {key: value for key, value in params.items() if key not in changes}
    if not kept.keys() & RANGE:
        kept.pop("created_at_zone", None)
    return f"?{urlencode(kept | {key: value for key, value in changes.items() if value})}"


def id_bounds(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begins with the text, None if none can."""
    digits = text.strip().replace("-", "").lower()
    if not digits or len(digits) > HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(HEX_DIGITS, "0")), UUID(digits.ljust(HEX_DIGITS, "f"))
