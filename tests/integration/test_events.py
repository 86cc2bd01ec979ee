"""The events that are made of what commits have stored."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from flows import engine
from flows.access.rights import Sight
from flows.models import (
    DeadLetter,
    Flow,
    Message,
    QuietEnd,
    RunDeadline,
    RunningAttempt,
    StepRun,
)
from flows.monitoring.error_codes import Attempt, Codes, codes_of_attempts, letters_of
from flows.monitoring.events.live import Heard, Place, said_in
from flows.monitoring.events.page import (
    OVER,
    Page,
    Position,
    is_ahead,
    is_over,
    live_page,
    missed_since,
    read_page,
)
from flows.monitoring.events.selection import Selection
from flows.monitoring.trace import trace
from flows.tasks.deadlines import cancel_overdue
from tests.builders import RAISING, make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

EVERYTHING = Sight(None, None, frozenset())
LOGS = (
    "def run(message, context):\n    context.log('a')\n    context.log('b')\n    return message\n"
)
FAILS = "def run(message, context):\n    context.log('a')\n    raise Reject('no')\n"


def tip() -> Position:
    attempts = StepRun.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    ends = QuietEnd.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    return Position(attempts, ends)


def page_of(selection: Selection, after: Position) -> Page:
    return read_page(selection, after, tip())


def events(text: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the ids, names and data of the events of a stream."""
    found = []
    for block in text.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def names(page: Page) -> list[str]:
    return [name for _, name, _ in events(page.text)]


def everything(flow_id: int | None = None) -> Selection:
    return Selection(EVERYTHING, flow_id=flow_id)


def test_a_run_is_told_from_its_first_log_line_to_its_end():
    begin, flow = tip(), make_flow(codes=[LOGS, LOGS])
    run = engine.start("flow", {})
    work_until_idle(flow)

    of_all = page_of(everything(), begin)
    of_run = page_of(Selection(EVERYTHING, run_id=run.correlation_id), Position())

    told = events(of_all.text)
    assert names(of_all) == ["log", "log", "step-finished"] * 2 + ["run-finished"]
    assert [data for _, _, data in told] == [data for _, _, data in events(of_run.text)]
    assert of_run.is_last
    assert {data["correlationId"] for _, _, data in told} == {str(run.correlation_id)}
    assert told[0][2]["text"] == "a"
    assert told[2][2]["stepName"] == "flow-0"
    assert told[-1][2]["status"] == "COMPLETED"


@pytest.mark.parametrize("is_of_run", [False, True])
def test_behind_every_event_the_stream_goes_on_with_the_next(is_of_run: bool):
    begin, flow = tip(), make_flow(codes=[LOGS, FAILS])
    runs = [engine.start("flow", {"n": n}).correlation_id for n in range(2)]
    work_until_idle(flow)
    engine.cancel(run_of(engine.start("flow", {}).correlation_id))
    selection = Selection(EVERYTHING, run_id=runs[0] if is_of_run else None)

    told = events(page_of(selection, begin).text)

    assert len(told) == (6 if is_of_run else 13)
    for number, (id, _, _) in enumerate(told, 1):
        after = Position.read(id)
        rest = events(page_of(selection, after).text)
        # The end of a run is told again: the view knows that it was received.
        expected = told[number:] or (told[-1:] if is_of_run else [])
        assert rest == expected, id


def test_a_failed_run_that_is_reprocessed_fails_again():
    begin, flow = tip(), make_flow(codes=[FAILS])
    engine.start("flow", {})
    work_until_idle(flow)
    first = page_of(everything(), begin)
    engine.reprocess(DeadLetter.objects.get())
    work_until_idle(flow)

    second = page_of(everything(), first.until)

    assert names(first) == names(second) == ["log", "attempt-failed", "run-finished"]
    assert events(second.text)[-1][2]["status"] == "FAILED"


@pytest.mark.parametrize(
    "ends", [lambda run, flow: work_until_idle(flow), lambda run, flow: engine.cancel(run)]
)
def test_an_end_is_the_last_one_until_the_run_has_ended_again(ends: Any):
    flow = make_flow(codes=[FAILS])
    run = run_of(engine.start("flow", {}).correlation_id)
    work_until_idle(flow)
    of_run = Selection(EVERYTHING, run_id=run.pk)
    first = page_of(of_run, Position()).until
    was_last = is_over(run.pk, first)
    engine.reprocess(DeadLetter.objects.get())
    ends(run, flow)

    again = page_of(of_run, replace(first, told=0))

    assert (first.told, was_last, is_over(run.pk, first)) == (OVER, True, False)
    assert events(again.text)[-1][1] == "run-finished"
    assert is_over(run.pk, again.until)


