"""context.state: what the messages of a flow leave for each other, stored with their steps."""

from __future__ import annotations

from typing import Any

import pytest

from flows.models import FlowState, FlowStateTotals
from flows.models.flow_state import size_of
from flows.testing import FlowKit

PYTHON = """
def run(message, context):
    state = context.state
    page = state.get("page", {"next": 1, "rate": message["payload"]["rate"]})
    state.set("page", {**page, "next": page["next"] + 1})
    state.increment("count")
    state.increment("sum", by=message["payload"]["rate"])
    message["payload"] = [page, state.get("count"), state.get("missing", "none")]
    return message
"""
JAVASCRIPT = """
const { state } = context;
const page = await state.get("page", { next: 1, rate: context.Data.payload.rate });
await state.set("page", { ...page, next: page.next + 1 });
await state.increment("count");
await state.increment("sum", context.Data.payload.rate);
context.Data.payload = [page, await state.get("count"), await state.get("missing", "none")];
setData(context.Data);
"""
LANGUAGES = [("python", PYTHON), ("javascript", JAVASCRIPT)]


def configured(kit: FlowKit, code: str, language: str = "python", **queue: Any) -> None:
    kit.configure(
        {
            "scripts": [{"name": "keep", "language": language, "code": code}],
            "queues": [{"name": "kept", "maxDeliveries": 3, **queue}],
            "flows": [
                {"name": name, "steps": [{"name": "keep", "script": "keep", "queue": "kept"}]}
                for name in ("keeping",)
            ],
        }
    )


def kept() -> dict[str, str]:
    return dict(FlowState.objects.values_list("key", "value"))


def assert_totals_are_right() -> None:
    for totals in FlowStateTotals.objects.all():
        rows = FlowState.objects.filter(flow=totals.flow_id).values_list("key", "value")
        assert (totals.keys, totals.bytes) == (len(rows), sum(size_of(*row) for row in rows))


@pytest.mark.parametrize(("language", "code"), LANGUAGES, ids=["py", "js"])
def test_messages_find_what_earlier_ones_left(flow_kit: FlowKit, language: str, code: str):
    configured(flow_kit, code, language)

    first = flow_kit.run("keeping", b'{"rate": 1.50}')
    second = flow_kit.run("keeping", b'{"rate": 0.1}')

    assert first.payload == [{"next": 1, "rate": 1.5}, 1, "none"]
    assert second.payload == [{"next": 2, "rate": 1.5}, 2, "none"]
    assert kept() == {"page": '{"next":3,"rate":1.50}', "count": "2", "sum": "1.6"}
    assert_totals_are_right()


@pytest.mark.parametrize(("language", "code"), LANGUAGES, ids=["py", "js"])
def test_a_batch_of_messages_counts_exactly(flow_kit: FlowKit, language: str, code: str):
    configured(flow_kit, code, language)
    flow_kit.start_many("keeping", ({"rate": 1} for _ in range(60)))

    flow_kit.work()

    assert kept() == {"page": '{"next":61,"rate":1}', "count": "60", "sum": "60"}
    assert_totals_are_right()


FAILING = {
    "python": """
def run(message, context):
    context.state.increment("tries")
    context.state.set("last", context.attempt)
    if context.attempt < 3: {fails}
    return message
""",
    "javascript": """
await context.state.increment("tries");
await context.state.set("last", context.attempt);
if (context.attempt < 3) {fails};
setData(context.Data);
""",
}


@pytest.mark.parametrize(
    ("language", "fails", "tries"),
    [
        ("python", "raise ValueError('no')", "1"),
        ("python", "raise Retry(1, 'later')", "3"),
        ("javascript", "throw new Error('no')", "1"),
        ("javascript", "retry(1, 'later')", "3"),
    ],
)
def test_a_retry_keeps_what_was_changed_and_a_failure_does_not(
    flow_kit: FlowKit, language: str, fails: str, tries: str
):
    configured(flow_kit, FAILING[language].replace("{fails}", fails), language)

    flow_kit.run("keeping", {}).assert_completed()

    assert kept() == {"tries": tries, "last": "3"}


def test_a_wait_keeps_what_was_changed(flow_kit: FlowKit):
    configured(
        flow_kit,
        "def run(message, context):\n"
        "    context.state.increment('waits')\n"
        "    if context.waits < 3: raise Wait(1, 'not yet')\n"
        "    return message\n",
    )

    flow_kit.run("keeping", {}).assert_completed()

    assert kept() == {"waits": "4"}


@pytest.mark.parametrize(
    "ends",
    [
        "raise Reject('no')",
        "return 'no message'",
        "raise Wait(1, state={1})",
        "1 / 0",
        "raise Retry",
    ],
)
def test_a_dead_letter_changes_nothing(flow_kit: FlowKit, ends: str):
    configured(
        flow_kit,
        f"def run(message, context):\n    context.state.set('k', 1)\n    {ends}\n",
        maxDeliveries=1,
    )
    flow_kit.configure(
        {
            "scripts": [{"name": "last", "code": "def run(m, c): return m"}],
            "queues": [{"name": "last"}],
            "flows": [
                {
                    "name": "keeping",
                    "steps": [
                        {"name": "keep", "script": "keep", "queue": "kept"},
                        {"name": "last", "script": "last", "queue": "last"},
                    ],
                }
            ],
        }
    )

    flow_kit.run("keeping", {}).assert_dead_letter("keep")

    assert kept() == {}
