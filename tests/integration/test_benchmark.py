"""Workloads that need no workers, and the command around them."""

import json
import os
import secrets
import subprocess
import sys
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from flows.benchmark import names, noise
from flows.benchmark import workbench as workbench_module
from flows.benchmark.bare_tables import bare_tables
from flows.benchmark.caller import caller
from flows.benchmark.leftovers import remove_leftovers
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.waiting import BenchFailed
from flows.benchmark.workbench import BenchStep, Workbench, workbench
from flows.benchmark.workload import Options, Workload
from flows.benchmark.workloads import WORKLOADS
from flows.models import (
    AuditEntry,
    CachedValue,
    ConfigurationRevision,
    Consumer,
    Flow,
    Queue,
    Run,
)
from flows.store import store
from scripts.models import Script
from tests.builders import make_flow

pytestmark = pytest.mark.django_db(transaction=True)

# What the engine keeps for itself, and the log of what operators did.
KEPT = (AuditEntry, CachedValue, ConfigurationRevision)


@pytest.fixture(autouse=True)
def no_look_at_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "BEFORE_SECONDS", 0.01)


def bench(*arguments: str, **options: Any) -> str:
    output = StringIO()
    call_command("bench", *arguments, stdout=output, stderr=StringIO(), **options)
    return output.getvalue()


def rows() -> dict[str, int]:
    """Return how many rows each table has, with those that no model has."""
    counts = {
        model._meta.db_table: model._base_manager.count()
        for model in apps.get_models()
        if model not in KEPT
    }
    return counts | dict.fromkeys(connection.introspection.table_names(), 0) | counts


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("workload", "figures"),
    [
        ("backlog", {"claimMs", "timesOfFew"}),
        ("bulk", {"startsPerSecond", "rawStartsPerSecond", "shareOfRaw"}),
    ],
)
def test_a_workload_tells_its_figures_and_leaves_no_row(workload, figures):
    before = rows()

    told = json.loads(bench(workload, "--runs", "1100", "--rounds", "2", "--json"))

    assert figures | {"database", "workers", "runs", "noise"} <= set(told)
    assert all(told[name] for name in figures)
    assert told["workload"] == workload
    assert rows() == before


@pytest.mark.long
def test_several_workloads_are_printed_as_a_list_and_compared_with_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flows.benchmark.workloads.backlog.CHUNK", 100)
    earlier = tmp_path / "earlier.json"
    options = ("bulk", "backlog", "--runs", "200", "--rounds", "1")
    earlier.write_text(bench(*options, "--json"))

    table = bench(*options, "--compare", str(earlier))
    again = json.loads(bench(*options, "--json", "--compare", str(earlier)))

    assert [each["workload"] for each in again] == ["bulk", "backlog"]
    assert set(again[0]["compared"]) == {"startsPerSecond", "shareOfRaw"}
    assert set(again[1]["compared"]) == {"claimMs.waiting100", "claimMs.waiting200", "timesOfFew"}
    assert "earlier" in table
    assert "claimMs.waiting100" in table


def test_a_workload_that_fails_does_not_keep_the_next_one_from_being_measured(
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(options: Options) -> dict[str, Any]:
        raise BenchFailed("it did not finish")

    measured = Workload(lambda options: {"seconds": options.seconds}, seconds=2)
    monkeypatch.setitem(WORKLOADS, "io", Workload(fail))
    monkeypatch.setitem(WORKLOADS, "cpu", measured)
    output, errors = StringIO(), StringIO()

    with pytest.raises(CommandError, match="not every workload"):
        call_command("bench", "io", "cpu", "--json", stdout=output, stderr=errors)

    assert "io: it did not finish" in errors.getvalue()
    assert [each["seconds"] for each in json.loads(output.getvalue())] == [2]


def test_a_noisy_machine_is_warned_of_on_the_error_output(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(noise.MOST_PERCENT, "loopSpreadPercent", -1.0)
    errors = StringIO()

    call_command("bench", "bulk", "--runs", "1", "--json", stdout=StringIO(), stderr=errors)

    assert "bulk: the machine is noisy: a loop of fixed length varied" in errors.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BenchFailed("too slow")])
