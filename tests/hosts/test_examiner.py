"""What authors write is looked at in a process of its own, within bounds."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from scripts.examination import examiner as examination
from scripts.examination.examiner import MAX_WAITING, Examiner, ExaminerBusy, TooMuchToExamine
from scripts.examination.faults import MAX_CODE_BYTES, library_faults, schema_fault, script_faults
from scripts.examination.payload_schema import PayloadSchema
from scripts.protocol.schema import SchemaInvalid
from scripts.protocol.schema_size import MAX_EXPANSION
from tests.no_threads import no_new_threads
from tests.waiting import PATIENCE, wait_for

RUN = "def run(message, context): return message\n"


@pytest.fixture
def examiner() -> Iterator[Examiner]:
    examiner = Examiner()
    yield examiner
    examiner.close()


def doubled(levels: int, keyword: str = "anyOf") -> dict[str, Any]:
    """A schema of a few lines that has 2 ** levels ways to its end."""
    definitions: dict[str, Any] = {"a0": {"type": "integer"}}
    for level in range(1, levels + 1):
        reference = {"$ref": f"#/$defs/a{level - 1}"}
        definitions[f"a{level}"] = {keyword: [reference, reference]}
    return {"$defs": definitions, "$ref": f"#/$defs/a{levels}"}


# Of a list inside lists it looks at each member twice, and so on.
TWICE: dict[str, Any] = {
    "$defs": {
        "part": {
            "anyOf": [
                {"properties": {"a": {"$ref": "#/$defs/part"}}, "required": ["none"]},
                {
                    "allOf": [
                        {"properties": {"a": {"$ref": "#/$defs/part"}}},
                        {"properties": {"a": {"$ref": "#/$defs/part"}}},
                    ],
                    "required": ["a"],
                },
            ]
        }
    },
    "$ref": "#/$defs/part",
}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "code",
    [
        "import " + ".".join("a" * 20_000),
        "import " + ".".join("a" * 120_000),
        "x = " + "(" * 90 + "1" + ")" * 90 + "\n" + "x = [\n" * 150 + "]" * 150,
        "def run(message, context):\n" + "\n".join(f"{' ' * n}if 1:" for n in range(1, 110)),
        "x = " + "+".join("1" * 100_000),
        "[" * 120_000,
        "f'{" * 5_000,
    ],
)
def test_code_that_is_costly_to_compile_costs_this_process_nothing(code: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert script_faults("python", f"{RUN}{code}")
    assert library_faults("python", code)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert script_faults("python", RUN) == []


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_code_has_a_greatest_length(language: str) -> None:
    code = "é" * (MAX_CODE_BYTES // 2 + 1)

    (of_script,) = script_faults(language, code)
    (of_library,) = library_faults(language, code)

    assert str(of_script) == str(of_library)
    assert str(of_script) == "The code has 262146 bytes; at most 262144 are allowed."


def test_javascript_is_looked_at_there_too() -> None:
    assert script_faults("javascript", "setData(context.Data)") == []
    assert "line 2" in str(script_faults("javascript", "setData(1);\n)")[0])


def test_a_surrogate_in_code_is_a_fault_and_no_failure() -> None:
    assert script_faults("python", f"{RUN}x = '\ud800'")


@pytest.mark.parametrize("keyword", ["anyOf", "allOf", "oneOf"])
@pytest.mark.parametrize("levels", [18, 40, 3000])
def test_a_schema_with_too_many_ways_through_it_is_refused(keyword: str, levels: int) -> None:
    fault = f"With its references followed it has more than {MAX_EXPANSION} parts."

    assert schema_fault(doubled(levels, keyword)) == fault
    with pytest.raises(SchemaInvalid, match="more than"):
        PayloadSchema(doubled(levels, keyword))


def test_a_schema_has_a_greatest_length() -> None:
    assert "at most 262144 are allowed" in schema_fault({"enum": ["x" * MAX_CODE_BYTES]})


@pytest.mark.parametrize(
    "schema",
    [
        doubled(6),
        {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}},
        {"properties": {"children": {"items": {"$ref": "#"}}}},
        {"pattern": r"^(?=.*\d)(?!.*\s)(\w)\1*$"},
        {"pattern": r"^[\p{L} ]{1,200}$"},
        {"pattern": r"^\S{1,2000}$"},
    ],
)
def test_schemas_as_people_write_them_are_accepted(schema: dict[str, Any]) -> None:
    assert schema_fault(schema) == ""


def test_a_value_is_not_checked_for_longer_than_it_may() -> None:
    schema = PayloadSchema(TWICE)

    (fault,) = schema.faults(nested(190))

    assert fault["path"] == "$"
    assert "It takes more than 2 s or 256 MB to look at it." in fault["detail"]


def test_a_value_that_does_not_match_in_too_many_ways_is_refused_as_such() -> None:
    schema = PayloadSchema({"anyOf": [{"required": [f"a{n}"]} for n in range(400)]})

    (fault,) = schema.faults({"x": "y" * 900_000})

    assert fault["path"] == "$"
    assert fault["detail"].startswith("It does not match, and where cannot be said.")


def test_a_value_that_does_not_match_is_refused_while_others_are_looked_at() -> None:
    schema = PayloadSchema({"anyOf": [{"required": [f"a{n}"]} for n in range(400)]})
    schema._spent = 1e6

    (fault,) = schema.faults({"x": ["y"] * 20})

    assert fault["path"] == "$"
    assert fault["detail"].startswith("It does not match, and where cannot be said.")


def test_a_pattern_that_goes_back_does_not_take_for_ever() -> None:
    schema = PayloadSchema({"properties": {"a": {"pattern": r"^(?<!x)(a|aa)+\1$"}}})

    assert schema.faults({"a": "a" * 200_000 + "!"})


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(.*a){20}$"])
def test_ordinary_patterns_take_time_in_proportion_to_the_text(pattern: str) -> None:
    schema = PayloadSchema({"properties": {"a": {"pattern": pattern}}})

    (fault,) = schema.faults({"a": "a" * 19 + "!" * 30_000})

    assert fault["path"] == "$.a"


@pytest.mark.parametrize(
    ("schema", "value", "paths"),
    [
        ({"items": {"type": "integer"}}, [1, 2], []),
        ({"items": {"type": "integer"}}, [1, "a"], ["$[1]"]),
        ({"items": {"$ref": "#"}, "type": ["array", "integer"]}, [1, [2, ["a"]]], ["$[1][1][0]"]),
        ({"unevaluatedProperties": False}, {"a": 1}, ["$"]),
        ({"pattern": "^(?!a)"}, "ab", ["$"]),
        ({"pattern": "^(?!a)"}, "ba", []),
        ({"maximum": 12345678901234567890122}, 12345678901234567890123, ["$"]),
        ({"maximum": 12345678901234567890123}, 12345678901234567890123, []),
    ],
)
def test_plain_schemas_and_others_find_the_same(
    schema: dict[str, Any], value: object, paths: list[str]
) -> None:
    assert [fault["path"] for fault in PayloadSchema(schema).faults(value)] == paths


@pytest.mark.parametrize("schema", [{"items": {"type": "string"}}, {"items": {"$ref": "#"}}])
def test_a_value_that_is_nested_too_deep_has_a_fault(schema: dict[str, Any]) -> None:
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]

    assert PayloadSchema(schema).faults(deep)


def test_a_large_value_is_checked_elsewhere_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However busy the machine is.
    for limit in ("SECONDS", "TURN_SECONDS"):
        monkeypatch.setattr(examination, limit, PATIENCE)
    patient = replace(examination._PROGRAM, timeout_seconds=PATIENCE)
    monkeypatch.setattr(examination, "_PROGRAM", patient)
    schema = PayloadSchema({"items": {"properties": {"n": {"type": "integer"}}}})

    assert schema.faults([{"n": n} for n in range(200_000)]) == []
    assert [each["path"] for each in schema.faults([{"n": 1}] * 150_000 + [{"n": "x"}])] == [
        "$[150000].n"
    ]


def test_one_schema_does_not_take_the_process_from_the_others() -> None:
    costly, other = PayloadSchema(TWICE), PayloadSchema({"items": {"$ref": "#"}, "type": "array"})
    costly._spent = 1e6

    with pytest.raises(ExaminerBusy):
        costly.faults(nested(190))

    assert other.faults([[]]) == []


@pytest.mark.long
def test_only_a_few_wait_for_their_turn(examiner: Examiner) -> None:
    text, value = json.dumps(TWICE), json.dumps(nested(190))
    told: list[type[Exception] | None] = []

    def ask() -> None:
        try:
            examiner.examine("faults", text, value)
            told.append(None)
        except Exception as error:
            told.append(type(error))

    threads = [threading.Thread(target=ask) for _ in range(MAX_WAITING + 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told.count(ExaminerBusy) >= 5
    assert set(told) == {ExaminerBusy, TooMuchToExamine}
    assert examiner.examine("schema", "{}") == ""


def test_the_process_ends_with_the_examiner(examiner: Examiner) -> None:
    before = {child.pid for child in psutil.Process().children()}
    assert examiner.examine("schema", "{}") == ""
    (child,) = [each for each in psutil.Process().children() if each.pid not in before]

    examiner.close()

    wait_for(lambda: not psutil.pid_exists(child.pid))
    assert examiner.examine("schema", "{}") == ""


def test_a_forked_process_has_an_examiner_of_its_own(examiner: Examiner) -> None:
    assert script_faults("python", RUN) == []

    assert in_child(lambda: script_faults("python", RUN) == [])


def in_child(check: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_it_looks_at_something_after_no_thread_could_be_made_for_it(examiner: Examiner) -> None:
    for _ in range(MAX_WAITING):
        with no_new_threads(), pytest.raises(RuntimeError):
            examiner.examine("schema", "{}")

    assert examiner.examine("schema", "{}") == ""
