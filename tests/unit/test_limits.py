"""The page of limits for authors has the numbers that the code has."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from flows.worker.redelivery import MAX_FAN_OUTS
from scripts.host.languages import execution
from scripts.models import Script
from scripts.protocol import (
    envelope,
    flow_state,
    json_text,
    progress,
    rejections,
    services,
    starts,
    table_file,
    wait_state,
    wire,
)
from scripts.services import outside_calls, shared_values
from scripts.trials import trial

ROOT = Path(__file__).parents[2]
KIB, MIB = 1024, 1024 * 1024
LIMITS = {
    "time of a message": [Script().timeout.total_seconds(), trial.MAX_SECONDS],
    "memory of a message": [Script().memory_mb, 16],
    "output": [
        *(envelope.MAX_OUTPUT_BYTES / MIB, json_text.MAX_DIGITS),
        *(json_text.MAX_DEPTH, envelope.MAX_DEPTH),
    ],
    "branches": [MAX_FAN_OUTS],
    "log": [wire.KEPT_LOG_LINES, wire.KEPT_LOG_LINES, wire.MAX_LOG_LENGTH / KIB],
    "error": [wire.MAX_TEXT_LENGTH],
    "`Reject`": [rejections.MAX_CODE_LENGTH - 1, wire.MAX_TEXT_LENGTH],
    "`reason`": [execution.MAX_MESSAGE_LENGTH],
    "`Wait(state=)`": [wait_state.MAX_STATE_BYTES / KIB],
    "requests of all kinds": [
        wire.MAX_REQUESTS,
        wire.MAX_REQUESTS_IN_FLIGHT,
        wire.MAX_SENT_REQUEST_BYTES / MIB,
        outside_calls.MAX_BODY_BYTES / MIB,
    ],
    "`context.start`": [starts.MAX_STARTS, starts.MAX_DEPTH_OF_STARTS],
    "`context.state`": [
        flow_state.MAX_VALUE_BYTES / KIB,
        flow_state.MAX_KEY_LENGTH,
        flow_state.MAX_CHANGES,
        flow_state.MAX_CHANGED_BYTES / MIB,
    ],
    "`context.cached`": [services.MAX_CACHED_LENGTH / KIB, shared_values.MAX_VALUES],
    "`context.progress`": [progress.MAX_TEXT_LENGTH],
    "tables": [table_file.MAX_TABLES, table_file.MAX_FILE_BYTES / MIB, table_file.MAX_ROWS],
}


def limits_of_page() -> dict[str, list[float]]:
    page = (ROOT / "scripts/host/README.md").read_text().partition("## Limits")[2]
    rows = re.findall(r"^\| \[?([^|\]]+?)(?:\]\([^)]*\)[^|]*)? \| ([^|]+) \|$", page, re.MULTILINE)
    numbers = {what: re.findall(r"\d[\d,]*", most) for what, most in rows}
    return {what: [float(n.replace(",", "")) for n in found] for what, found in numbers.items()}


@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_that_authors_read_is_that_of_the_code(what: str):
    assert limits_of_page()[what] == LIMITS[what]


def test_the_constants_of_javascript_are_those_of_python():
    prelude = ROOT / "scripts/host/languages/prelude"
    expected = {
        ("core.js", "MAX_DEPTH"): envelope.MAX_DEPTH,
        ("core.js", "MAX_OUTPUT"): envelope.MAX_OUTPUT_BYTES,
        ("core.js", "MAX_REQUEST"): wire.MAX_REQUEST_BYTES,
        ("core.js", "MAX_SENT"): wire.MAX_SENT_REQUEST_BYTES,
        ("cached.js", "MAX_CACHED"): services.MAX_CACHED_LENGTH,
        ("state.js", "MAX_VALUE"): flow_state.MAX_VALUE_BYTES,
        ("decisions.js", "MAX_STATE"): wait_state.MAX_STATE_BYTES,
        ("decisions.js", "MAX_CODE"): rejections.MAX_CODE_LENGTH - 1,
    }

    for (file, name), number in expected.items():
        found = re.search(rf"{name} = ([\d* ]+)", (prelude / file).read_text())
        assert found is not None
        assert math.prod(int(each) for each in found[1].split("*")) == number, name
