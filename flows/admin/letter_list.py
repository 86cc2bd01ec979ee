"""The list of dead letters: bounded searches and pages, groups of errors, what leads to many."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property

from flows.admin.display import list_of
from flows.admin.filters import TimeRangeFilter, time_given, zone_of
from flows.admin.sparkline import failures
from flows.dead_letters import DeadLetterFilter, with_text
from flows.encryption.payload_keys import has_keys
from flows.models import DeadLetter
from flows.monitoring.letter_groups import MOST_LETTERS, LetterGroup, letter_groups
from flows.store import store

if TYPE_CHECKING:
    from flows.models.dead_letter import DeadLetterQuerySet

MOST_COUNTED = 10_000
# The newest letters of the list in which a text is looked for.
MOST_SEARCHED = 5_000
MOST_GROUPS = 12
# By the parameter of the list: the field of the form for many.
FIELDS = {
    "flow": "flow_name",
    "step": "step",
    "queue": "queue",
    "reason": "reason",
    "error": "of_error",
    "code": "code",
    "script": "of_script",
    "q": "text",
}


class AtLeast(int):
    """A number of rows that were counted no further; pages show it with a plus sign."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


class BoundedPaginator(Paginator):
    """Counts no more rows than a few hundred pages need."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted: int = rows.order_by()[:MOST_COUNTED].count()
        return AtLeast(counted) if counted == MOST_COUNTED else counted


class DeadAtFilter(TimeRangeFilter):
    """Filters from a time to the end of another second, or day."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        after, before = times_of(request.GET)
        return DeadLetterFilter(dead_after=after, dead_before=before).restrict(queryset)  # type: ignore[arg-type]


def times_of(given: Mapping[str, str]) -> tuple[datetime | None, datetime | None]:
    """Return from when and before when the letters of the list died."""
    after = _time(given, "from", "00:00:00")
    second = _time(given, "to", "", timedelta(seconds=1))
    return after, second or _time(given, "to", "00:00:00", timedelta(days=1))


def _time(
    given: Mapping[str, str], side: str, default_time: str, later: timedelta = timedelta(0)
) -> datetime | None:
    """Return the time, or so much later; None where there is none in the calendar, in UTC.

    Raises IncorrectLookupParameters.
    """
    day, time = given.get(f"dead_at_{side}_0", ""), given.get(f"dead_at_{side}_1", "")
    if (not day and not time) or not (time or default_time):
        return None
    at = time_given(day, time or default_time, zone_of(given, "dead_at"))
    try:
        return (at + later).astimezone(UTC)
    except OverflowError:
        return None


def search(letters: QuerySet[DeadLetter], term: str) -> QuerySet[DeadLetter]:
    """Return the letters of a run, or the newest with a text in their error or message."""
    if run := as_uuid(term):
        return letters.filter(run=run)
    found: Any = letters
    oldest = _oldest_searched(letters)
    if oldest is not None:
        found = found.filter(pk__gte=oldest)
    return with_text(found, term.strip())


def is_search_blind(term: str) -> bool:
    """Say whether a text is looked for where there may be encrypted ones."""
    return bool(term.strip()) and not as_uuid(term) and has_keys()


def is_search_cut(letters: QuerySet[DeadLetter], term: str) -> bool:
    """Say whether there are older letters in which the text was not looked for."""
    return bool(term.strip()) and not as_uuid(term) and _oldest_searched(letters) is not None


def _oldest_searched(letters: QuerySet[DeadLetter]) -> int | None:
    ids = letters.order_by("-pk").values_list("pk", flat=True)
    return next(iter(ids[MOST_SEARCHED - 1 : MOST_SEARCHED]), None)


def as_uuid(term: str) -> UUID | None:
    try:
        return UUID(term.strip())
    except ValueError:
        return None


def many_url(given: Mapping[str, str]) -> str:
    """Return the address of the form for many, with the filter of the list."""
    query = {field: given[name] for name, field in FIELDS.items() if given.get(name)}
    for field, at in zip(("dead_after", "dead_before"), times_of(given), strict=True):
        if at is not None:
            query[field] = at.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{reverse('admin:flows_reprocessing_begin')}?{urlencode(query)}"


def groups_shown(
    given: Mapping[str, str], seen: DeadLetterQuerySet, operates: bool
) -> dict[str, Any]:
    """Return the groups of the open letters of the list; a text to look for has none."""
    context: dict[str, Any] = {
        "many_url": many_url(given) if operates and given.get("state", "open") == "open" else "",
        "error_shown": given.get("error", ""),
        "without_error_url": _list_url(given, error=None),
    }
    if given.get("q") or given.get("state", "open") != "open":
        return context
    after, before = times_of(given)
    chosen = DeadLetterFilter(
        flow_name=given.get("flow") or None,
        step=given.get("step") or None,
        queue=given.get("queue") or None,
        reason=given.get("reason") or None,
        code=given.get("code") or None,
        script=given.get("script") or None,
        dead_after=after,
        dead_before=before,
    )
    found = letter_groups(chosen.restrict(seen.open()), store().database.now())
    shown = found.groups[:MOST_GROUPS]
    return context | {
        "groups": [_group(given, group, operates) for group in shown],
        "errors": len(found.groups),
        "letters": found.letters,
        "is_cut": found.is_cut,
        "most_letters": MOST_LETTERS,
        "more_groups": len(found.groups) - len(shown),
    }


def _group(given: Mapping[str, str], group: LetterGroup, operates: bool) -> dict[str, Any]:
    where = {"flow": group.flow_name, "step": group.step_name, "error": group.error_class or ""}
    is_known = bool(group.error_class)
    return {
        "group": group,
        "url": _list_url(given, **where, state="open") if is_known else "",
        "many_url": many_url({**dict(given.items()), **where}) if operates and is_known else "",
        "curve": failures(group.curve),
        "is_chosen": given.get("error") == group.error_class
        and given.get("step", group.step_name) == group.step_name,
    }


def _list_url(given: Mapping[str, str], **changes: str | None) -> str:
    query = {name: value for name, value in given.items() if name != "p"} | changes
    return list_of(DeadLetter, **{name: v for name, v in query.items() if v})
