"""A flow of JavaScript and Python scripts, imported and run from its start to its ends."""

from typing import Any

import pytest

from flows.testing import FlowKit
from scripts.models import Script

LIBRARY = """
var Money = Money || (function () {
    this.round = function (amount) {
        return Math.round(amount * 100) / 100;
    };
    return { round: this.round };
});
"""
VALIDATE = """
var order = context.Data.payload;
if (!order.items.length) {
    reject('an order needs items');
}
if (order.hold) {
    retry({ after: 3600, reason: 'on hold' });
}
ftos.logging.log('order ' + order.id, { level: 'warning' });
setData({ correlationId: context.Data.correlationId, payload: order, channel: context.flow });
"""
PRICE = """
const { Data } = context;
const total = Data.payload.items.reduce((sum, item) => sum + item.price * item.quantity, 0);
Data.payload.total = new Money().round(await Promise.resolve(total));
setData(Data);
"""
TAX = """
def run(message, context):
    message["payload"]["tax"] = round(message["payload"]["total"] * 0.2, 2)
    return message
"""
END = "setData([context.Data.channel, context.Data.payload.id, context.Data.payload.tax]);"
DOCUMENT: dict[str, Any] = {
    "libraries": [{"name": "Money", "language": "javascript", "code": LIBRARY}],
    "scripts": [
        {"name": "validate", "language": "javascript", "code": VALIDATE},
        {"name": "price", "language": "javascript", "code": PRICE, "libraries": ["Money"]},
        {"name": "tax", "code": TAX},
        {"name": "end", "language": "javascript", "code": END},
    ],
    "queues": [{"name": f"orders-{name}"} for name in ("validate", "price", "tax", "end")],
    "flows": [
        {
            "name": "orders",
            "steps": [
                {"name": name, "script": name, "queue": f"orders-{name}"}
                for name in ("validate", "price", "tax", "end")
            ],
        }
    ],
}
ORDER: dict[str, Any] = {
    "id": 9007199254740993,
    "items": [{"price": 1.1, "quantity": 3}, {"price": 0.335, "quantity": 1}],
}


@pytest.fixture
def kit(flow_kit: FlowKit) -> FlowKit:
    flow_kit.configure(DOCUMENT)
    return flow_kit


def test_a_message_goes_through_scripts_of_both_languages(kit: FlowKit) -> None:
    run = kit.run("orders", ORDER)

    run.assert_completed(["orders", 9007199254740993, 0.73])
    run.assert_path("validate", "price", "tax", "end")
    (line,) = run.step("validate")["attempts"][0]["logs"]
    assert (line["text"], line["level"]) == ("order 9007199254740993", "warning")


def test_reject_makes_a_dead_letter_with_its_reason(kit: FlowKit) -> None:
    run = kit.run("orders", ORDER | {"items": []})

    run.assert_failed()
    letter = run.assert_dead_letter("validate", reason="rejected")
    assert letter.error == "an order needs items"


def test_retry_waits_as_long_as_it_is_told_to(kit: FlowKit) -> None:
    run = kit.start("orders", ORDER | {"hold": True})
    kit.work(moves_time=False)
    run.assert_attempts("validate", "RETRY")
    assert run.step("validate")["error"] == "on hold"

    kit.advance(3590)
    assert kit.work(moves_time=False) == 0
    kit.advance(10)
    assert kit.work(moves_time=False) == 1


def test_an_error_names_script_library_and_line_in_the_trace(kit: FlowKit) -> None:
    run = kit.run("orders", ORDER | {"items": [{"price": "x", "quantity": {}}, None]})

    letter = run.assert_dead_letter("price", reason="exhausted")
    assert letter.error.startswith("TypeError: cannot read property 'price' of null")
    assert "at price:3:" in letter.error


def test_a_new_version_of_a_library_is_what_new_runs_get(kit: FlowKit) -> None:
    first = kit.run("orders", ORDER)
    changed = LIBRARY.replace("Math.round(amount * 100) / 100", "100")

    kit.configure({**DOCUMENT, "libraries": [{**DOCUMENT["libraries"][0], "code": changed}]})
    second = kit.run("orders", ORDER)

    assert (first.result[2], second.result[2]) == (0.73, 20)
    assert Script.objects.get(name="price").versions.count() == 2
