"""The commands of an author: logs of runs, dead letters, values and secrets."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from flows import engine
from flows.management.commands.runs import Printed
from flows.models import AuditEntry, DeadLetter, Run
from scripts.models import ConfigurationValue, Secret
from tests.builders import make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

LOGS = """
def run(message, context):
    context.log("looks at", message["payload"]["n"], level="warning")
    if message["payload"]["n"] < 0:
        raise Reject("below zero", code="sign")
    return message
"""


def said(*arguments: Any, **options: Any) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def flow():
    return make_flow(codes=[LOGS])


def started(flow: Any, n: int) -> Run:
    correlation_id = engine.start("flow", {"n": n}).correlation_id
    work_until_idle(flow)
    return run_of(correlation_id)


@pytest.mark.parametrize("follow", [False, True])
def test_the_log_of_a_run_is_printed(flow, follow):
    run = started(flow, 5)

    first, last = said("runs", "logs", str(run.pk), follow=follow).splitlines()

    assert first.endswith("#1  warning: looks at 5")
    assert last.endswith("#1  COMPLETED")


def test_the_log_of_a_run_is_printed_as_json(flow):
    run = started(flow, -1)

    line, end = map(json.loads, said("runs", "logs", str(run.pk), "--json").splitlines())

    assert (line["attempt"], line["level"], line["text"]) == (1, "warning", "looks at -1")
    assert line["at"].endswith("Z")
    assert (end["outcome"], "below zero" in end["error"]) == ("REJECTED", True)


def test_a_run_that_is_not_there_is_named():
    with pytest.raises(CommandError, match="There is no run"):
        said("runs", "logs", "00000000-0000-0000-0000-000000000000")


def attempt(logs: list[int], finished: str | None = None) -> dict[str, Any]:
    lines = [{"at": float(n), "level": "info", "text": str(n)} for n in logs]
    one = {"branch": None, "attempt": 1, "logs": lines, "finishedAt": finished}
    one |= {"outcome": "COMPLETED", "error": None}
    return {"steps": [{"name": "price", "attempts": [one]}]}


def test_each_line_is_printed_once_while_a_run_goes_on():
    printed = Printed(None)

    def news(*given: Any) -> list[Any]:
        return [line.get("text", line.get("outcome")) for line in printed.news(attempt(*given))]

    assert news([1, 2]) == ["1", "2"]
    assert news([1, 2, 3]) == ["3"]
    # Those in the middle are left out where there are too many.
    assert news([1, 3, 4]) == ["4"]
    assert news([1, 3, 4], "2026-01-01T00:00:00Z") == ["COMPLETED"]
    assert news([1, 3, 4], "2026-01-01T00:00:00Z") == []
    assert list(Printed("other").news(attempt([1]))) == []


def test_dead_letters_are_listed_and_reprocessed_with_the_newest_script(flow):
    run = started(flow, -1)
    letter = DeadLetter.objects.get()

    listed = json.loads(said("dead_letters", "list", "--code", "sign", "--json"))
    assert (listed["id"], listed["correlationId"]) == (letter.pk, str(run.pk))
    assert str(run.pk) in said("dead_letters", "list")
    assert said("dead_letters", "list", "--code", "other") == ""
    told = io.StringIO()
    said("dead_letters", "list", "--limit", "0", stderr=told)
    assert told.getvalue() == ""
    for verb in (["list"], ["reprocess", "--newest"], ["discard"]):
        with pytest.raises(CommandError, match="There is no flow 'other'"):
            said("dead_letters", *verb, "--flow", "other")

    script = flow.steps.get().script
    script.code = "def run(message, context):\n    return message\n"
    script.save()
    done = said("dead_letters", "reprocess", str(letter.pk), "--newest")
    work_until_idle(flow)

    assert done == f"{letter.pk}  {run.pk}  RUNNING\n"
    assert run_of(run.pk).status == "COMPLETED"


def test_a_dead_letter_is_shown_with_its_payload_and_details(flow):
    script = flow.steps.get().script
    script.code = "def run(message, context):\n    raise Reject('no', 'J2', {'n': 1.5})\n"
    script.save()
    started(flow, 1)
    letter = DeadLetter.objects.get()

    shown = json.loads(said("dead_letters", "show", str(letter.pk)))

    assert (shown["code"], shown["details"], shown["error"]) == ("J2", {"n": 1.5}, "no")
    assert shown["payload"] == {"n": 1}
    with pytest.raises(CommandError, match="There is no dead letter 77"):
        said("dead_letters", "show", "77")


def test_dead_letters_are_reprocessed_with_another_payload_or_discarded(flow):
    runs = [started(flow, -1), started(flow, -2)]
    first, second = DeadLetter.objects.order_by("id")

    said("dead_letters", "reprocess", str(first.pk), "--payload", '{"n": 1}')
    said("dead_letters", "discard", "--code", "sign")
    work_until_idle(flow)

    assert [run_of(run.pk).status for run in runs] == ["COMPLETED", "FAILED"]
    second.refresh_from_db()
    assert second.discarded_at is not None


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["reprocess"], "one of the two"),
        (["reprocess", "1", "--flow", "flow"], "one of the two"),
        (["reprocess", "1"], "There are no dead letters 1."),
        (["reprocess", "--flow", "flow", "--payload", "{}"], "a single dead letter"),
    ],
)
def test_a_decision_without_its_letters_is_refused(flow, arguments, refusal):
    with pytest.raises(CommandError, match=refusal):
        said("dead_letters", *arguments)


def test_a_letter_that_is_decided_is_refused_and_named(flow):
    started(flow, -1)
    letter = DeadLetter.objects.get()
    engine.discard(letter)
    err = io.StringIO()

    with pytest.raises(CommandError, match="1 of 1 dead letters were refused"):
        said("dead_letters", "reprocess", str(letter.pk), stderr=err)
    assert str(letter.pk) in err.getvalue()


def test_a_value_is_entered_changed_listed_and_deleted(monkeypatch):
    said("values", "set", "shop.url", "https://a.example", "--description", "the shop")
    monkeypatch.setattr("sys.stdin", io.StringIO("https://b.example\n"))
    said("values", "set", "shop.url")

    assert said("values", "list") == "shop.url=https://b.example\n"
    assert ConfigurationValue.objects.get().description == "the shop"
    said("values", "delete", "shop.url")
    assert not ConfigurationValue.objects.exists()
    with pytest.raises(CommandError, match=r"There is no value 'shop\.url'"):
        said("values", "delete", "shop.url")
    with pytest.raises(CommandError, match="Small letters"):
        said("values", "set", "No Name", "x")


def test_a_secret_is_entered_from_standard_input_and_never_printed(monkeypatch):
    pem = "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"
    printed = ""
    for name, value in (("shop.key", "swordfish\n"), ("pem", pem)):
        monkeypatch.setattr("sys.stdin", io.StringIO(value))
        printed += said("secrets", "set", name)
    printed += said("secrets", "list")

    values = {secret.name: secret.value() for secret in Secret.objects.all()}
    assert values == {"shop.key": "swordfish", "pem": pem}
    assert "swordfish" not in printed
    assert AuditEntry.objects.filter(kind="secret").count() == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(CommandError, match="empty"):
        said("secrets", "set", "shop.key")
    monkeypatch.setattr("sys.stdin", io.StringIO("x"))
    with pytest.raises(CommandError, match="Letters, digits"):
        said("secrets", "set", "no name")


# --- the state of a flow ------------------------------------------------------------------------


def test_the_state_of_a_flow_is_listed_and_changed_with_an_entry_in_the_audit_log(flow):
    said("state", "flow", "--set", "cursor", '{"page": 1.50}')
    said("state", "flow", "--set", "name", '"Ü"')

    assert said("state", "flow") == 'cursor = {"page": 1.50}\nname = "Ü"\n'
    assert said("state", "flow", "--get", "cursor") == '{"page": 1.50}\n'
    [line] = said("state", "flow", "--json", "--limit", "1").splitlines()
    assert json.loads(line) == {"key": "cursor", "value": '{"page": 1.50}', "expiresAt": None}
    said("state", "flow", "--delete", "cursor")
    assert said("state", "flow") == 'name = "Ü"\n'
    entry = AuditEntry.objects.filter(verb="change the state").order_by("-pk")[0]
    assert (entry.before, entry.after) == ({"cursor": '{"page": 1.50}'}, {"cursor": None})
    assert entry.name == "flow"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("other",), "no flow 'other'"),
        (("flow", "--get", "k"), "no value 'k'"),
        (("flow", "--delete", "k"), "no value 'k'"),
        (("flow", "--set", "k", "{"), "no JSON"),
        (("flow", "--set", "", "1"), "1 to 200 characters"),
    ],
)
def test_a_state_that_cannot_be_is_refused(flow, arguments, words):
    with pytest.raises(CommandError, match=words):
        said("state", *arguments)
