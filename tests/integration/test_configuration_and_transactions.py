"""What a transaction changes of the configuration, and takes back, reaches no other start."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import count

import pytest
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import conservation, engine
from flows.errors import FlowNotRunnable, UnknownFlow
from flows.models import ConfigurationRevision, Flow, Queue, Run
from scripts.models import Script, ScriptVersion
from tests.builders import ECHO, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)


class RolledBack(Exception):
    """Takes a transaction back."""


def marking(mark: str) -> str:
    return f"def run(message, context):\n    return '{mark}'\n"


def edit(flow: str, mark: str) -> None:
    script = Script.objects.get(name=f"{flow}-0")
    script.code = marking(mark)
    script.save()


def result_of(flow: str, correlation_id) -> str:
    work_until_idle(Flow.objects.get(name=flow))
    return json.loads(run_of(correlation_id).result)


def imbalances() -> list[str]:
    return [fault for balance in conservation.check() for fault in balance.faults()]


def test_a_start_that_was_rolled_back_lets_no_flow_run_the_scripts_of_another():
    for name in ("a", "b"):
        make_flow(name, [marking(f"{name} old")])
        engine.start(name, {})
        edit(name, f"{name} new")

    with suppress(RolledBack), transaction.atomic():
        engine.start("a", {})
        raise RolledBack
    started = {name: engine.start(name, {}).correlation_id for name in ("b", "a")}

    assert {name: result_of(name, id) for name, id in started.items()} == {
        "a": "a new",
        "b": "b new",
    }
    assert imbalances() == []


def test_an_edit_that_was_rolled_back_is_not_run():
    make_flow("a", [marking("kept")])

    with suppress(RolledBack), transaction.atomic():
        edit("a", "taken back")
        engine.start("a", {})
        raise RolledBack
    started = engine.start("a", {})

    assert result_of("a", started.correlation_id) == "kept"
    assert ScriptVersion.objects.count() == 1


def test_an_edit_back_to_a_savepoint_is_not_run_and_what_came_before_it_is():
    make_flow("a", [marking("old")])

    with transaction.atomic():
        edit("a", "kept")
        with suppress(RolledBack), transaction.atomic():
            edit("a", "taken back")
            engine.start("a", {})
            raise RolledBack
        started = engine.start("a", {})

    assert result_of("a", started.correlation_id) == "kept"


def test_a_flow_that_is_made_inactive_by_an_update_is_refused_at_once():
    make_flow("a")
    engine.start("a", {})

    Flow.objects.filter(name="a").update(active=False)

    with pytest.raises(FlowNotRunnable, match="inactive"):
        engine.start("a", {})


def test_code_that_is_changed_by_an_update_is_what_the_next_start_runs():
    make_flow("a", [marking("old")])
    engine.start("a", {})

    Script.objects.update(code=marking("new"))
    started = engine.start("a", {})

    assert result_of("a", started.correlation_id) == "new"


def test_a_flow_that_is_renamed_by_sql_is_known_by_its_new_name_alone():
    make_flow("a", [marking("a")])
    engine.start("a", {})

    with connection.cursor() as cursor:
        cursor.execute("UPDATE flows_flow SET name = 'b' WHERE name = 'a'")

    with pytest.raises(UnknownFlow):
        engine.start("a", {})
    assert result_of("b", engine.start("b", {}).correlation_id) == "a"


def test_every_change_of_a_configuration_table_changes_the_revision():
    flow = make_flow("a")
    flow.make_version()
    tokens = [ConfigurationRevision.current()]

    for change in (
        lambda: Flow.objects.update(description="other"),
        lambda: flow.steps.update(threads=2),
        lambda: Queue.objects.update(size=5),
        lambda: Script.objects.bulk_create(
            [Script(name="other", code=ECHO)], ignore_conflicts=True
        ),
        lambda: Script.objects.filter(name="other").delete(),
        lambda: flow.versions.update(flow_name="b"),
        lambda: flow.steps.all().delete(),
    ):
        change()
        tokens.append(ConfigurationRevision.current())

    assert len(set(tokens)) == len(tokens)


def test_a_flow_made_by_a_data_migration_can_be_started():
    models = MigrationExecutor(connection).loader.project_state().apps
    script = models.get_model("scripts.Script").objects.create(name="s", code=marking("migrated"))
    queue = models.get_model("flows.Queue").objects.create(name="q")
    flow = models.get_model("flows.Flow").objects.create(name="a")
    models.get_model("flows.Step").objects.create(flow=flow, name="s", script=script, queue=queue)

    started = engine.start("a", {})

    assert result_of("a", started.correlation_id) == "migrated"


# --- random sequences --------------------------------------------------------------------------

FLOWS = ("first", "second")
ACTIONS = st.tuples(st.sampled_from(["edit", "start"]), st.sampled_from(FLOWS))
# A block is a transaction or a savepoint: what happens in it, and whether it stays.
BLOCKS = st.recursive(
    st.lists(ACTIONS, min_size=1, max_size=4),
    lambda inner: st.lists(ACTIONS | st.tuples(st.booleans(), inner), min_size=1, max_size=4),
    max_leaves=6,
)
numbers = count(1)


class Player:
    """Plays blocks, and notes with each start the mark that its flow had then."""

    def __init__(self, names: dict[str, str], marks: dict[str, str]) -> None:
        self.names = names
        self.marks = marks
        self.started: dict[object, tuple[str, str]] = {}

    def play(self, block: list) -> None:
        for what, which in block:
            if what == "edit":
                mark = f"{self.names[which]} {next(numbers)}"
                edit(self.names[which], mark)
                self.marks[which] = mark
            elif what == "start":
                id = engine.start(self.names[which], {}).correlation_id
                self.started[id] = (self.names[which], self.marks[which])
            else:
                self.play_within(block=which, stays=what)

    def play_within(self, block: list, stays: bool) -> None:
        marks, started = dict(self.marks), dict(self.started)
        try:
            with transaction.atomic():
                self.play(block)
                if not stays:
                    raise RolledBack
        except RolledBack:
            self.marks, self.started = marks, started


def make_pair() -> tuple[dict[str, str], dict[str, str]]:
    names = {which: f"{which}-{next(numbers)}" for which in FLOWS}
    marks = {which: f"{name} 0" for which, name in names.items()}
    for which, name in names.items():
        make_flow(name, [marking(marks[which])])
    return names, marks


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(blocks=st.lists(st.tuples(st.booleans(), BLOCKS), min_size=1, max_size=4))
def test_each_run_runs_the_script_that_its_flow_had_when_it_was_started(blocks):
    player = Player(*make_pair())

    player.play(blocks)

    assert {run.pk for run in runs_of(player)} == set(player.started)
    for id, (name, mark) in player.started.items():
        assert result_of(name, id) == mark
    assert imbalances() == []


def runs_of(player: Player):
    return Run.objects.filter(flow_version__flow_name__in=player.names.values())
