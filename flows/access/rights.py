"""The rights of users to flows: superusers have all, others those of their roles (groups).

These are the engine's own rights, beside Django's permissions. Each call reads them from the
database, so that a change of a role counts at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Exists, OuterRef, Q, QuerySet

from flows.models import DeadLetter, Flow, Queue, Reprocessing, Right, RoleMapping, Run
from flows.models.dead_letter import DeadLetterQuerySet
from flows.models.users import members

Caller = AnonymousUser | AbstractBaseUser
# By the flow's id; None holds the rights to every flow.
Rights = Mapping[int | None, Set[str]]

# Users see what they change.
IMPLIED = {Right.CONFIGURE.value: frozenset({Right.WATCH.value})}
SEES_FLOW = frozenset({Right.START, Right.WATCH, Right.OPERATE})
SEES_EVERY_RUN = frozenset({Right.WATCH, Right.OPERATE})


def may(user: Caller, right: str, flow_id: int | None) -> bool:
    """Say whether the user has the right to the flow; None stands for a deleted flow."""
    return right in rights_on(user, flow_id)


def rights_on(user: Caller, flow_id: int | None) -> set[str]:
    """Return every right of the user to the flow; None stands for a deleted flow."""
    rights = rights_by_flow(user)
    return rights[None] | rights[flow_id]


def rights_by_flow(user: Caller) -> defaultdict[int | None, set[str]]:
    """Return the rights by the flow's id; None holds the rights to every flow."""
    # Conditions would double the time to build the query, so a loop sorts all mappings.
    return rights_of(user, _mappings(user).values_list("flow_id", "right"))


def rights_of(
    user: Caller, mappings: Iterable[tuple[int | None, str]]
) -> defaultdict[int | None, set[str]]:
    """Return what `rights_by_flow` does, by the flows and rights of the user's roles."""
    rights: defaultdict[int | None, set[str]] = defaultdict(set)
    if _is_superuser(user):
        rights[None].update(Right.values)
        return rights
    for flow_id, right in mappings:
        rights[flow_id].add(right)
        rights[flow_id].update(IMPLIED.get(right, ()))
    return rights


def rights_of_users(users: Iterable[Caller]) -> Mapping[Any, Mapping[int | None, Set[str]]]:
    """Return what `rights_by_flow` does, by the users' keys, with one query for all."""
    rights: dict[Any, defaultdict[int | None, set[str]]] = {}
    for user in users:
        given = rights[user.pk] = defaultdict(set)
        if _is_superuser(user):
            given[None].update(Right.values)
    others = [user_id for user_id, given in rights.items() if not given]
    if others:
        member = f"role__{members()}"
        mappings = RoleMapping.objects.filter(**{f"{member}__in": others}).order_by()
        for user_id, flow_id, right in mappings.values_list(member, "flow_id", "right"):
            if user_id in rights:
                rights[user_id][flow_id].add(right)
                rights[user_id][flow_id].update(IMPLIED.get(right, ()))
    return rights


def flows_allowed(user: Caller, rights: Collection[str]) -> QuerySet[Flow]:
    """Return the flows to which the user has at least one of the rights."""
    if _is_superuser(user):
        return Flow.objects.all()
    given = {*rights, *(each for each, implied in IMPLIED.items() if implied & set(rights))}
    covering = _mappings(user).filter(Q(flow=None) | Q(flow=OuterRef("pk")), right__in=given)
    return Flow.objects.filter(Exists(covering))


def may_read(user: Caller, run: Run) -> bool:
    """Say whether the user may see the run: by a right to the flow, or as its starter."""
    return _reaches(user, run, SEES_EVERY_RUN)


def may_cancel(user: Caller, run: Run) -> bool:
    """Say whether the user may cancel the run: by a right to the flow, or as its starter."""
    return _reaches(user, run, {Right.OPERATE})


def _reaches(user: Caller, run: Run, rights_to_every_run: Set[str]) -> bool:
    rights = rights_on(user, run.flow_version.flow_id)
    if rights & rights_to_every_run:
        return True
    return Right.START in rights and run.started_by_id == user.pk


def runs_seen(user: Caller) -> QuerySet[Run]:
    """Return the runs that `may_read` allows."""
    return Run.objects.filter(seen_runs(user, rights_by_flow(user)) or Q())


def runs_operated(user: Caller) -> QuerySet[Run]:
    """Return the runs of flows that the user may operate."""
    rights = rights_by_flow(user)
    if Right.OPERATE in rights[None]:
        return Run.objects.all()
    return Run.objects.filter(flow_version__flow__in=flows_with(rights, {Right.OPERATE}))


def runs_to_cancel(user: Caller) -> QuerySet[Run]:
    """Return the runs that `may_cancel` allows."""
    return Run.objects.filter(_reached(user, rights_by_flow(user), {Right.OPERATE}) or Q())


