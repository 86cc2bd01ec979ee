"""Editors and type checkers know what scripts find, in a directory that was just exported."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.configuration import read_directory, write_directory
from flows.configuration.editor_files import OURS, libraries_text
from flows.demo import demo_document
from scripts.admin.trial_page import FIRST_CODE

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGE = ROOT / "scripts/README.md"
TYPINGS = ROOT / "scripts/typings/README.md"
PYTHON = """\
from asyncengine_script import Context, Message, Reject, Retry

import tax


def run(message: Message, context: Context) -> Message:
    payload = message["payload"]
    context.log(f"attempt {context.attempt} of {context.delivery_id}", level="warning")
    if payload["amount"] <= 0:
        raise Reject("the amount must be positive")
    try:
        answer = context.http.post(
            "https://shop.example.org/orders",
            json=payload,
            headers={"Authorization": f"Bearer {context.secrets['shop.key']}"},
            params={"dry": "yes"},
            timeout=2.5,
        )
        payload["order"] = answer.raise_for_status().json()["id"]
    except context.http.Error as error:
        if error.kind == "timeout" or (error.response and error.response.retry_after):
            raise Retry(after=60, reason="the desk is closed") from error
        raise
    payload["tax"] = tax.of(payload["amount"])
    return message
"""
TAX = "def of(amount: float) -> float:\n    return amount * 0.19\n"
# Without an import, as scripts have it; only ruff and Pyright can be told of that.
BUILTIN = """\
def run(message, context):
    if not message["payload"]:
        raise Reject("empty")
    raise Retry(after=5)
