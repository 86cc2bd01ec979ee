"""Which runs a list, a count or the cancelling of many is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from flows.models import FlowVersion, IdempotencyKey, Run
from flows.models.users import all_users, caller_of, ignoring_impossible_name, user_name_field
from flows.models.uuid7 import first_uuid7

# The id of a run has the clock of the process that started it; its row has the database's.
CLOCKS_APART = timedelta(minutes=5)
# Who stands for the caller.
ME = "me"


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A filter of runs. A part that is None or empty does not restrict it."""

    flow_name: str | None = None
    statuses: Collection[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    parent: UUID | None = None
    started_by: str | None = None
    idempotency_key: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every run matches."""
        return not any(getattr(self, each.name) for each in fields(self))

    def restrict(self, runs: QuerySet[Run], caller: Any) -> QuerySet[Run]:
        """Return those of the runs that match; `caller` is the user that `me` means."""
        plain: dict[str, Any] = {
            "flow_version__in": self._versions(),
            "status__in": self.statuses or None,
            "parent": self.parent,
            "created_at__gte": self.created_after,
            "created_at__lt": self.created_before,
            "finished_at__gte": self.finished_after,
            "finished_at__lt": self.finished_before,
            **self._bounds(),
        }
        runs = runs.filter(**{name: value for name, value in plain.items() if value is not None})
        for key, value in self.labels.items():
            runs = runs.filter(labels__key=key, labels__value=value)
        if self.started_by is None and self.idempotency_key is None:
            return runs
        starter = self._starter(caller)
        if starter is None:
            return runs.none()
        if self.started_by is not None:
            runs = runs.filter(started_by=starter)
        if self.idempotency_key is not None:
            runs = runs.filter(pk__in=self._runs_of_key(starter))
        return runs

    def _versions(self) -> list[int] | None:
        """Return the versions of the flow by their ids, for the index of runs by version."""
        if self.flow_name is None:
            return None
        of_flow = FlowVersion.objects.filter(FlowVersion.of_flow(self.flow_name))
        return list(of_flow.values_list("pk", flat=True))

    def _bounds(self) -> dict[str, UUID]:
        """Return bounds of the ids, which tell when a run was created, for the index of the key.

        A run is not finished before it is created.
        """
        bounds = {}
        if self.created_after:
            bounds["pk__gte"] = first_uuid7(self.created_after, -CLOCKS_APART)
        if befores := [each for each in (self.created_before, self.finished_before) if each]:
            bounds["pk__lt"] = first_uuid7(min(befores), CLOCKS_APART)
        return bounds

    def _starter(self, caller: Any) -> Any:
        """Return the key of the user that has started the runs; None: there is no such user."""
        if self.started_by is None or self.started_by == ME:
            return caller.pk
        with ignoring_impossible_name(self.started_by):
            named = all_users().filter(**{user_name_field(): self.started_by})
            return named.values_list("pk", flat=True).first()
        return None

    def _runs_of_key(self, starter: Any) -> list[UUID]:
        """Return the runs that the user has started with the key, at most one of each flow.

        With the names of flows, those of before too, each takes one probe of the index of keys.
        """
        versions = FlowVersion.objects.order_by()
        if self.flow_name is not None:
            versions = versions.filter(FlowVersion.of_flow(self.flow_name))
        names = list(versions.values_list("flow_name", flat=True).distinct())
        keys = IdempotencyKey.objects.filter(
            flow_name__in=names, caller=caller_of(starter), key=self.idempotency_key
        )
        return list(keys.values_list("run_id", flat=True))
