"""What a transaction changes of the configuration, and takes back, reaches no other start."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from hypothesis import HealthCheck, given, settings

from flows import engine
from flows.errors import FlowNotRunnable, UnknownFlow
from flows.models import ConfigurationRevision, Flow, Queue
from scripts.models import Script, ScriptVersion
from tests.builders import ECHO, make_flow
from tests.examples import examples
from tests.players import (
    PLAYS,
    History,
    Player,
    RolledBack,
    edit,
    imbalances,
    marking,
    result_of,
    wrong_runs,
)

pytestmark = pytest.mark.django_db(transaction=True)


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


@settings(
    max_examples=examples(6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(play=PLAYS)
def test_each_run_runs_the_script_that_its_flow_had_when_it_was_started(play):
    player = Player(History.of_new_flows())

    player.play(play)

    assert wrong_runs([player]) == []
    assert imbalances() == []