def test_an_end_is_the_last_one_though_ids_before_its_own_are_not_decided():
    make_flow(codes=[FAILS])
    run = run_of(engine.start("flow", {}).correlation_id)
    begin = tip()
    engine.cancel(run)

    told = read_page(Selection(EVERYTHING, run_id=run.pk), Position(), begin)

    assert told.is_last
    assert is_over(run.pk, told.until)


@pytest.mark.parametrize(
    ("code", "in_attempts", "at_the_end"),
    [
        (FAILS, [("rejected", "rejected")], ("rejected", "rejected")),
        (RAISING, [("failed", "failed"), ("exhausted", "failed")], ("exhausted", "failed")),
        (LOGS, [(None, None)], (None, None)),
    ],
)
def test_errors_in_events_have_the_codes_of_the_run(code: str, in_attempts: Any, at_the_end: Any):
    begin, flow = tip(), make_flow(codes=[code], max_deliveries=2, backoff_initial=timedelta(0))
    run = engine.start("flow", {}).correlation_id
    work_until_idle(flow)
    for letter in DeadLetter.objects.all():
        engine.reprocess(letter)
        work_until_idle(flow)

    told = events(page_of(everything(), begin).text)

    shown = trace(run_of(run))
    attempts = [code_of(data) for name, _, data in of_kinds(told, "step-", "attempt-")]
    assert attempts == [code_of(each) for each in shown["steps"][0]["attempts"]]
    assert attempts == in_attempts * (1 if code == LOGS else 2)
    assert {code_of(data) for *_, data in of_kinds(told, "run-")} == {at_the_end}
    assert code_of(shown) == at_the_end


def test_dead_letters_of_other_branches_are_not_read_for_an_attempt():
    flow = make_flow(codes=[FAILS])
    run = engine.start("flow", {}).correlation_id
    work_until_idle(flow)
    letter, row = DeadLetter.objects.get(), StepRun.objects.get()
    for branch in ("1", "2"):
        letter.pk, letter.branch = None, branch
        letter.save(force_insert=True)
    attempt = Attempt(
        run, row.step_id, row.branch, row.delivery, row.outcome, row.started_at, row.error
    )

    [found] = letters_of([attempt]).values()

    assert [each["branch"] for each in found] == [""]
    assert codes_of_attempts([attempt]) == {attempt: Codes("rejected", "rejected")}


def test_end_at_a_deadline_has_its_code():
    begin, _ = tip(), make_flow(codes=[LOGS])
    late = engine.start("flow", {}, deadline=timedelta(hours=1)).correlation_id
    engine.cancel(run_of(engine.start("flow", {}).correlation_id))
    RunDeadline.objects.update(at=timezone.now() - timedelta(seconds=1))
    cancel_overdue()

    told = events(page_of(everything(), begin).text)

    codes = {data["correlationId"] == str(late): code_of(data) for *_, data in told}
    assert codes == {True: ("deadline", None), False: (None, None)}


def code_of(part: Any) -> tuple[str | None, str | None]:
    return part["errorCode"], part["causeCode"]


def of_kinds(told: list[Any], *kinds: str) -> list[Any]:
    return [event for event in told if event[1].startswith(kinds)]


def test_a_caller_gets_the_events_of_the_runs_that_it_may_see_and_no_others():
    begin = tip()
    mine, theirs = User.objects.create_user("mine"), User.objects.create_user("theirs")
    ids: dict[tuple[str, User | None], str] = {}
    for name in ("one", "two"):
        flow = make_flow(name, codes=[FAILS])
        for user in (mine, theirs):
            ids[name, user] = str(engine.start(name, {}, user=user).correlation_id)
        cancelled = engine.start(name, {}, user=theirs)
        engine.cancel(run_of(cancelled.correlation_id))
        ids[name, None] = str(cancelled.correlation_id)
        work_until_idle(flow)
    one, two = (Flow.objects.get(name=name).pk for name in ("one", "two"))

    def seen(sight: Sight, flow_id: int | None = None) -> set[str]:
        page = page_of(Selection(sight, flow_id=flow_id), begin)
        return {data["correlationId"] for _, _, data in events(page.text)}

    of_one = {ids["one", who] for who in (mine, theirs, None)}
    nothing: frozenset[int] = frozenset()
    assert seen(EVERYTHING) == set(ids.values())
    assert seen(EVERYTHING, one) == of_one
    assert seen(Sight(None, frozenset([one]), nothing)) == of_one
    assert seen(Sight(None, frozenset([one]), nothing), two) == set()
    assert seen(Sight(mine.pk, nothing, None)) == {ids["one", mine], ids["two", mine]}
    assert seen(Sight(mine.pk, frozenset([one]), frozenset([two]))) == {*of_one, ids["two", mine]}
    assert seen(Sight(None, nothing, nothing)) == set()