def test_a_workload_that_ends_early_leaves_no_row(error, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: Any) -> None:
        raise error

    before = rows()
    monkeypatch.setattr("flows.benchmark.workloads.bulk.insert", fail)

    with pytest.raises(CommandError):
        bench("bulk", "--runs", "100")

    assert rows() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "There is no workload 'none'"),
        (["bulk", "--runs", "0"], "--runs must be at least 1"),
        (["http", "--rounds", "0"], "--rounds must be at least 1"),
        (["http", "--seconds", "0"], "--seconds must be more than 0"),
        (["bulk", "--keep", "nothing"], "--keep is for flow3"),
        (["bulk", "--language", "javascript"], "--language is for flow3"),
        (["bulk", "--compare", "/none"], "/none cannot be compared with"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_made(arguments, message):
    with pytest.raises(CommandError, match=message):
        bench(*arguments)


@pytest.mark.skipif(connection.vendor == "postgresql", reason="it is for PostgreSQL")
def test_a_workload_of_another_database_is_refused_and_is_none_of_all():
    from flows.management.commands.bench import chosen

    with pytest.raises(CommandError, match="held is not for sqlite"):
        bench("held")

    assert set(chosen(["all"])) == set(WORKLOADS) - {"costs", "held"}


def test_figures_of_another_program_are_not_compared_with(tmp_path: Path):
    other = tmp_path / "other.json"
    other.write_text('{"figures": 1}')

    with pytest.raises(CommandError, match=r"no figures of manage\.py bench"):
        bench("bulk", "--runs", "1", "--compare", str(other))


def test_a_consumer_whose_worker_was_killed_does_not_keep_its_queue(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("flows.benchmark.workbench.LEAVING_SECONDS", 0.0)
    before = rows()
    with workbench([BenchStep(TRIVIAL)], size=10) as made:
        made.start_all(3)
        consumer_id = store().open_consumer(made.queues().get().pk, 1, "killed", "elsewhere")
        store().claim(store().begin(consumer_id, 1), lambda plan, threads: 2)
        assert Consumer.objects.exists()

    assert rows() == before


class Killed(BaseException):
    """In place of a signal."""


def kill(*args: Any) -> None:
    raise Killed


def named(pid: int, machine: str = "") -> str:
    return f"bench-{machine or names._machine()}-{pid}-{secrets.token_hex(4)}"


def made_by(name: str, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    with monkeypatch.context() as patched:
        patched.setattr("flows.benchmark.workbench.new_name", lambda: name)
        made = Workbench.make([BenchStep(TRIVIAL)] * 2, size=10, paused=True)
    made.start_all(3)
    return made


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_bench_has_left_goes_and_what_others_use_stays(monkeypatch):
    before = rows()
    left = made_by(named(ended_process()), monkeypatch)
    used = made_by(named(os.getpid()), monkeypatch)
    elsewhere = made_by(named(os.getpid(), "0123abcd"), monkeypatch)
    older = made_by(f"bench-{secrets.token_hex(4)}", monkeypatch)
    own = make_flow("bench-1", codes=[TRIVIAL])

    assert remove_leftovers() == [left.name]
    assert bench("--clear") == ""

    assert set(Flow.objects.values_list("name", flat=True)) == {used.name, own.name}
    assert not Run.objects.exclude(pk__in=used.runs()).exists()
    assert not Queue.objects.filter(name__startswith=elsewhere.name).exists()
    assert not Script.objects.filter(name__startswith=older.name).exists()
    used.remove()
    assert rows()["flows_run"] == before["flows_run"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is of PostgreSQL's planner")
def test_rows_are_deleted_where_the_planner_knows_how_many_there_are(monkeypatch):
    known: dict[str, float] = {}
    delete_at_once = workbench_module.delete_at_once

    def notes_what_is_known(rows):
        table = rows.model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [table])
            known[table] = cursor.fetchone()[0]
        delete_at_once(rows)

    monkeypatch.setattr(workbench_module, "delete_at_once", notes_what_is_known)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_class SET reltuples = 0 WHERE relname LIKE 'flows_%'")
    with workbench([BenchStep(TRIVIAL)], 100) as bench:
        bench.start_all(60)

    assert known["flows_message"] == known["flows_run"] == 60


@pytest.mark.parametrize("last", ["_stop", "forget_runs", "queues", "_forget_history"])
def test_one_that_was_killed_while_it_was_removed_goes_with_the_next(monkeypatch, last):
    before = rows()
    left = made_by(named(ended_process()), monkeypatch)
    with monkeypatch.context() as killed:
        killed.setattr(Workbench, last, kill)
        with pytest.raises(Killed):
            left.remove()

    remove_leftovers()

    assert rows() == before
    assert remove_leftovers() == []


def test_tables_and_callers_of_a_killed_bench_go(monkeypatch):
    before, name = rows(), named(ended_process())
    monkeypatch.setattr("flows.benchmark.caller.new_name", lambda: name)
    monkeypatch.setattr("flows.benchmark.bare_tables.new_prefix", lambda: name.replace("-", "_"))
    with ExitStack() as stack:
        stack.enter_context(caller())
        stack.enter_context(bare_tables())
        killed = stack.pop_all()
    assert len(rows()) == len(before) + 2

    assert len(remove_leftovers()) == 3

    assert rows() == before
    killed.close()
