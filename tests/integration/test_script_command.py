from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from tests.builders import make_script

pytestmark = pytest.mark.django_db

ADDING = """
def run(message, context):
    context.log(f"adding to {message['payload']['amount']}")
    message["payload"]["amount"] += 1
    return message
"""


@pytest.fixture(autouse=True)
def script():
    schema = {"properties": {"amount": {"type": ["integer", "string"], "minimum": 5}}}
    return make_script("adding", ADDING, input_schema=schema)


def try_script(*args) -> SimpleNamespace:
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("script", "test", *args, stdout=out, stderr=err)
    except SystemExit as exit:
        code = int(exit.code or 0)
    return SimpleNamespace(out=out.getvalue(), err=err.getvalue(), code=code)


def test_output_is_on_stdout_and_logs_and_time_beside_it():
    result = try_script("adding", "--input", '{"payload": {"amount": 7}}')

    assert json.loads(result.out)["payload"] == {"amount": 8}
    assert "info: adding to 7\n" in result.err
    assert " ms, " in result.err
    assert result.code == 0


def test_without_input_an_example_of_the_input_parameters_is_taken():
    assert json.loads(try_script("adding").out)["payload"] == {"amount": 6}


def test_output_is_printed_digit_for_digit(script):
    script.code = "def run(message, context): return message"
    script.save()

    result = try_script("adding", "--input", '{"amount": 7.0, "price": 1.10, "d": 1e5}')

    assert '"amount": 7.0,\n    "price": 1.10,\n    "d": 1e5\n' in result.out


def test_input_and_code_come_from_files(tmp_path):
    (tmp_path / "sample.json").write_text('{"amount": 10}')
    (tmp_path / "code.py").write_text("def run(message, context): return [message['payload']]")

    result = try_script(
        *("adding", "--input", str(tmp_path / "sample.json")),
        *("--code", str(tmp_path / "code.py"), "--last"),
    )

    assert json.loads(result.out) == [{"amount": 10}]


def test_input_comes_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"amount": 20}'))

    assert json.loads(try_script("adding", "--input", "-").out)["payload"] == {"amount": 21}


def test_an_error_is_printed_and_the_exit_code_is_1():
    result = try_script("adding", "--input", '{"amount": "a"}')

    assert (result.out, result.code) == ("", 1)
    assert "The script raised an exception." in result.err
    assert 'File "adding", line 4, in run' in result.err
    assert "TypeError" in result.err


def test_a_message_that_the_input_parameters_refuse_is_told_by_field():
    result = try_script("adding", "--input", '{"amount": 4}')

    assert result.code == 1
    assert "$.payload.amount: 4 is less than the minimum of 5" in result.err


def test_an_output_that_the_output_structure_refuses_is_shown_beside_the_reason(script):
    script.output_schema = {"properties": {"amount": {"maximum": 10}}}
    script.save()

    result = try_script("adding", "--input", '{"amount": 10}')

    assert (result.code, result.out) == (1, "")
    assert "$.payload.amount: 11 is greater than the maximum of 10" in result.err
    assert '"amount": 11' in result.err


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["subtracting"], "There is no script 'subtracting'."),
        (["adding", "--input", "{"], "not valid JSON"),
        (["adding", "--input", "nowhere.json"], "Cannot read nowhere.json"),
        (["adding", "--code", "nowhere.py"], "Cannot read nowhere.py"),
    ],
)
def test_what_cannot_be_tried_is_refused(args, reason):
    with pytest.raises(CommandError, match=reason):
        try_script(*args)
