"""A flow of JavaScript and Python scripts, imported and run from its start to its ends."""

import json
from datetime import timedelta
from typing import Any

import pytest

from flows import engine
from flows.configuration import import_configuration
from flows.models import DeadLetter, Flow, Message, Run, StepRun
from scripts.models import Script
from tests.builders import run_of, work_until_idle

pytestmark = pytest.mark.django_db

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


def start(**changes: Any) -> Run:
    import_configuration(DOCUMENT)
    started = engine.start("orders", {**ORDER, **changes})
    work_until_idle(Flow.objects.get())
    return run_of(started.correlation_id)


def test_a_message_goes_through_scripts_of_both_languages() -> None:
    run = start()

    assert run.status == Run.Status.COMPLETED
    assert json.loads(run.result) == ["orders", 9007199254740993, 0.73]
    logs = StepRun.objects.get(step__name="validate").logs
    assert "order 9007199254740993" in str(logs)
    assert "warning" in str(logs)


def test_reject_makes_a_dead_letter_with_its_reason() -> None:
    run = start(items=[])

    assert run.status == Run.Status.FAILED
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.error) == (
        DeadLetter.Reason.REJECTED,
        "an order needs items",
    )


def test_retry_waits_as_long_as_it_is_told_to() -> None:
    run = start(hold=True)

    assert run.status == Run.Status.RUNNING
    message = Message.objects.get()
    assert message.available_at - run.created_at >= timedelta(seconds=3590)
    assert StepRun.objects.get().error == "on hold"


def test_an_error_names_script_library_and_line_in_the_step_run() -> None:
    run = start(items=[{"price": "x", "quantity": {}}, None])

    assert run.status == Run.Status.RUNNING
    error = StepRun.objects.get(step__name="price").error
    assert error.startswith("TypeError: cannot read property 'price' of null")
    assert "at price:3:" in error


def test_a_new_version_of_a_library_is_what_new_runs_get() -> None:
    first = start()
    changed = LIBRARY.replace("Math.round(amount * 100) / 100", "100")

    import_configuration({**DOCUMENT, "libraries": [{**DOCUMENT["libraries"][0], "code": changed}]})
    started = engine.start("orders", ORDER)
    work_until_idle(Flow.objects.get())

    assert json.loads(first.result)[2] == 0.73
    assert json.loads(run_of(started.correlation_id).result)[2] == 20
    assert Script.objects.get(name="price").versions.count() == 2
