"""Trials with what the engine gives to scripts from outside."""

import json

import pytest

from scripts.models import Secret
from scripts.models.secret_values import forget_secrets
from scripts.protocol.calls import Program
from scripts.trials.trial import run_trial, sample_message

# A secret is read in another thread, which does not see what is not committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_secrets_are_kept():
    forget_secrets()
    yield
    forget_secrets()


def attempt(code, **fields):
    program = Program(0, "pricing", "python", code, 5.0, 128, secrets=("key",), **fields)
    return run_trial(program, sample_message("{}").body)


def test_secrets_and_outside_calls_work_as_in_the_engine_and_no_secret_is_shown():
    secret = Secret(name="key")
    secret.set_value("open sesame")
    secret.save()
    code = """
def run(message, context):
    message["payload"] = context.secrets["key"]
    context.log(message["payload"])
    return message
"""
    refusing = '{"type": "integer"}'

    trial = attempt(code)
    refused = attempt(code, output_schema=refusing)

    assert json.loads(trial.output)["payload"] == "***"
    assert [line["text"] for line in trial.logs] == ["***"]
    assert json.loads(refused.output)["payload"] == "***"
    assert "sesame" not in f"{refused.error} {refused.faults}"


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_what_has_a_secret_as_a_number_is_shown_as_json(language):
    secret = Secret(name="key")
    secret.set_value("12345678")
    secret.save()
    code = {
        "python": """
def run(message, context):
    pin = int(context.secrets["key"])
    context.state.set("pin", pin)
    context.start("child", {"pin": pin})
    message["payload"] = {"12345678": [pin, -pin, 1.5], "said": f'"{pin}"'}
    return message
""",
        "javascript": """
const pin = Number(context.secrets.key);
await context.state.set("pin", pin);
await context.start("child", { pin });
context.Data.payload = { "12345678": [pin, -pin, 1.5], said: `"${pin}"` };
setData(context.Data);
""",
    }[language]
    program = Program(0, "pricing", language, code, 5.0, 128, secrets=("key",))

    shown = json.loads(run_trial(program, sample_message("{}").body).as_json())

    assert shown["output"]["payload"] == {"***": ["***", "-***", 1.5], "said": '"***"'}
    assert shown["state"] == {"pin": "***"}
    assert shown["starts"] == [{"flow": "child", "payload": {"pin": "***"}}]
