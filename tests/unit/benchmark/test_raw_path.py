"""The raw SQL of the hot path, on a file of its own."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flows.benchmark.raw_path import STEPS, path_of, run_step, work_off
from flows.benchmark.raw_tables import statements, tables_of

RUNS = 450


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "raw.sqlite3")) as file:
        for statement in statements("bench", "sqlite"):
            file.execute(statement)
        rows = [(str(n), '{"payload":{"number":0}}') for n in range(RUNS)]
        file.executemany("INSERT INTO bench_message (step, run, body) VALUES (0, ?, ?)", rows)
        file.executemany("INSERT INTO bench_run (id) VALUES (?)", [(run,) for run, _ in rows])
        file.commit()
        yield file


def test_every_run_passes_all_steps_and_has_its_result_and_traces(
    file: sqlite3.Connection, tmp_path: Path
):
    order = {
        "database": "sqlite",
        "connection": {"dbname": str(tmp_path / "raw.sqlite3")},
        "prefix": "bench",
    }

    done = work_off(path_of(order))

    message, trace, run = tables_of("bench")
    assert done == {"done": RUNS}
    assert file.execute(f"SELECT count(*) FROM {message}").fetchall() == [(0,)]
    assert file.execute(f"SELECT step, count(*) FROM {trace} GROUP BY step").fetchall() == [
        (step, RUNS) for step in range(STEPS)
    ]
    assert file.execute(f"SELECT DISTINCT result, status FROM {run}").fetchall() == [
        ('{"payload":{"number":3}}', 2)
    ]


def test_a_step_changes_the_payload():
    assert run_step('{"payload": {"number": 4}}') == '{"payload":{"number":5}}'
