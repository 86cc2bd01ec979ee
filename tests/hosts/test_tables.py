"""Reference tables in real hosts: look-ups in both languages, versions, and memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import CallSite, Outcome, Program
from scripts.protocol.services import TABLE_SERVICE
from tests.hosts.given_tables import Given, GivenTables, table
from tests.hosts.pools import calls, collect_all
from tests.hosts.zygotes import Zygotes

SITE = CallSite("orders", "price", "to-price", False)
ZIPS = b"zip,town\n10115,Berlin\n20095,Hamburg\n"
OWN = b"a,b\nsize,row\nthen,late\n"
RATES = b'{"EUR": {"rate": 1.50, "big": 12345678901234567890123}, "USD": null}'


@pytest.fixture(scope="module")
def source() -> GivenTables:
    missing = Given("missing", problem="There is no table 'missing' in this installation.")
    broken = Given("broken", problem="The table 'broken' cannot be used now.", is_passing=True)
    return GivenTables(
        table("zip", ZIPS), table("rates", RATES, "json"), table("own", OWN), missing, broken
    )


@pytest.fixture(scope="module")
def pool(source: GivenTables, zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool(services=lambda: {TABLE_SERVICE: source})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def program(language: str, code: str, *tables: str, memory_mb: int = 64) -> Program:
    return Program(1, "pricing", language, code, 20, memory_mb, tables=tables)


def run(pool: HostPool, script: Program, payloads: list[Any]) -> list[Outcome]:
    pool.submit(script, SITE, calls(payloads), 1)
    return [outcome for _, outcome in sorted(collect_all(pool).items())]


def result(pool: HostPool, language: str, expression: str, *tables: str) -> Any:
    """Return what an expression, of the payload p, gives in that language."""
    if language == "python":
        code = (
            "def run(message, context):\n"
            "    p = message['payload']\n"
            f"    message['payload'] = {expression}\n"
            "    return message\n"
        )
    else:
        code = (
            "const p = context.Data.payload;\n"
            f"context.Data.payload = {expression};\nsetData(context.Data);"
        )
    (outcome,) = run(pool, program(language, code, *tables), ["10115"])
    if outcome.error is not None:
        return str(outcome.error)
    return outcome.output


LOOK_UPS = [
    # Python, JavaScript, what the output has.
    ('context.table("zip")[p]["town"]', 'context.table("zip").get(p).town', '"Berlin"'),
    ('context.table("zip")[p]["town"]', 'context.table("zip")[p].town', '"Berlin"'),
    ('context.table("zip")[20095]', 'context.table("zip")[20095]',
     '{"zip":"20095","town":"Hamburg"}'),
    ('[p in context.table("zip"), "name" in context.table("zip")]',
     '[p in context.table("zip"), "name" in context.table("zip")]', "[true,false]"),
    ('context.table("rates")["USD"]', 'context.table("rates")["USD"]', "null"),
    ('context.table("own")["size"]["b"]', 'context.table("own").get("size").b', '"row"'),
    ('context.table("own")["then"]["b"]', '(await context.table("own")).then.b', '"late"'),
    ('[*context.table("zip")]', '[...context.table("zip")].map(([key]) => key)',
     '["10115","20095"]'),
    ('context.table("zip").get(20095)', 'context.table("zip").get(20095)',
     '{"zip":"20095","town":"Hamburg"}'),
    ('context.table("zip").get("0")', 'context.table("zip").get("0") ?? null', "null"),
    ('context.table("zip").get("0", "d")', 'context.table("zip").get("0", "d")', '"d"'),
    ('[p in context.table("zip"), "0" in context.table("zip")]',
     '[context.table("zip").has(p), context.table("zip").has("0")]', "[true,false]"),
    ('len(context.table("zip"))', 'context.table("zip").size', "2"),
    ('list(context.table("zip"))', '[...context.table("zip").keys()]', '["10115","20095"]'),
    ('list(context.table("zip").columns)', 'context.table("zip").columns', '["zip","town"]'),
    ('context.table("rates")["EUR"]', 'context.table("rates").get("EUR")',
     '{"rate":1.50,"big":12345678901234567890123}'),
    ('context.table("rates")["USD"]', 'context.table("rates").get("USD")', "null"),
    ('dict(context.table("rates").items())', 'Object.fromEntries(context.table("rates"))',
     '{"EUR":{"rate":1.50,"big":12345678901234567890123},"USD":null}'),
]  # fmt: skip


@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize(("in_python", "in_javascript", "words"), LOOK_UPS)
def test_rows_are_looked_up_digit_for_digit(
    pool: HostPool, language: str, in_python: str, in_javascript: str, words: str
):
    expression = in_python if language == "python" else in_javascript

    output = result(pool, language, expression, "zip", "rates", "own")

    assert f'"payload":{words}' in output.decode()


@pytest.mark.parametrize(
    ("in_python", "in_javascript", "words"),
    [
        ('context.table("rates")', 'context.table("rates")', "was not given a table 'rates'"),
        ('context.table("missing")', 'context.table("missing")', "There is no table 'missing'"),
        ('context.table("broken")', 'context.table("broken")', "cannot be used now"),
        (
            'context.table("zip")["0"]',
            'context.table("zip")["0"]',
            "There is no key '0' in the table",
        ),
        ('context.table("zip")["0"]["x"]', 'context.table("zip")["0"]?.x', "There is no key '0'"),
        ('context.table("zip")["keyz"]()', 'context.table("zip").keyz()', "There is no key 'keyz'"),
        ('context.table("zip")[{}]', 'context.table("zip").get({})', "key"),
        (
            'context.table("zip")[None]',
            'context.table("zip").get(null)',
            "key of a table is a text",
        ),
        ("context.table(7)", "context.table(7)", "ab"),
        (
            'context.table("zip").get("0", 1, 2)',
            'context.table("zip").get("0", 1, 2)',
            "arguments",
        ),
    ],
)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_what_is_not_there_is_an_error_with_the_reason(
    pool: HostPool, language: str, in_python: str, in_javascript: str, words: str
):
    expression = in_python if language == "python" else in_javascript

    error = result(pool, language, expression, "zip", "missing", "broken")

    assert words in error


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("{ ...context.table('zip') }", "the keys of a table are in table.keys()"),
        ("Object.keys(context.table('zip'))", "the keys of a table are in table.keys()"),
        ("context.table('zip')", "the keys of a table are in table.keys()"),
        ("(context.table('zip')['0'] = 1)", "a table cannot be changed"),
        ("delete context.table('zip').name", "a table cannot be changed"),
    ],
)
def test_javascript_is_told_what_a_table_is_not(pool: HostPool, expression: str, words: str):
    assert words in result(pool, "javascript", expression, "zip")


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_message_that_comes_after_a_new_version_sees_it(
    pool: HostPool, source: GivenTables, language: str
):
    code = {
        "python": "def run(m, c):\n    m['payload'] = c.table('v')['a']['b']\n    return m\n",
        "javascript": "context.Data.payload = context.table('v').get('a').b;"
        " setData(context.Data);",
    }
    script = program(language, code[language], "v")
    seen = []
    for version in ("1", "2", "3"):
        source.tables["v"] = table("v", f"a,b\na,{version}\n".encode(), identity=int(version))

        outcomes = run(pool, script, [0, 0, 0])

        seen.append({json.loads(outcome.output or b"")["payload"] for outcome in outcomes})

    assert seen == [{"1"}, {"2"}, {"3"}]


def test_messages_wait_while_a_table_is_made(pool: HostPool, source: GivenTables):
    script = program(
        "python", "def run(m, c):\n    m['payload'] = len(c.table('zip'))\n    return m\n", "zip"
    )
    source.is_making = True
    pool.submit(script, SITE, calls([0]), 1)

    assert pool.collect(0.05) == []
    source.is_making = False
    (outcome,) = collect_all(pool).values()

    assert outcome.error is None


@pytest.mark.long
def test_a_table_does_not_count_against_the_memory_of_a_script(pool: HostPool, source: GivenTables):
    rows = b"".join(b"%d,%s\n" % (number, b"x" * 1000) for number in range(40_000))
    source.tables["large"] = table("large", b"key,text\n" + rows)
    script = program(
        "python",
        "def run(m, c):\n"
        "    m['payload'] = sum(len(row['text']) for row in c.table('large').values())\n"
        "    return m\n",
        "large",
        memory_mb=16,
    )

    (outcome,) = run(pool, script, [0])

    assert outcome.error is None
    assert json.loads(outcome.output or b"")["payload"] == 40_000_000
