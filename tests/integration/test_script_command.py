from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from flows.configuration.directory import write_directory
from scripts.models import Library, Script
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
    code = "def run(message, context): return [message['payload']]"
    # As some editors write files.
    (tmp_path / "code.py").write_text(code, encoding="utf-8-sig")

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


NEW = """
import rates


def run(message, context):
    message["payload"]["total"] = rates.of(message["payload"]["amount"])
    return message
"""


def test_a_new_script_is_tried_with_libraries_and_settings_from_files(tmp_path):
    (tmp_path / "new.py").write_text(NEW)
    (tmp_path / "rates.py").write_text("def of(amount):\n    return amount * 2\n")
    schema = {"properties": {"amount": {"type": "integer", "exclusiveMinimum": 4}}}
    (tmp_path / "new.json").write_text(json.dumps({"inputSchema": schema, "timeoutSeconds": 5}))

    result = try_script(
        *("new", "--code", str(tmp_path / "new.py"), "--config", str(tmp_path / "new.json")),
        *("--library", f"rates={tmp_path / 'rates.py'}"),
    )

    assert json.loads(result.out)["payload"] == {"amount": 5, "total": 10}
    assert not Script.objects.filter(name="new").exists()


def test_a_script_of_a_document_is_tried_with_its_limits_and_hosts(tmp_path, time_to_tell):
    get = "def run(message, context):\n    context.http.get('https://b.test/')\n"
    slow = "def run(message, context):\n    while True: pass\n"
    document = {
        "libraries": [{"name": "rates", "code": "RATE = 3"}],
        "scripts": [
            {"name": "far", "code": get, "network": True, "allowedHosts": ["a.test"]},
            {"name": "slow", "code": slow, "timeoutSeconds": 0.3},
            {
                "name": "rated",
                "code": "import rates\ndef run(m, c): return m | {'payload': rates.RATE}",
                "libraries": ["rates"],
            },
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(document))

    names = ("far", "slow", "rated")
    results = {n: try_script(n, "--config", str(tmp_path / "all.json")) for n in names}

    assert "b.test" in results["far"].err
    assert "time limit of 0.3 s. It was at line 2 in run()." in results["slow"].err
    assert json.loads(results["rated"].out)["payload"] == 3


def test_a_script_of_an_exported_directory_is_tried_with_its_settings(tmp_path):
    rates = {"name": "rates", "code": "var Rates = Rates || (function () { this.of = () => 3; })"}
    script = {
        "name": "rated",
        "code": "setData({ ...context.Data, payload: new Rates().of() })",
        "libraries": ["rates"],
    }
    for each in (rates, script):
        each["language"] = "javascript"
    write_directory({"libraries": [rates], "scripts": [script]}, tmp_path)
    document = tmp_path / "configuration.json"
    assert "codeFile" in document.read_text()

    results = [try_script("rated", "--config", str(name)) for name in (tmp_path, document)]

    assert [json.loads(each.out)["payload"] for each in results] == [3, 3]


def test_the_ending_of_a_file_is_the_language_of_a_saved_script_too(script, tmp_path):
    (tmp_path / "other.js").write_text("setData({ ...context.Data, payload: 4 })")

    result = try_script("adding", "--code", str(tmp_path / "other.js"))

    assert json.loads(result.out)["payload"] == 4


@pytest.mark.parametrize("libraries", [["rates"], ["rates", "saved"], []])
def test_libraries_that_the_settings_name_come_from_the_command_line(tmp_path, libraries):
    Library.objects.create(name="saved", code="X = 1")
    (tmp_path / "new.py").write_text(NEW)
    (tmp_path / "rates.py").write_text("def of(amount):\n    return amount * 2\n")
    (tmp_path / "new.json").write_text(json.dumps({"libraries": libraries}))

    result = try_script(
        *("new", "--code", str(tmp_path / "new.py"), "--config", str(tmp_path / "new.json")),
        *("--library", f"rates={tmp_path / 'rates.py'}", "--input", '{"amount": 4}'),
    )

    assert json.loads(result.out)["payload"]["total"] == 8


def test_code_in_a_javascript_file_is_javascript(tmp_path):
    (tmp_path / "new.js").write_text("setData(context.Data)")

    assert try_script("new", "--code", str(tmp_path / "new.js")).code == 0


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("raise Retry(60, 'later')", "RETRY: The script asked to be run again in 60 s."),
        ("raise Retry(reason='later')", "RETRY: The script asked to be run again later."),
        ("raise Reject('no')", "REJECTED: The script rejected the message."),
        ("1 / 0", "FAILED: The script raised an exception."),
    ],
)
def test_the_end_of_a_trial_is_told_in_a_word(script, statement, told):
    script.code = f"def run(message, context):\n    {statement}\n"
    script.save()

    result = try_script("adding")

    assert told in result.err
    assert result.code == 1


