"""Trials, with real script hosts."""

import json
import re
import threading
import time

import pytest

from scripts.protocol.calls import Program
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptTimedOut,
)
from scripts.trials.trial import SampleInvalid, TooManyTrials, line_of, run_trial, sample_message
from tests.documents import content
from tests.waiting import PATIENCE


def attempt(code, sample="{}", *, language="python", timeout_seconds=60.0, is_last=False, **fields):
    program = Program(0, "pricing", language, code, timeout_seconds, 128, **fields)
    return run_trial(program, sample_message(sample).body, is_last=is_last)


def test_a_trial_tells_output_logs_time_and_memory():
    code = """
import time
def run(message, context):
    context.log("looking", level="warning")
    time.sleep(0.05)
    message["payload"]["size"] = len("x" * 20_000_000)
    return message
"""
    trial = attempt(code, '{"a": 12345678901234567890}')

    assert json.loads(trial.output)["payload"] == {"a": 12345678901234567890, "size": 20_000_000}
    assert [(line["level"], line["text"]) for line in trial.logs] == [("warning", "looking")]
    assert trial.seconds >= 0.05
    assert 20_000_000 < trial.peak_bytes < 40_000_000
    assert (trial.error, trial.line, trial.warning) == (None, None, None)


def test_an_exception_comes_with_its_traceback_and_the_line_where_it_was_raised():
    code = "def run(message, context):\n    return half(None)\n\ndef half(x):\n    return x / 2\n"

    trial = attempt(code)

    assert isinstance(trial.error, ScriptRaised)
    assert trial.line == 5
    assert 'File "pricing", line 2, in run' in trial.traceback
    assert trial.heading == "The script raised an exception."


def test_javascript_is_tried_in_the_same_way():
    code = """log("looking");
function half(x) {
    return x.amount.value / 2;
}
setData(half(context.Data));"""

    passed = attempt("setData(context.Data)", '{"a": 1}', language="javascript")
    failed = attempt(code, language="javascript")

    assert json.loads(passed.output)["payload"] == {"a": 1}
    assert [line["text"] for line in failed.logs] == ["looking"]
    assert isinstance(failed.error, ScriptRaised)
    assert failed.line == 3
    assert "TypeError" in failed.traceback


def test_the_line_is_that_of_the_script_where_a_library_raised():
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "pricing", line 7, in run\n    round(x)\n'
        '  File "money", line 3, in round\n    return x\n'
    )

    assert line_of(ScriptRaised("no", traceback=traceback), "pricing") == 7
    assert line_of(ScriptRaised("no", traceback=""), "pricing") is None


@pytest.mark.parametrize(
    ("code", "error", "line"),
    [
        ("x = 1\ndef run(message, context:\n", ScriptInvalid, 2),
        ("def run(message, context): raise Reject('too small')", ScriptRejected, None),
        ("def run(message, context): return 5", OutputInvalid, None),
    ],
)
def test_other_ends_are_told_too(code, error, line):
    trial = attempt(code)

    assert isinstance(trial.error, error)
    assert (trial.output, trial.line) == (None, line)


def test_the_last_step_may_give_anything():
    assert attempt("def run(message, context): return [1, None]", is_last=True).output == "[1,null]"


def test_an_output_without_correlation_id_is_mended_with_a_warning():
    trial = attempt("def run(message, context): return {'payload': 1}")

    assert json.loads(trial.output)["payload"] == 1
    assert "correlationId" in trial.warning


AMOUNT = '{"properties": {"amount": {"type": "integer"}}, "required": ["amount"]}'


def test_a_message_that_the_input_parameters_refuse_is_told_by_field():
    trial = attempt("def run(m, c): return m", '{"amount": "a"}', input_schema=AMOUNT)

    assert isinstance(trial.error, InputInvalid)
    assert trial.output is None
    assert trial.faults == [{"path": "$.payload.amount", "detail": '"a" is not of type "integer"'}]


def test_an_output_that_the_output_structure_refuses_is_shown_and_told_by_field():
    trial = attempt("def run(m, c): return {'payload': {}}", output_schema=AMOUNT)

    assert isinstance(trial.error, OutputInvalid)
    assert json.loads(trial.output)["payload"] == {}
    assert [fault["path"] for fault in trial.faults] == ["$.payload"]


def test_an_endless_script_is_ended_at_its_time_limit():
    trial = attempt("def run(message, context):\n    while True: pass", timeout_seconds=0.3)

    assert isinstance(trial.error, ScriptTimedOut)
    assert "0.3 s" in str(trial.error)


