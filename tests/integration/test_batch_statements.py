"""Statements for many rows: each row is stored, however many go into one statement."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError

from flows.models import RunningAttempt, StepRun
from flows.store import sql, store

pytestmark = pytest.mark.django_db

AT = "2026-03-01 12:00:00.000000"


def rows_of(count: int) -> list[dict[str, object]]:
    beside = {"outcome": "ACCEPTED", "error": "", "logs": "", "branch": "", "input_bytes": None}
    return [
        {"input": f'{{"{n}":1}}', "deliveries": n, "step_id": n, "id": uuid4().hex}
        | {"started_at": AT, "finished_at": AT}
        | beside
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 237])
def test_each_row_of_an_insert_is_stored_with_its_own_values(count: int):
    rows = rows_of(count)

    store().database.each(sql.INSERT_STEP_RUN, rows)

    stored = StepRun.objects.values_list("run_id", "step_id", "delivery", "input").order_by("id")
    assert [(run.hex, *values) for run, *values in stored] == [
        (row["id"], row["step_id"], row["deliveries"], row["input"]) for row in rows
    ]


def test_rows_are_stored_all_or_none():
    rows = rows_of(120)
    rows[70]["error"] = None

    with pytest.raises(IntegrityError), store().database.transaction():
        store().database.each(sql.INSERT_STEP_RUN, rows)

    assert not StepRun.objects.exists()


def test_a_statement_with_one_value_a_row_changes_the_rows_of_these_alone():
    ids = [uuid4() for _ in range(60)]
    RunningAttempt.objects.bulk_create(
        RunningAttempt(
            message_id=id, consumer_id=1, delivery=1, started_at=f"{AT}+00:00", logs="", progress=""
        )
        for id in ids
    )

    store().database.each(sql.FORGET_RUNNING, [{"id": id.hex} for id in ids[1:]])

    assert list(RunningAttempt.objects.values_list("message_id", flat=True)) == ids[:1]
