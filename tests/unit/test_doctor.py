"""What `doctor` says of values, case by case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.doctor import clocks, examination, machine, sqlite
from flows.doctor.findings import State, error, ok, warning, worst
from flows.management.commands.doctor import as_table
from flows.monitoring.health import RULES, QueueHealth, Snapshot
from flows.tasks.clusters import ClusterStatus

MIB = 1024**2
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (clocks.clock_finding(0.4, 0.0), "ok"),
        (clocks.clock_finding(-4.0, 0.5), "warning"),
        # A slow answer tells nothing.
        (clocks.clock_finding(4.0, 3.0), "ok"),
        (clocks.clock_finding(-3600.0, 0.1), "error"),
        (machine.open_files(20_000), "ok"),
        (machine.open_files(1_024), "warning"),
        (machine.open_files(100), "error"),
        (machine.open_files(-1), "ok"),
        (machine.memory(2_000 * MIB, 8_000 * MIB), "ok"),
        (machine.memory(200 * MIB, 8_000 * MIB), "warning"),
        (machine.memory(20 * MIB, 8_000 * MIB), "error"),
        (sqlite.log(4 * MIB), "ok"),
        (sqlite.log(300 * MIB), "warning"),
        (sqlite.log(5_000 * MIB), "error"),
    ],
)
def test_a_value_is_checked_by_its_limits(finding, state):
    assert (finding.state, bool(finding.advice)) == (state, state != "ok")


@pytest.mark.parametrize(
    ("ahead", "state"), [(-12, "ok"), (-25, "warning"), (10, "warning"), (-90, "error")]
)
def test_the_clock_of_another_machine_is_known_by_what_its_cluster_has_noted(ahead, state):
    noted_at = NOW + timedelta(seconds=ahead)
    live = [ClusterStatus("a", "node-1", 7, NOW, 2, noted_at=noted_at)]

    [finding] = clocks.clocks_of_clusters(live, NOW)

    assert (finding.name, finding.state) == ("clock of node-1", state)


def test_the_limits_of_a_container_are_those_of_its_group(tmp_path):
    files = {
        "memory.max": "1000",
        "memory.current": "950",
        "memory.events": "low 0\noom_kill 2\n",
        "pids.max": "max",
        "pids.current": "12",
    }
    for name, text in files.items():
        Path(tmp_path, name).write_text(text)

    found = {each.name: each.state for each in machine.container(tmp_path)}

    assert found == {"container memory": "warning", "container kills": "warning"}
    assert list(machine.container(None)) == []


def test_the_rules_of_home_are_findings_each_with_its_name():
    full = QueueHealth("orders", taken=10, size=10)

    found = {each.name: each.state for each in examination.by_rules(Snapshot(queues=(full,)))}

    assert list(found) == list(RULES)
    assert found.pop("queue-full") == State.ERROR
    assert set(found.values()) == {State.OK}


def test_the_table_has_what_to_do_below_what_was_seen():
    findings = [ok("clock", "It is right."), error("disk", "It is full. " * 10, "Make room.")]

    lines = as_table(findings).splitlines()

    assert lines[0].split() == ["ok", "clock", "It", "is", "right."]
    assert lines[1].startswith("error    disk   It is full.")
    assert lines[3:] == [" " * 16 + "-> Make room.", "", "1 ok, 0 warning, 1 error"]


def test_the_whole_is_as_bad_as_its_worst_part():
    parts = [ok("a", "."), warning("b", ".", "."), ok("c", ".")]

    assert worst([]) == worst(parts[:1]) == State.OK
    assert worst(parts) == State.WARNING
    assert worst([*parts, error("d", ".", ".")]) == State.ERROR