def test_a_long_time_limit_is_cut_for_trials(monkeypatch, time_to_tell):
    monkeypatch.setattr("scripts.trials.trial.MAX_SECONDS", 0.2)

    trial = attempt("def run(message, context):\n    while True: pass", timeout_seconds=3600)

    told = "A trial ends after 0.2 s, whatever its time limit. It was at line 2 in run()."
    assert str(trial.error) == told
    assert trial.line == 2
    assert "line 2, in run" in trial.traceback


def test_no_more_trials_run_at_once_than_leave_room_for_others(monkeypatch):
    monkeypatch.setattr("scripts.trials.trial._slots", threading.BoundedSemaphore(1))
    monkeypatch.setattr("scripts.trials.trial.SLOT_SECONDS", 0.01)
    results = []
    busy = threading.Thread(
        target=lambda: results.append(
            attempt("import time\ndef run(m, c):\n    time.sleep(1)\n    return m")
        )
    )
    busy.start()
    deadline = time.monotonic() + PATIENCE

    refused = False
    while not refused and time.monotonic() < deadline and not results:
        try:
            attempt("def run(message, context): return message")
        except TooManyTrials:
            refused = True
    busy.join()

    assert refused
    assert results[0].error is None
    assert attempt("def run(message, context): return message").error is None


@pytest.mark.parametrize(
    ("sample", "payload", "root"),
    [
        ('{"payload": [1]}', [1], "$"),
        ('{"orderId": 7}', {"orderId": 7}, "$.payload"),
        ("[1, 2]", [1, 2], "$.payload"),
        ("null", None, "$.payload"),
    ],
)
def test_a_sample_without_payload_is_the_payload(sample, payload, root):
    message = sample_message(sample)

    content = json.loads(message.body)
    assert content["payload"] == payload
    assert len(content["correlationId"]) == 36
    assert message.root == root


def test_numbers_of_a_sample_are_taken_as_they_are_written():
    sample = '{"total": 1.10, "e": 1e5, "z": -0, "d": 1234567890123456.78}'

    trials = [
        attempt("def run(message, context): return message", sample),
        attempt("setData(context.Data)", sample, language="javascript"),
    ]

    for trial in trials:
        [payload, _] = content(trial.output)[1]
        assert payload == ("payload", content(sample))


@pytest.mark.parametrize("sample", ['{"payload": {"a": 1, "a": 2}}', '{"a": 1e400}'])
def test_sample_that_says_what_cannot_travel_is_refused_with_the_place(sample):
    with pytest.raises(SampleInvalid, match=r"\$(\.payload)?\.a is a"):
        sample_message(sample)


def test_a_whole_message_is_taken_as_it_is():
    sample = {"correlationId": "c-1", "payload": {}, "tenant": "a"}

    assert json.loads(sample_message(json.dumps(sample)).body) == sample


@pytest.mark.parametrize(
    ("sample", "reason", "line"),
    [
        ("", "not valid JSON", 1),
        ('{\n"a": }', "not valid JSON", 2),
        ("NaN", "NaN is not JSON", None),
        ("[" * 100_000, "more than 200 deep", None),
        ("[" * 202 + "]" * 202, "nested more than 200 deep", None),
        ('"\\ud800"', "lone surrogate", None),
        ('{"payload": 1, "correlationId": 5}', "correlationId", None),
    ],
)
def test_what_is_no_message_is_refused_with_the_line(sample, reason, line):
    with pytest.raises(SampleInvalid, match=reason) as refusal:
        sample_message(sample)

    assert refusal.value.line == line


def test_a_script_without_memory_is_told_its_limit_and_what_it_took():
    trial = attempt("def run(message, context):\n    a = []\n    while True: a.append('x' * 10**6)")

    assert re.fullmatch(
        r"The script ran out of memory after it had taken \d+ MB of the \d+ MB that it may have"
        r" \(memoryMb\)\.",
        trial.heading,
    )
    assert trial.peak_bytes > 10**7


def test_a_start_is_shown_with_its_options_and_a_key_starts_once():
    start = "context.start('child', {'a': 1}, key='k', priority=3)"
    trial = attempt(f"def run(m, context):\n    return m | {{'payload': [{start}, {start}]}}")

    first, second = json.loads(trial.output)["payload"]
    assert first == second
    assert trial.decisions == [
        "It would start the flow 'child' with {\"a\":1} (key k, priority 3)."
    ]


def test_a_start_with_a_key_and_another_payload_is_refused():
    trial = attempt(
        "def run(m, context):\n    context.start('child', 1, key='k')\n"
        "    context.start('child', 2, key='k')"
    )

    assert isinstance(trial.error, ScriptInvalid)
    assert "the same key" in str(trial.error)
