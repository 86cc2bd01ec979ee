"""Statements for many rows: each row is stored, however many go into one statement."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError

from flows.models import RunningAttempt, StepRun
from flows.store import sql, store
from flows.store.database import Columns

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


TEXTS = [
    "",
    " ",
    "NULL",
    "{}",
    '{"a":"b, c"}',
    'He said "no"',
    "C:\\new",
    "two\nlines\tand a tab",
    "\\",
    '\\"',
    "ein Gruß \N{SNOWMAN} \N{GRINNING FACE}",
    "{1,2}",
    "%s %(name)s {name}",
]


def columns_of(rows: list[dict[str, object]]) -> Columns:
    return Columns.of({}, **{name: [row[name] for row in rows] for name in rows[0]})


@pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 237])
def test_rows_given_by_columns_are_stored_as_rows_are(count: int):
    rows = rows_of(count)

    store().database.each(sql.INSERT_STEP_RUN, columns_of(rows))

    stored = StepRun.objects.values_list("run_id", "step_id", "delivery", "input").order_by("id")
    assert [(run.hex, *values) for run, *values in stored] == [
        (row["id"], row["step_id"], row["deliveries"], row["input"]) for row in rows
    ]
    assert set(StepRun.objects.values_list("outcome", "input_bytes")) == {("ACCEPTED", None)}


def test_columns_keep_every_text_and_every_value_that_is_none():
    rows = rows_of(len(TEXTS) + 1)
    for row, text in zip(rows, [*TEXTS, None], strict=True):
        row |= {"input": text, "logs": text or "", "input_bytes": None if text else 5}

    store().database.each(sql.INSERT_STEP_RUN, columns_of(rows))

    stored = StepRun.objects.order_by("id").values_list("input", "logs", "input_bytes")
    assert list(stored) == [(row["input"], row["logs"], row["input_bytes"]) for row in rows]


def test_a_text_that_all_rows_share_is_stored_in_each():
    for text in TEXTS:
        StepRun.objects.all().delete()
        rows = [row | {"logs": text} for row in rows_of(3)]

        store().database.each(sql.INSERT_STEP_RUN, columns_of(rows))

        assert set(StepRun.objects.values_list("logs", flat=True)) == {text}


def test_columns_change_the_rows_of_their_ids_alone():
    ids = [uuid4() for _ in range(60)]
    RunningAttempt.objects.bulk_create(
        RunningAttempt(
            message_id=id, consumer_id=1, delivery=1, started_at=f"{AT}+00:00", logs="", progress=""
        )
        for id in ids
    )

    store().database.each(sql.FORGET_RUNNING, Columns({"id": [id.hex for id in ids[1:]]}, {}))

    assert list(RunningAttempt.objects.values_list("message_id", flat=True)) == ids[:1]