@pytest.mark.parametrize(
    ("content", "args", "reason"),
    [
        ({"timeout": 5}, ["adding"], "unknown key 'timeout'"),
        ({"memoryMb": "5"}, ["adding"], "memoryMb has a value of the wrong kind"),
        ({"libraries": ["none"]}, ["adding"], "There is no library 'none'"),
        ({"inputSchema": {"format": "datee"}}, ["adding"], "the format 'datee' is not known"),
        ([], ["adding"], "must be a JSON object"),
        ({}, ["adding", "--library", "rates"], "--library takes NAME=FILE"),
        ({}, ["new"], "A new one takes its code from --code or --config"),
    ],
)
def test_files_that_make_no_script_are_refused(tmp_path, content, args, reason):
    (tmp_path / "settings.json").write_text(json.dumps(content))

    with pytest.raises(CommandError, match=reason):
        try_script(*args, "--config", str(tmp_path / "settings.json"))


LOOK_UP = (
    "def run(message, context):\n    return message | {'payload': context.table('zip')['1']}\n"
)


def test_a_trial_looks_things_up_in_a_file(tmp_path):
    (tmp_path / "zip.csv").write_text("town,zip\nBonn,1\n")
    (tmp_path / "zip.json").write_text('{"1": 1.50}')
    (tmp_path / "look_up.py").write_text(LOOK_UP)
    code = ("new", "--code", str(tmp_path / "look_up.py"), "--input", "{}")

    by_key = try_script(*code, "--table", f"zip={tmp_path / 'zip.csv'}:zip")
    as_json = try_script(*code, "--table", f"zip={tmp_path / 'zip.json'}")

    assert json.loads(by_key.out)["payload"] == {"town": "Bonn", "zip": "1"}
    assert '"payload": 1.50' in as_json.out


@pytest.mark.parametrize(
    ("given", "words"),
    [("zip", "NAME=FILE"), ("zip=nothing.csv", "Cannot read"), ("zip=bad.csv", "line 2: 1 values")],
)
def test_a_file_of_a_trial_that_is_no_table_is_refused(tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("a,b\n1\n")

    with pytest.raises(CommandError, match=words):
        try_script("adding", "--table", given)


DECIDING = {
    "python": {
        "finish": "return context.finish({'n': 1.5})",
        "go": "return context.go('late', message)",
        "reject": "raise Reject('no', 'J2', {'n': 1.50})",
        "wait": "raise Wait(60, 'later', {'job': 7})",
        "start": "context.start('invoice', {'n': 1})\n    return message",
        "state": "context.state.set('k', 1)\n    return message",
        "progress": "context.progress(5, 2, 'rows')\n    1 / 0",
    },
    "javascript": {
        "finish": "context.finish({ n: 1.5 });",
        "go": "context.go('late', context.Data);",
        "reject": "reject('no', { code: 'J2', details: { n: 1.50 } });",
        "wait": "wait(60, 'later', { job: 7 });",
        "start": "await context.start('invoice', { n: 1 }); setData(context.Data);",
        "state": "await context.state.set('k', 1); setData(context.Data);",
        "progress": "context.progress(5, 2, 'rows'); throw new Error('x');",
    },
}


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_trial_tells_what_the_script_decides(tmp_path, language):
    told, documents = {}, {}
    for name, code in DECIDING[language].items():
        file = tmp_path / f"{name}.{'py' if language == 'python' else 'js'}"
        before = "def run(message, context):\n    " if language == "python" else ""
        file.write_text(f"{before}{code}\n")
        told[name] = try_script("new", "--code", str(file), "--input", "{}").err
        shown = try_script("new", "--code", str(file), "--input", "{}", "--json")
        documents[name] = json.loads(shown.out)
        assert documents[name]["outcome"] != "COMPLETED" or shown.code == 0

    assert "The run would end with the output as its result." in told["finish"]
    assert "The output would go to the step 'late'." in told["go"]
    assert "The code of the rejection is 'J2'." in told["reject"]
    assert 'The details of the rejection are {"n":1.5' in told["reject"]
    assert 'The next attempt would find the state {"job":7}.' in told["wait"]
    assert "It would start the flow 'invoice' with" in told["start"]
    assert "state: k = 1" in told["state"]
    assert "Its last progress is 5 of 5: rows." in told["progress"]
    assert documents["finish"]["finishes"]
    assert documents["finish"]["output"] == {"n": 1.5}
    assert documents["go"]["goesTo"] == "late"
    assert documents["reject"]["code"] == "J2"
    assert documents["reject"]["details"] == {"n": 1.5}
    assert (documents["wait"]["after"], documents["wait"]["waitState"]) == (60, {"job": 7})
    assert documents["start"]["starts"] == [{"flow": "invoice", "payload": {"n": 1}}]
    assert documents["state"]["state"] == {"k": 1}
    assert documents["progress"]["progress"]["total"] == 5
    outcomes = [each["outcome"] for each in documents.values()]
    assert outcomes == [*["COMPLETED"] * 2, "REJECTED", "WAITING", *["COMPLETED"] * 2, "FAILED"]


def test_the_modules_that_a_script_may_import_are_printed():
    out = io.StringIO()

    call_command("script", "modules", stdout=out)

    assert {"json", "graphlib"} <= set(out.getvalue().split())