def seen_runs(user: Caller, rights: Rights) -> Q | None:
    """Return the condition of `runs_seen`, on the flow versions; None: every run."""
    return _reached(user, rights, SEES_EVERY_RUN)


def _reached(user: Caller, rights: Rights, to_every_run: Set[str]) -> Q | None:
    """Return the condition of the runs that `_reaches` allows; None: every run."""
    if rights[None] & to_every_run:
        return None
    reached = Q(flow_version__flow__in=flows_with(rights, to_every_run))
    if Right.START in rights[None]:
        return reached | Q(started_by=user.pk)
    own = Q(started_by=user.pk, flow_version__flow__in=flows_with(rights, {Right.START}))
    return reached | own


@dataclass(frozen=True, slots=True)
class Sight:
    """The runs that a user may see, as `seen_runs` selects them, to be checked without a query.

    Of `flows` the user sees every run, of `own` the runs that the user has started. None: all
    flows, deleted ones too.
    """

    user_id: Any
    flows: frozenset[int] | None
    own: frozenset[int] | None

    def reaches(self, flow_id: int | None) -> bool:
        """Say whether some runs of the flow may be seen."""
        return self._has_all(flow_id) or self.own is None or flow_id in self.own

    def covers(self, flow_id: int | None, started_by: Any) -> bool:
        """Say whether a run of the flow with this starter may be seen."""
        return self._has_all(flow_id) or (started_by == self.user_id and self.reaches(flow_id))

    def of_flow(self, flow_id: int) -> Sight:
        """Return what it is of one flow, equal for users who see the same of that flow."""
        one, none = frozenset([flow_id]), frozenset[int]()
        if self._has_all(flow_id):
            return Sight(None, one, none)
        return Sight(self.user_id, none, one if self.reaches(flow_id) else none)

    def flow_ids(self) -> frozenset[int] | None:
        """Return the flows with runs that may be seen; None: all."""
        return None if self.flows is None or self.own is None else self.flows | self.own

    def _has_all(self, flow_id: int | None) -> bool:
        return self.flows is None or flow_id in self.flows


def sight_of(user: Caller, rights: Rights) -> Sight:
    """Return what the user sees. It is equal for users who see the same."""
    if rights[None] & SEES_EVERY_RUN:
        return Sight(None, None, frozenset())
    flows = frozenset(flows_with(rights, SEES_EVERY_RUN))
    if Right.START in rights[None]:
        return Sight(user.pk, flows, None)
    own = frozenset(flows_with(rights, {Right.START})) - flows
    return Sight(user.pk if own else None, flows, own)


def queues_seen(user: Caller) -> QuerySet[Queue]:
    """Return the queues of the flows that the user watches or operates.

    Users who see every flow also see queues that feed no step.
    """
    rights = rights_by_flow(user)
    if rights[None] & SEES_EVERY_RUN:
        return Queue.objects.all()
    return Queue.objects.filter(step__flow__in=flows_with(rights, SEES_EVERY_RUN))


def dead_letters_seen(user: Caller) -> DeadLetterQuerySet:
    """Return the open dead letters of the flows that the user watches or operates."""
    return dead_letters_known(user).open()


def dead_letters_known(user: Caller) -> DeadLetterQuerySet:
    """Return the dead letters of those flows, decided ones included."""
    rights = rights_by_flow(user)
    letters = DeadLetter.objects.all()
    if rights[None] & SEES_EVERY_RUN:
        return letters
    return letters.filter(step__flow_version__flow__in=flows_with(rights, SEES_EVERY_RUN))


def seen_reprocessings(user: Caller, rights: Rights) -> Q | None:
    """Return the condition of the reprocessings that the user sees; None: every one.

    Operators of every flow see all, others their own while they operate all its flows.
    """
    if Right.OPERATE in rights[None]:
        return None
    operated = set(flows_with(rights, {Right.OPERATE}))
    own = Reprocessing.objects.filter(user=user.pk, flow_ids__isnull=False)
    flow_ids = own.values_list("pk", "flow_ids")
    return Q(pk__in=[pk for pk, flows in flow_ids if operated.issuperset(flows or ())])


def flows_with(rights: Rights, any_of: Set[str]) -> list[int]:
    """Return the ids of the flows for which the rights hold at least one of `any_of`."""
    return [flow_id for flow_id, given in rights.items() if flow_id and given & any_of]


def _is_superuser(user: Caller) -> bool:
    return user.is_active and getattr(user, "is_superuser", False)


def _mappings(user: Caller) -> QuerySet[RoleMapping]:
    if not user.is_active or user.pk is None:
        return RoleMapping.objects.none()
    return RoleMapping.objects.filter(**{f"role__{members()}": user.pk}).order_by()
