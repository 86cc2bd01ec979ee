"""context.state: what the messages of a flow leave for each other, stored with their steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from flows.errors import UnknownFlow
from flows.models import Flow, FlowState, FlowStateTotals, Message
from flows.models.flow_state import size_of
from flows.store import flow_state
from flows.tasks.retention import purge
from flows.testing import FlowKit
from scripts.models import ConfigurationValue
from scripts.services.flow_states import PendingStates

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


@pytest.mark.sampled(2)
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


@pytest.mark.sampled(3)
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


@pytest.mark.sampled(3)
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


def python(*lines: str) -> str:
    return "\n    ".join(
        ["def run(message, context):", "state = context.state", *lines, "return message"]
    )


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_values_expire_and_the_purge_deletes_them(flow_kit: FlowKit, language: str):
    code = {
        "python": python(
            "message['payload'] = [state.get('set'), state.get('sum')]",
            "if message['payload'][0] is None: state.set('set', 1, expires=60)",
            "state.increment('sum', expires=90)",
        ),
        "javascript": """
            const { state } = context;
            const found = context.Data.payload = [await state.get("set"), await state.get("sum")];
            if (found[0] === null) await state.set("set", 1, { expires: 60 });
            await state.increment("sum", { expires: 90 });
            setData(context.Data);
        """,
    }
    configured(flow_kit, code[language], language)

    seen = []
    for _ in range(4):
        seen.append(flow_kit.run("keeping", {}).payload)
        flow_kit.advance(40)

    # The time of a counter begins where it is new, and does not begin anew.
    assert seen == [[None, None], [1, 1], [None, 2], [1, None]]
    flow_kit.advance(1000)
    purge(flow_kit.now())
    assert kept() == {}
    assert_totals_are_right()


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("state.set('k', {1})", "The value of the state"),
        ("state.set('k', 'x' * 65_535)", "65536"),
        ("state.set('k', 'ü' * 32_768)", "at most 65536"),
        ("state.set('', 1)", "1 to 200 characters"),
        ("state.set('k' * 201, 1)", "1 to 200 characters"),
        ("state.set(7, 1)", "1 to 200 characters"),
        ("state.get('\\0')", "NUL"),
        ("state.delete('\\ud800')", "half a character"),
        ("state.set('k', 1, expires=0)", "more than 0"),
        ("state.set('k', 1, expires=float('nan'))", "more than 0"),
        ("state.set('k', 1, expires=1e12)", "more than 0"),
        ("state.increment('k', 'x')", "adds a number"),
        ("state.increment('k', True)", "adds a number"),
        ("state.increment('k', float('inf'))", "finite number"),
        ("state.set('k', 'a'); state.increment('k')", "is no number"),
        ("state.increment('k', 10 ** 101)", "at most 100 characters"),
        ("for n in range(101): state.set(str(n), 1)", "may change 100 keys"),
        ("for n in range(20): state.set(str(n), 'x' * 60_000)", "may change 1048576 bytes"),
    ],
)
def test_what_the_state_cannot_keep_is_an_error_that_says_why(
    flow_kit: FlowKit, line: str, said: str
):
    configured(flow_kit, python(line), maxDeliveries=1)

    letter = flow_kit.run("keeping", {}).assert_dead_letter("keep")

    assert said in letter.error
    assert kept() == {}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("await state.set('k', new Map())", "the value of the state"),
        ("await state.set('k')", "state"),
        ("await state.set('k', 'x'.repeat(65_535))", "at most 65536"),
        ("await state.get(7)", "1 to 200 characters"),
        ("state.get('')", "1 to 200 characters"),
        ("await state.set('k', 1, { expires: 'x' })", "number of seconds"),
        ("await state.set('k', 1, { expire: 1 })", "context.state takes expires, not expire"),
        ("await state.set('k', 1, 60)", "options must be an object: context.state takes expires"),
        ("await state.increment('k', 'x')", "finite number"),
        ("await state.increment('k', NaN)", "finite number"),
        ("await state.set('k', 'a'); await state.increment('k')", "is no number"),
    ],
)
def test_javascript_says_so_too(flow_kit: FlowKit, line: str, said: str):
    code = f"const {{ state }} = context; {line}; setData(context.Data);"
    configured(flow_kit, code, "javascript", maxDeliveries=1)

    letter = flow_kit.run("keeping", {}).assert_dead_letter("keep")

    assert said in letter.error
    assert kept() == {}


def test_one_message_that_cannot_be_stored_harms_no_other(flow_kit: FlowKit):
    configured(
        flow_kit,
        python(
            "n = message['payload']['n']",
            "state.increment('count' if n != 2 else 'name')",
        ),
        maxDeliveries=1,
    )
    flow = Flow.objects.get()
    FlowStateTotals.objects.create(flow=flow, keys=1, bytes=7)
    FlowState.objects.create(
        flow=flow, key="name", value='"x"', version=7, changed_at=timezone.now()
    )
    runs = flow_kit.start_many("keeping", ({"n": n} for n in range(5)))

    flow_kit.work()

    assert [run.status for run in runs].count("COMPLETED") == 4
    assert "'name' is no number" in runs[2].assert_dead_letter("keep").error
    assert kept() == {"name": '"x"', "count": "4"}
    assert_totals_are_right()


def test_a_test_sees_the_state_of_its_flow(flow_kit: FlowKit):
    configured(flow_kit, python("state.set('a', {'n': [1.5]})", "state.set('b', 1, expires=5)"))
    flow_kit.run("keeping", {})

    before = flow_kit.state("keeping")
    flow_kit.advance(6)

    assert before == {"a": {"n": [1.5]}, "b": 1}
    assert flow_kit.state("keeping") == {"a": {"n": [1.5]}}
    with pytest.raises(UnknownFlow):
        flow_kit.state("other")


def test_a_flow_has_no_more_than_it_may(flow_kit: FlowKit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flow_state, "MAX_KEYS", 3)
    monkeypatch.setattr(flow_state, "MAX_BYTES", 100)
    configured(
        flow_kit,
        python(
            "for key, value in message['payload'].items():",
            "    state.set(key, value, expires=60 if key == 'old' else None)",
        ),
        maxDeliveries=1,
    )
    flow_kit.run("keeping", {"a": 1, "b": 2, "old": 3}).assert_completed()

    too_many = flow_kit.run("keeping", {"c": 1})
    too_large = flow_kit.run("keeping", {"b": "x" * 100})
    changed = flow_kit.run("keeping", {"b": 7})
    flow_kit.advance(61)
    after_expiry = flow_kit.run("keeping", {"c": 4})

    assert "4 keys" in too_many.assert_dead_letter("keep").error
    assert "at most 3 keys and 100 bytes" in too_large.assert_dead_letter("keep").error
    changed.assert_completed()
    after_expiry.assert_completed()
    assert kept() == {"a": "1", "b": "7", "c": "4"}
    assert_totals_are_right()


def test_another_name_of_the_flow_keeps_the_state_and_its_deletion_deletes_it(flow_kit: FlowKit):
    configured(flow_kit, python("state.increment('count')"))
    flow_kit.run("keeping", {})
    flow = Flow.objects.get()

    flow.name = "renamed"
    flow.save()
    flow_kit.run("renamed", {}).assert_completed()

    assert kept() == {"count": "2"}
    flow.delete()
    assert not FlowState.objects.exists()
    assert not FlowStateTotals.objects.exists()


def test_a_run_of_a_flow_that_is_gone_goes_on_without_its_state(flow_kit: FlowKit):
    configured(flow_kit, python("state.increment('count')"))
    run = flow_kit.start("keeping", {})
    Flow.objects.get().delete()

    flow_kit.work()

    assert not Message.objects.exists()
    assert run.status == "COMPLETED"
    assert kept() == {}


def test_flows_that_are_gone_have_no_state_together(flow_kit: FlowKit):
    flow_kit.configure(
        {
            "scripts": [
                {"name": "tell", "code": python("state.set('secret', 'of the first')")},
                {"name": "ask", "code": python("message['payload'] = state.get('secret')")},
            ],
            "queues": [{"name": "told"}, {"name": "asked"}],
            "flows": [
                {"name": "first", "steps": [{"name": "s", "script": "tell", "queue": "told"}]},
                {"name": "second", "steps": [{"name": "s", "script": "ask", "queue": "asked"}]},
            ],
        }
    )
    flow_kit.start("first", {})
    asking = flow_kit.start("second", {})
    for flow in Flow.objects.all():
        flow.delete()

    flow_kit.work()

    assert asking.payload is None


def test_other_flows_have_other_states_whatever_a_script_asks_for(flow_kit: FlowKit):
    configured(flow_kit, python("state.set('secret', 'of the other flow')"))
    flow_kit.run("keeping", {})
    other = Flow.objects.get().pk
    code = python(
        f"for flow in ({other}, str({other}), [{other}]):",
        "    reply = context._reply('state', {'key': 'secret', 'flow': flow})",
        "    assert reply == {'version': 0}, reply",
        "for request in ({}, {'key': 1}, {'key': ['secret']}, {'key': 'k' * 201}):",
        "    assert context._reply('state', request)['kind'] == 'invalid'",
    )
    flow_kit.configure(
        {
            "scripts": [{"name": "spy", "code": code}],
            "queues": [{"name": "spied", "maxDeliveries": 1}],
            "flows": [
                {
                    "name": "spying",
                    "steps": [{"name": "spy", "script": "spy", "queue": "spied"}],
                }
            ],
        }
    )

    flow_kit.run("spying", {}).assert_completed()


ODD = ["a b", "ü/ö", "'; DROP TABLE x; --", "%s {} \\", "\U0001f600", " ", "\n", "a" * 200, "\x7f"]


def test_keys_may_have_odd_characters(flow_kit: FlowKit):
    configured(
        flow_kit,
        python(
            "for key in message['payload']:",
            "    state.set(key, state.get(key, 0) + 1)",
        ),
    )

    for _ in range(2):
        flow_kit.run("keeping", dict.fromkeys(ODD, 1)).assert_completed()

    assert kept() == dict.fromkeys(ODD, "2")
    assert_totals_are_right()


def test_a_cancelled_run_changes_nothing(flow_kit: FlowKit):
    configured(flow_kit, python("state.increment('count')", "raise Wait(60)"))
    run = flow_kit.start("keeping", {})
    flow_kit.work(moves_time=False)

    run.cancel()

    assert kept() == {"count": "1"}
    assert run.status == "CANCELLED"
    assert FlowState.objects.live(flow_kit.now() + timedelta(days=1)).exists()


def test_flows_without_a_state_ask_for_none(flow_kit: FlowKit, django_assert_max_num_queries):
    configured(flow_kit, python("pass"))

    with django_assert_max_num_queries(10_000) as captured:
        flow_kit.run("keeping", {}).assert_completed()

    assert [query for query in captured.captured_queries if "flowstate" in query["sql"]] == []


HERE = "tests.integration.test_flow_state"


def counts(message: dict[str, Any], context: Any) -> dict[str, Any]:
    n = context.state.get("n", 0)
    context.state.set("n", n + 1)
    context.state.increment("count")
    message["payload"] = n
    return message


@pytest.mark.parametrize("in_transaction", [False, True])
def test_callables_have_the_state_too(flow_kit: FlowKit, settings: Any, in_transaction: bool):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    step = {"name": "keep", "script": "keep", "queue": "kept"}
    script = {"name": "keep", "language": "callable", "code": f"{HERE}.counts"}
    flow_kit.configure(
        {
            "scripts": [{**script, "inTransaction": in_transaction}],
            "queues": [{"name": "kept", "maxDeliveries": 1}],
            "flows": [{"name": "keeping", "steps": [step]}],
        }
    )
    runs = flow_kit.start_many("keeping", ({} for _ in range(30)))

    flow_kit.work()

    assert sorted(run.payload for run in runs) == list(range(30))
    assert kept() == {"n": "30", "count": "30"}
    assert_totals_are_right()


def test_a_callable_in_a_transaction_that_read_too_early_takes_its_writes_back(
    flow_kit: FlowKit, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    # A worker that does not know what its calls leave: each reads what is stored.
    monkeypatch.setattr(PendingStates, "get", lambda *_: None)
    script = {"name": "keep", "language": "callable", "code": f"{HERE}.counts_and_writes"}
    flow_kit.configure(
        {
            "scripts": [{**script, "inTransaction": True}],
            "queues": [{"name": "kept", "maxDeliveries": 1}],
            "flows": [
                {
                    "name": "keeping",
                    "steps": [{"name": "keep", "script": "keep", "queue": "kept"}],
                }
            ],
        }
    )
    runs = flow_kit.start_many("keeping", ({} for _ in range(5)))

    flow_kit.work()

    assert sorted(run.payload for run in runs) == list(range(5))
    written = ConfigurationValue.objects.values_list("value", flat=True)
    assert sorted(written) == [str(n) for n in range(5)]
    assert kept() == {"n": "5", "count": "5"}


def counts_and_writes(message: dict[str, Any], context: Any) -> dict[str, Any]:
    counts(message, context)
    ConfigurationValue.objects.create(name=f"n.{uuid4()}", value=str(message["payload"]))
    return message


def test_the_list_of_states_is_for_those_who_configure_the_flow(
    flow_kit: FlowKit, admin_client: Any, client: Any, django_user_model: Any
):
    configured(flow_kit, python("state.set('cursor', 'x' * 300)"))
    flow_kit.run("keeping", {})
    value, page = FlowState.objects.get(), reverse("admin:flows_flowstate_changelist")
    user = django_user_model.objects.create_user("watcher", is_staff=True)
    client.force_login(user)

    listed = admin_client.get(page).content.decode()
    shown = admin_client.get(f"{page}{value.pk}/change/").content.decode()

    assert "cursor" in listed
    assert "x" * 90 in listed
    assert "x" * 101 not in listed
    assert "x" * 300 in shown
    assert client.get(page).status_code == 403