"""
MONEY = """\
var Money = Money || (function () {
  function Money() {}
  Money.prototype.round = function (amount) { return Math.round(amount * 100) / 100; };
  return Money;
})();
function helper() { return new Money(); }
"""


def script(name: str, code: str, language: str = "python") -> dict[str, str]:
    return {"name": name, "language": language, "code": code}


def python_document(**codes: str) -> dict:
    return {
        "scripts": [script(name, code) for name, code in codes.items()],
        "libraries": [script("tax", TAX)],
    }


def javascript_document(**codes: str) -> dict:
    return {
        "scripts": [script(name, code, "javascript") for name, code in codes.items()],
        "libraries": [script("Money", MONEY, "javascript")],
    }


def said_by(*command: str, directory: Path, **environment: str) -> tuple[int, str]:
    # An author need not have the engine.
    others = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=directory,
        env=others | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have mypy read the types of the standard library once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MYPY_CACHE_DIR", str(tmp_path_factory.mktemp("mypy")))
        yield


def mypy(directory: Path) -> tuple[int, str]:
    return said_by(sys.executable, "-I", "-m", "mypy", "scripts", directory=directory)


def ruff(directory: Path) -> tuple[int, str]:
    return said_by(sys.executable, "-m", "ruff", "check", "--no-cache", ".", directory=directory)


def samples_of(page: Path) -> list[str]:
    """Return the Python scripts of a page; a function of a project is none, nor has it a `run`."""
    codes = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [code for code in codes if re.search(r"^def run\(", code, re.MULTILINE)]


def lines_of(said: str) -> set[int]:
    return {int(found[1]) for found in re.finditer(r"\.py:(\d+): error:", said)}


# --- Python ------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_stub_says_what_scripts_find_at_run_time(tmp_path):
    # Made by the engine alone, and what it uses of them itself.
    classes = "Context|Headers|Http|HttpError|Response|Secrets|SignatureError|State|Table"
    allowed = [
        rf"asyncengine_script\.({classes})\.__init__",
        r"asyncengine_script\.Context\.(log|read_reply|secret_names|send_request)",
    ]
    allowlist = tmp_path / "allowed"
    allowlist.write_text("\n".join(allowed))

    code, said = said_by(
        *(sys.executable, "-m", "mypy.stubtest", "asyncengine_script"),
        *("--allowlist", str(allowlist), "--mypy-config-file", os.devnull),
        directory=ROOT,
        # By its short name, as the wheel has it.
        MYPYPATH=str(ROOT / "scripts/typings"),
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "scripts/typings")]),
    )

    assert code == 0, said


@pytest.mark.long
@pytest.mark.usefixtures("types")
def test_scripts_and_the_demo_pass_mypy_and_ruff(tmp_path):
    document = demo_document()
    document["scripts"].append(script("order", PYTHON))
    document["libraries"] = [script("tax", TAX)]

    write_directory(document, tmp_path)

    assert mypy(tmp_path) == (0, "Success: no issues found in 4 source files\n")
    assert ruff(tmp_path) == (0, "All checks passed!\n")


@pytest.mark.usefixtures("types")
def test_what_a_new_script_begins_with_and_every_sample_of_the_pages_pass_mypy_and_ruff(tmp_path):
    pages = (README, PAGE, TYPINGS)
    samples = [FIRST_CODE["python"], *(code for page in pages for code in samples_of(page))]
    names = [f"sample-{number}" for number in range(len(samples))]

    write_directory(python_document(**dict(zip(names, samples, strict=True))), tmp_path)

    assert len(samples) == 4
    assert mypy(tmp_path) == (0, "Success: no issues found in 4 source files\n")
    assert ruff(tmp_path) == (0, "All checks passed!\n")


@pytest.mark.usefixtures("types")
def test_a_script_and_a_library_without_types_pass_mypy_and_those_with_some_are_checked(tmp_path):
    document = python_document(
        untyped="import tax\n\n\ndef run(message, context):\n    return tax.of(message)\n",
        partly="import tax\nfrom asyncengine_script import Context, Message\n\n\n"
        "def run(message: Message, context: Context) -> Message:\n"
        "    return tax.of(message)\n\n\n"
        "def half(context: Context, other):\n"
        "    return context.atempt\n",
    )
    document["libraries"] = [script("tax", "def of(amount):\n    return amount\n")]

    write_directory(document, tmp_path)

    code, said = mypy(tmp_path)
    assert code == 1
    assert re.findall(r"scripts/(.*?): error: (.*)\n", said) == [
        ("partly.py:10", '"Context" has no attribute "atempt"; maybe "attempt"?  [attr-defined]')
    ]


@pytest.mark.usefixtures("types")
def test_scripts_of_any_name_are_checked_and_may_be_named_as_a_library_is(tmp_path):
    names = ("tax", "2nd", "a/b", "größe & <more>", "with.dot", "class", "a b")

    write_directory(python_document(**dict.fromkeys(names, PYTHON)), tmp_path)

    assert mypy(tmp_path) == (0, f"Success: no issues found in {len(names)} source files\n")


@pytest.mark.usefixtures("types")
def test_mypy_finds_what_is_wrong_with_a_script(tmp_path):
    wrong = [
        "context.atempt",
        "context.attempt = 'x'",
        "context.http.get('https://a.example.org', timeot=5)",
        "context.http.get(5)",
        "context.http.get('https://a.example.org').status_code",
        "context.secrets['key'] = 'x'",
        "raise Retry(after=[])",
        "raise Reject(reason=5)",
        "message.payload",
        "tax.off(5)",
        "tax.of('5')",
    ]
    body = "".join(f"    if message:\n        {line}\n" for line in wrong)
    head = (
        "import tax\nfrom asyncengine_script import Context, Message, Reject, Retry\n"
        "def run(message: Message, context: Context) -> Message:\n"
    )

    write_directory(python_document(wrong=f"{head}{body}    return message\n"), tmp_path)

    _, said = mypy(tmp_path)
    assert lines_of(said) == {5 + 2 * number for number in range(len(wrong))}, said


def test_ruff_knows_retry_and_reject_without_an_import(tmp_path):
    write_directory(python_document(builtin=BUILTIN), tmp_path)

    assert ruff(tmp_path) == (0, "All checks passed!\n")


# --- JavaScript --------------------------------------------------------------------------------


def tsc(directory: Path) -> list[str]:
    program = shutil.which("tsc")
    if program is None:
        pytest.skip("tsc is not on the path (npm install --global typescript)")
    _, said = said_by(program, "--pretty", "false", directory=directory)
    return said.splitlines()


def javascript_of_the_page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    return code


GOOD = """\
const order = context.Data.payload;
if (order.amount <= 0) reject("no");
if (order.amount > 1e6) retry({ after: 60, reason: "closed" });
if (order.amount === 5) {
  setData([1, { a: 10n }, null]);
  // @ts-ignore
  return;
}
log("a", { level: "warning" });
ftos.logging.log({ a: 1 }, { level: "WARN" });
console.error("a", 5, order);
try {
  const [rate, posted] = await Promise.all([
    http.get("https://rates.example.org/EUR", { timeout: 5, params: { q: ["a", 1] } }),
    context.http.post("https://x.example.org", order, { headers: { "X-A": 1 } }),
  ]);
  order.fee = new Money().round(order.amount * rate.raiseForStatus().data.fee);
  order.key = context.secrets["shop.key"] + posted.headers["etag"];
} catch (error) {
  if (error.kind === "timeout") retry(60, "slow");
  throw error;
}
order.id = `${context.correlationId} ${context.attempt + 1} ${context.delivery_id}`;
setData(context.Data);
"""


@pytest.mark.tsc
def test_tsc_accepts_javascript_scripts_that_use_everything(tmp_path):
    document = javascript_document(
        readme=javascript_of_the_page(), good=GOOD, other="const order = 1;\nsetData(order);\n"
    )

    write_directory(document, tmp_path)

    assert tsc(tmp_path) == []


@pytest.mark.tsc
def test_tsc_finds_what_is_wrong_with_a_script(tmp_path):
    wrong = [
        "setDate(context.Data);",
        "context.data;",
        "context.attempt = 'x';",
        "retry([]);",
        "http.get(5);",
        "http.get('https://a.example.org', { timeot: 5 });",
        "(await http.get('https://a.example.org')).statusCode;",
        "http.get('https://a.example.org').status;",
        "console.table(5);",
        "document.title;",
        "new Mony();",
    ]

    write_directory(javascript_document(wrong="\n".join(wrong)), tmp_path)

    said = tsc(tmp_path)
    lines = {int(found[1]) for line in said if (found := re.match(r"scripts/\S+\((\d+),", line))}
    assert lines == set(range(1, len(wrong) + 1)), said


@pytest.mark.tsc
def test_a_return_at_top_level_is_the_one_thing_that_tsc_does_not_know(tmp_path):
    code = "if (context.attempt > 1) { setData(1); return; }\nsetData(2);\n"

    write_directory(javascript_document(returns=code), tmp_path)

    (said,) = tsc(tmp_path)
    assert "error TS1108" in said


def test_what_libraries_define_is_declared_for_scripts():
    codes = [
        MONEY,
        "const rates = {};\nlet $x;\n  var inner;\nasync function go() {}\nclass Tax {}",
    ]

    names = re.findall(r"var ([\w$]+): any;", libraries_text(codes))

    assert names == ["$x", "Money", "Tax", "go", "helper", "rates"]


# --- whose files they are ----------------------------------------------------------------------


def test_settings_that_are_there_stay_as_they_are(tmp_path):
    document = {"scripts": [script("a", BUILTIN), script("b", "setData(1);", "javascript")]}
    settings = ("mypy.ini", "pyrightconfig.json", "ruff.toml", "tsconfig.json")
    for name in settings:
        (tmp_path / name).write_text("the author's")

    write_directory(document, tmp_path)

    assert {(tmp_path / name).read_text() for name in settings} == {"the author's"}


@pytest.mark.parametrize(
    ("elsewhere", "text", "left_out"),
    [
        ("pyproject.toml", "[tool.mypy]\nstrict = true", "mypy.ini"),
        ("pyproject.toml", "[tool.ruff.lint]\n", "ruff.toml"),
        ("pyproject.toml", "[tool.pyright]\n", "pyrightconfig.json"),
        (".ruff.toml", "", "ruff.toml"),
        ("jsconfig.json", "{}", "tsconfig.json"),
    ],
)
def test_settings_that_are_elsewhere_are_not_overruled(tmp_path, elsewhere, text, left_out):
    document = {"scripts": [script("a", BUILTIN), script("b", "setData(1);", "javascript")]}
    (tmp_path / elsewhere).write_text(text)

    write_directory(document, tmp_path)

    settings = {"mypy.ini", "pyrightconfig.json", "ruff.toml", "tsconfig.json"}
    assert {name for name in settings if not (tmp_path / name).exists()} == {left_out}


def test_typings_are_written_anew_until_their_first_line_is_gone(tmp_path):
    document = {"scripts": [script("a", BUILTIN)]}
    write_directory(document, tmp_path)
    stub, builtins = (
        tmp_path / "typings/asyncengine_script.pyi",
        tmp_path / "typings/__builtins__.pyi",
    )
    written = stub.read_text()
    stub.write_text(f"# {OURS}\nolder")
    builtins.write_text("the author's")

    write_directory(document, tmp_path)

    assert stub.read_text() == written
    assert builtins.read_text() == "the author's"


def test_there_are_files_for_the_languages_of_the_document_alone(tmp_path):
    write_directory({"scripts": [script("a", "setData(1);", "javascript")]}, tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {
        "configuration.json",
        "configuration.schema.json",
        "scripts",
        "tsconfig.json",
        "typings",
    }


def test_they_are_no_part_of_the_document(tmp_path):
    document = javascript_document(a="setData(1);")
    write_directory(document, tmp_path)
    (tmp_path / "typings/asyncengine.d.ts").write_text("broken {")

    found = read_directory(tmp_path)

    assert {name: found[name] for name in document} == document