def test_pages_are_bounded_and_together_have_every_event_once(monkeypatch: pytest.MonkeyPatch):
    begin, flow = tip(), make_flow(codes=[LOGS, LOGS])
    for n in range(5):
        engine.start("flow", {"n": n})
    work_until_idle(flow)
    whole = page_of(everything(), begin)
    for name, value in (("MOST_ROWS", 3), ("LONGEST_TEXT", 700), ("MOST_IDS", 2)):
        monkeypatch.setattr(f"flows.monitoring.events.page.{name}", value)

    pages, place = [], begin
    while place.is_before(tip()):
        pages.append(page_of(everything(), place))
        place = pages[-1].until

    assert len(pages) > 3
    # Their ids differ where there are ids without a row.
    found = events(b"".join(page.text for page in pages))
    assert [event[1:] for event in found] == [event[1:] for event in events(whole.text)]


def told_live(heard: Heard, run_id: UUID, place: Place, texts: str) -> str:
    """Return the texts of the lines that a stream is told of a script that has said these."""
    said = {place: json.dumps([as_line(text) for text in texts])}
    blocks = live_page(run_id, heard, said).decode().split("\n\n")[:-1]
    data = [json.loads(block.removeprefix("event: log\ndata: ")) for block in blocks]
    assert {each["correlationId"] for each in data} <= {str(run_id)}
    return "".join(each["text"] for each in data)


def as_line(text: str) -> dict[str, Any]:
    return {"at": 1_000_000.0 + ord(text), "level": "info", "text": text}


@pytest.mark.parametrize(
    ("said", "at_the_end"),
    [
        (["a", "ab"], "abc"),
        (["ab", "ab"], "ab"),
        ([], "ab"),
        # Lines in the middle are left out, with a line that counts them.
        (["ab", "a-c", "a+de"], "a+def"),
    ],
)
def test_each_line_of_a_running_script_is_told_once(said: list[str], at_the_end: str):
    flow = make_flow(codes=[LOGS])
    run = engine.start("flow", {}).correlation_id
    work_until_idle(flow)
    attempt = StepRun.objects.get()
    lines = [as_line(text) for text in at_the_end]
    StepRun.objects.update(logs=json.dumps(lines))
    heard, place = Heard(), Place(attempt.step_id, "", 1)

    live = "".join(told_live(heard, run, place, texts) for texts in said)
    page = read_page(Selection(EVERYTHING, run_id=run), Position(), tip(), heard)
    heard.forget(page.ended)

    ended = [data["text"] for _, name, data in events(page.text) if name == "log"]
    assert live + "".join(ended) == "".join(dict.fromkeys([*"".join(said), *at_the_end]))
    assert names(page)[-2:] == ["step-finished", "run-finished"]
    # What was read before the end, and a new attempt with the old number.
    assert told_live(heard, run, place, at_the_end) == ""
    assert told_live(heard, run, Place(0, "", 9), "") == ""
    assert told_live(heard, run, place, "x") == "x"


def test_what_scripts_say_is_read_of_followed_runs_that_they_still_run():
    make_flow(codes=[LOGS])
    runs = [engine.start("flow", {"n": n}).correlation_id for n in range(3)]
    Message.objects.update(consumer_id=7, deliveries=1, queue=None)
    for message in Message.objects.all():
        RunningAttempt.objects.create(
            message_id=message.pk,
            consumer_id=7,
            delivery=1,
            started_at=timezone.now(),
            logs=json.dumps([as_line("a")]),
        )
    # One consumer has lost its message.
    RunningAttempt.objects.filter(pk=runs[1]).update(consumer_id=8)

    assert list(said_in(runs[:2])) == [runs[0]]
    assert said_in([]) == {}


def test_what_is_more_than_an_hour_ago_is_missed():
    begin, flow = tip(), make_flow(codes=[LOGS])
    engine.start("flow", {})
    work_until_idle(flow)
    assert missed_since(begin) is None
    assert missed_since(tip()) is None

    StepRun.objects.update(finished_at=timezone.now() - timedelta(hours=2))

    assert missed_since(begin)


def test_an_id_that_the_database_has_not_given_is_ahead_of_it():
    flow = make_flow(codes=[LOGS])
    engine.start("flow", {})
    engine.cancel(run_of(engine.start("flow", {}).correlation_id))
    work_until_idle(flow)
    last = tip()

    for gone in (StepRun, QuietEnd):
        assert not is_ahead(last)
        assert is_ahead(Position(last.attempt + 1, last.end))
        assert is_ahead(Position(last.attempt, last.end + 1))
        # What was given stays so.
        gone.objects.all().delete()
    assert not is_ahead(Position())


@pytest.mark.parametrize(
    "text", ["", "x", "1", "1-", "-1-2", "1-2-3-4", "1-2-", "\u0661-\u0662", "9" * 19]
)
def test_a_text_that_is_no_id_of_an_event_is_no_position(text: str):
    assert Position.read(text) is None
