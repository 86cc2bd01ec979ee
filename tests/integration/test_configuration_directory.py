"""The configuration as files: what version control and editors see."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.configuration import (
    export_configuration,
    read_directory,
    read_document,
    schema_text,
    write_directory,
)
from flows.demo import demo_document
from tests.builders import ECHO
from tests.examples import examples

ROOT = Path(__file__).resolve().parents[2]
FOR_EDITORS = {"mypy.ini", "pyrightconfig.json", "ruff.toml", "tsconfig.json"}
JAVASCRIPT = "setData(context.Data);\n"


def config(*arguments: str) -> str:
    output = io.StringIO()
    call_command("config", *arguments, stdout=output)
    return output.getvalue()


def script(name: str, code: str = ECHO, language: str = "python") -> dict:
    return {"name": name, "language": language, "code": code}


def document_of(*scripts: dict, libraries: tuple[dict, ...] = ()) -> dict:
    return {"libraries": list(libraries), "scripts": list(scripts)}


def files_in(directory: Path) -> set[str]:
    """Return the files of the document; those for editors have tests of their own."""
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("typings/")} - FOR_EDITORS


def test_code_stands_in_files_named_after_scripts_and_libraries(tmp_path):
    document = document_of(
        script("score"),
        script("tax", JAVASCRIPT, "javascript"),
        script("own", "project.steps.own", "callable"),
        libraries=(script("Money", "var Money = 1;", "javascript"),),
    )

    write_directory(document, tmp_path)

    assert files_in(tmp_path) == {
        "configuration.json",
        "configuration.schema.json",
        "libraries/Money.js",
        "scripts/score.py",
        "scripts/tax.js",
    }
    assert (tmp_path / "scripts/score.py").read_text() == ECHO
    own = json.loads((tmp_path / "configuration.json").read_text())["scripts"][2]
    assert own == {"name": "own", "language": "callable", "code": "project.steps.own"}


def test_files_of_scripts_that_are_gone_are_removed_and_others_stay(tmp_path):
    write_directory(document_of(script("old"), script("kept")), tmp_path)
    (tmp_path / "scripts/test_kept.py").write_text("")
    (tmp_path / "README.md").write_text("")

    write_directory(document_of(script("kept")), tmp_path)

    assert files_in(tmp_path) == {
        "README.md",
        "configuration.json",
        "configuration.schema.json",
        "scripts/kept.py",
        "scripts/test_kept.py",
    }


names = st.text(min_size=1, max_size=100).filter(lambda name: name.isprintable() and name.strip())
codes = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda code: not code.startswith("\ufeff")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(10))
@given(
    codes=st.dictionaries(
        names | st.sampled_from(["..", "a/b", "a\\b", "A", "a", ".", "é" * 100]), codes
    )
)
def test_any_names_and_code_come_back_as_they_were(codes, tmp_path_factory):
    document = document_of(*(script(name, code) for name, code in codes.items()))
    directory = tmp_path_factory.mktemp("configuration")

    write_directory(document, directory)

    assert read_directory(directory) == {"$schema": "./configuration.schema.json", **document}
    assert {path.parent.name for path in directory.rglob("*.py")} <= {"scripts"}
    assert len(list(directory.rglob("*.py"))) == len(codes)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../secret.py", "is not below the directory"),
        ("/etc/hostname", "is not below the directory"),
        ("link.py", "is not below the directory"),
        ("nowhere.py", "No such file"),
        ("latin1.py", "is not UTF-8: byte 2 is wrong"),
        ("", "must be the name of a file"),
        (7, "must be the name of a file"),
    ],
)
def test_a_file_that_cannot_be_read_or_lies_elsewhere_is_refused_with_its_place(
    tmp_path, name, told
):
    directory = tmp_path / "configuration"
    directory.mkdir()
    (tmp_path / "secret.py").write_text("secret")
    (directory / "link.py").symlink_to(tmp_path / "secret.py")
    (directory / "latin1.py").write_bytes(b"# \xe9")
    document = {"scripts": [{"name": "ok", "code": ECHO}, {"name": "s", "codeFile": name}]}
    (directory / "configuration.json").write_text(json.dumps(document))

    with pytest.raises(CommandError, match=r"scripts\[1\]\.codeFile") as error:
        config("import", str(directory))

    assert told in str(error.value)
    assert "secret" not in str(error.value).replace("secret.py", "")


@pytest.mark.django_db
def test_a_directory_that_is_exported_and_imported_changes_nothing(tmp_path):
    (tmp_path / "demo.json").write_text(json.dumps(demo_document()))
    config("import", str(tmp_path / "demo.json"))

    config("export", "--directory", str(tmp_path / "one"))
    config("export", "--directory", str(tmp_path / "two"))

    assert config("import", str(tmp_path / "one"), "--prune") == "Nothing to change.\n"
    assert {
        name: (tmp_path / "one" / name).read_bytes() for name in files_in(tmp_path / "one")
    } == {name: (tmp_path / "two" / name).read_bytes() for name in files_in(tmp_path / "two")}


@pytest.mark.django_db
def test_a_check_ends_with_2_where_something_would_change_and_stores_nothing(tmp_path):
    (tmp_path / "demo.json").write_text(json.dumps(demo_document()))

    with pytest.raises(SystemExit) as would_change:
        config("import", str(tmp_path / "demo.json"), "--check")

    assert would_change.value.code == 2
    assert export_configuration()["scripts"] == []
    config("import", str(tmp_path / "demo.json"))
    assert config("import", str(tmp_path / "demo.json"), "--check") == "Nothing to change.\n"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("broken", [False, True])
def test_a_check_without_a_database_checks_the_document_alone(tmp_path, broken):
    document = demo_document()
    if broken:
        document["scripts"][0]["code"] = "def run("
    file = tmp_path / "demo.json"
    file.write_text(json.dumps(document))

    done = subprocess.run(
        [sys.executable, "manage.py", "config", "import", str(file), "--check"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == (1 if broken else 0), done.stderr
    assert ("The document is valid." in done.stdout) != broken
    assert ("scripts[0].code" in done.stderr) == broken


def test_the_schema_takes_the_demo_and_what_a_directory_has(tmp_path):
    validator = jsonschema_rs.validator_for(json.loads(schema_text()))
    write_directory(demo_document(), tmp_path)

    taken_apart = read_document((tmp_path / "configuration.json").read_bytes())

    assert validator.is_valid(demo_document())
    assert validator.is_valid(taken_apart)
    assert config("schema") == (tmp_path / "configuration.schema.json").read_text()


@pytest.mark.parametrize(
    "document",
    [
        {"flow": []},
        {"scripts": [{"name": "s"}]},
        {"scripts": [{"name": "s", "code": "x", "codeFile": "s.py"}]},
        {"queues": [{"name": "q", "size": 0}]},
        {"flows": [{"name": "f", "steps": [{"script": "s"}]}]},
        {"rbac": {"r": {"own": ["f"]}}},
    ],
)
def test_the_schema_refuses_what_an_import_refuses(document):
    assert not jsonschema_rs.validator_for(json.loads(schema_text())).is_valid(document)


def test_the_ending_of_a_file_is_its_language_where_the_entry_does_not_say_one(tmp_path):
    (tmp_path / "split.js").write_text("setData(context.Data)")
    (tmp_path / "split.py").write_text("def run(message, context): return message")
    entries = [{"name": name, "codeFile": f"split.{name}"} for name in ("js", "py")]
    other = {"name": "other", "codeFile": "split.js", "language": "python"}
    (tmp_path / "configuration.json").write_text(json.dumps({"scripts": [*entries, other]}))

    read = read_directory(tmp_path)

    languages = [each["language"] for each in read["scripts"]]
    assert languages == ["javascript", "python", "python"]
