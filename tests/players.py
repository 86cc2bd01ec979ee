"""Plays of edits and starts in transactions, and what the runs have to show for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

from django.db import transaction
from django.test import Client
from hypothesis import strategies as st

from flows import public
from flows.configuration import import_configuration
from flows.models import Flow, Run
from flows.monitoring import conservation
from scripts.models import Script
from tests.builders import make_flow, run_of, work_until_idle

FLOWS = ("first", "second")
EDITS = ("save", "update", "import")
STARTS = ("start", "start_many", "http")
ACTIONS = st.tuples(st.sampled_from(EDITS + STARTS), st.sampled_from(FLOWS))
# A block is a transaction or a savepoint: what happens in it, and whether it stays.
BLOCKS = st.recursive(
    st.lists(ACTIONS, min_size=1, max_size=4),
    lambda inner: st.lists(ACTIONS | st.tuples(st.booleans(), inner), min_size=1, max_size=4),
    max_leaves=6,
)
PLAYS = st.lists(ACTIONS | st.tuples(st.booleans(), BLOCKS), min_size=1, max_size=4)
FOR_EVER = 1 << 62
numbers = count(1)


class RolledBack(Exception):
    """Takes a transaction back."""


def marking(mark: str) -> str:
    return f"def run(message, context):\n    return '{mark}'\n"


def edit(flow: str, mark: str, how: str = "save") -> None:
    """Have the flow's script return the mark, by a form's save, an update or a document."""
    name, code = f"{flow}-0", marking(mark)
    if how == "update":
        Script.objects.filter(name=name).update(code=code)
    elif how == "import":
        import_configuration({"scripts": [{"name": name, "code": code}]})
    else:
        script = Script.objects.get(name=name)
        script.code = code
        script.save()


@dataclass
class Mark:
    """What a flow's script returned.

    Its commit lay between `since` and `committed`, and another's in its place before `until`.
    """

    text: str
    since: int
    committed: int = FOR_EVER
    until: int = FOR_EVER


@dataclass
class History:
    """The marks of two flows as they were committed, by a clock that ticks with each look."""

    names: dict[str, str]
    marks: dict[str, list[Mark]] = field(default_factory=dict)
    clock: count[int] = field(default_factory=lambda: count(1))
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of_new_flows(cls) -> History:
        history = cls({which: f"{which}-{next(numbers)}" for which in FLOWS})
        for which, name in history.names.items():
            make_flow(name, [marking(f"{name} 0")])
            history.marks[which] = [Mark(f"{name} 0", 0, committed=0)]
        return history

    def now(self) -> int:
        return next(self.clock)

    def begin(self, changes: dict[str, str]) -> dict[str, Mark]:
        """Note marks that are about to be committed."""
        with self.lock:
            begun = {which: Mark(text, self.now()) for which, text in changes.items()}
            for which, mark in begun.items():
                self.marks[which].append(mark)
        return begun

    def end(self, begun: dict[str, Mark]) -> None:
        """Note that they are: those that were committed before they began hold no longer."""
        with self.lock:
            now = self.now()
            for which, mark in begun.items():
                mark.committed = now
                for earlier in self.marks[which]:
                    if earlier.committed < mark.since:
                        earlier.until = min(earlier.until, now)

    def possible(self, which: str, since: int) -> set[str]:
        """Return the marks that the flow may have had at some moment since then."""
        with self.lock:
            return {mark.text for mark in self.marks[which] if mark.until >= since}


class Player:
    """Plays blocks, and notes with each start the marks that its flow may have had then."""

    def __init__(self, history: History, client: Client | None = None) -> None:
        self.history = history
        self.client = client
        self.turn: Callable[[], None] = lambda: None
        # What the transaction that is open has edited.
        self.own: dict[str, str] = {}
        self.started: dict[UUID, tuple[str, set[str]]] = {}

    def play_by_turns(self, block: list[Any], turn: Callable[[], None]) -> None:
        self.turn = turn
        self.play(block)

    def play(self, block: list[Any]) -> None:
        for what, which in block:
            self.turn()
            if isinstance(what, bool):
                self.play_within(which, stays=what)
            elif what in EDITS:
                self.edit(what, which)
            else:
                self.start(what, which)

    def play_within(self, block: list[Any], stays: bool) -> None:
        own, started, begun = dict(self.own), dict(self.started), {}
        is_outermost = transaction.get_autocommit()
        try:
            with transaction.atomic():
                self.play(block)
                self.turn()
                if not stays:
                    raise RolledBack
                begun = self.history.begin(self.own) if is_outermost else {}
        except RolledBack:
            self.own, self.started = own, started
        self.history.end(begun)
        if is_outermost:
            self.own = {}

    def edit(self, how: str, which: str) -> None:
        name = self.history.names[which]
        mark = f"{name} {next(numbers)}"
        if transaction.get_autocommit():
            begun = self.history.begin({which: mark})
            edit(name, mark, how)
            self.history.end(begun)
        else:
            edit(name, mark, how)
            self.own[which] = mark

    def start(self, how: str, which: str) -> None:
        name, since = self.history.names[which], self.history.now()
        ids = self.start_by(how, name)
        marks = {self.own[which]} if which in self.own else self.history.possible(which, since)
        self.started |= dict.fromkeys(ids, (name, marks))

    def start_by(self, how: str, name: str) -> list[UUID]:
        if how == "start_many":
            return public.start_many(name, [{}, {}])
        if how == "start" or self.client is None:
            return [public.start(name, {})]
        url = f"/async/api/start?flowName={name}"
        response = self.client.post(url, b"{}", content_type="application/json")
        assert response.status_code == 202, response.content
        return [UUID(response.json()["correlationId"])]


def result_of(flow: str, correlation_id: UUID) -> str:
    work_until_idle(Flow.objects.get(name=flow))
    result: str = json.loads(run_of(correlation_id).result or "null")
    return result


def wrong_runs(players: list[Player]) -> list[str]:
    """Work until nothing is left, and tell of each run that is not there or has another mark.

    All runs of the flows have to be theirs.
    """
    started = {id: start for player in players for id, start in player.started.items()}
    names = set(players[0].history.names.values())
    runs = Run.objects.filter(flow_version__flow_name__in=names).values_list("pk", flat=True)
    wrong = [f"not to be explained: {id}" for id in set(runs) ^ set(started)]
    for id, (name, marks) in started.items():
        if (result := result_of(name, id)) not in marks:
            run = run_of(id)
            wrong.append(f"{run.status} {run.error} {result} instead of {marks}")
    return wrong


def imbalances() -> list[str]:
    return [fault for checked in conservation.check() for fault in checked.faults()]
