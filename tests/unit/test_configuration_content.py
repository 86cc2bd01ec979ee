import pytest

from flows.configuration.content import python_fault, schema_fault


@pytest.mark.parametrize(
    "code",
    [
        "def run(message, context):\n    return message\n",
        "def other(): ...\nrun = other\n",
        "run = lambda message, context: message",
        "if True:\n    def run(message, context): ...\n",
        "try:\n    from json import loads as run\nexcept ImportError:\n    run = None\n",
        "run: object = print",
        "import re\npattern = '\\d'\ndef run(message, context): return message",
    ],
)
def test_python_code_that_defines_run_is_accepted(code):
    assert python_fault(code) is None


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def run(message, context):\n    return (\n", "line 2: "),
        ("x = 1\nreturn x\n", "line 2: 'return' outside function"),
        ("def walk(message, context): ...", "does not define run"),
        ("class A:\n    def run(self): ...", "does not define run"),
        ("def outer():\n    def run(message, context): ...", "does not define run"),
        ("print(run)", "does not define run"),
        ("\n\nasync def run(message, context): ...", "line 3: run must be a plain function"),
        ("(" * 500, "line 1: "),
        ("x = " + "-" * 200_000 + "1", "does not compile"),
    ],
)
def test_other_python_code_is_refused_with_the_line(code, fault):
    found = python_fault(code)

    assert found is not None
    assert fault in found


def test_python_code_is_not_executed():
    assert python_fault("raise SystemExit(1)\ndef run(message, context): ...") is None


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"amount": {"minimum": 2**70}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
        {"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"},
    ],
)
def test_a_json_schema_is_accepted(schema):
    assert schema_fault(schema) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"properties": {"a": {"type": "wrong"}}}, "['properties']['a']['type']"),
        ({"pattern": "("}, "regex"),
        ({"$ref": "#/nowhere"}, "/nowhere"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "http://127.0.0.1:9/schema.json"),
        ({"$ref": "file:///etc/hostname"}, "file:///etc/hostname"),
        ({"$schema": "http://example.com/unknown"}, "http://example.com/unknown"),
    ],
)
def test_what_is_no_json_schema_or_points_outside_is_refused(schema, fault):
    found = schema_fault(schema)

    assert found is not None
    assert found.startswith("is not a JSON Schema")
    assert fault in found
