"""Errors that no repetition can heal: the host tells them from others, in both languages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.disposition import DeadLetterReason, Disposition
from flows.worker.redelivery import after_call
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, Outcome, Program
from scripts.protocol.errors import ScriptInvalid
from scripts.protocol.services import SECRET_SERVICE, SIGN_SERVICE, TABLE_SERVICE, Service
from scripts.services.engine import SecretService
from scripts.services.outside_calls import OutsideCalls
from scripts.services.signatures import Signatures
from tests.hosts.given_tables import GivenTables
from tests.hosts.pools import SITE
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

BODY = b'{"correlationId":"c","payload":{}}'


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool(services=_services)
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def _services() -> dict[str, Service]:
    keys = SecretService(for_scripts=False)
    return {
        "http": OutsideCalls(secrets=keys),
        SECRET_SERVICE: SecretService(),
        SIGN_SERVICE: Signatures(keys),
        TABLE_SERVICE: GivenTables(),
    }


def run(pool: HostPool, language: str, code: str, network: bool = False) -> Outcome:
    program = Program(
        id(code), "pricing", language, code, 20, 128, network=network, allowed_hosts=("a.test",)
    )
    pool.submit(program, SITE, [Call("key", "c", 1, "d", BODY)], 1)
    [outcome] = wait_for(lambda: pool.collect(0.1), PATIENCE)
    return outcome


PYTHON_GET = "def run(m, c):\n    c.log('x')\n    return c.http.get('https://b.test/')"
JAVASCRIPT_GET = "log('x');\nawait http.get('https://b.test/');\nsetData(context.Data)"


@pytest.mark.parametrize(
    ("language", "code", "line", "said"),
    [
        ("python", "def run(m, c):\n    import os\n    return m", 2, "'os' may not be imported"),
        ("python", "import numpy\ndef run(m, c): return m", 1, "'numpy' may not be imported"),
        ("python", "from json import nothing\ndef run(m, c): return m", 1, "cannot import name"),
        ("python", "def run(m, c)\n    return m", 1, "expected ':'"),
        ("python", "def run(m): return m", 1, "run must take (message, context)"),
        ("python", "def go(m, c): return m", None, "has no run(message, context)"),
        ("python", PYTHON_GET, 3, "network access is off"),
        ("javascript", "import x from 'y';", 1, "line 1"),
        ("javascript", "let x = ;", 1, "line 1"),
        ("javascript", JAVASCRIPT_GET, 2, "network access is off"),
        ("javascript", "log(1);\nrequire('fs');", 2, "list a library on the script"),
        ("javascript", "await fetch('https://b.test/');", 1, "use http.get(url)"),
        ("javascript", "setTimeout(() => 1, 5);", 1, "there are no timers"),
    ],
)
def test_what_can_never_work_is_a_dead_letter_at_once(
    pool: HostPool, language: str, code: str, line: int | None, said: str
) -> None:
    error = run(pool, language, code).error

    decision = after_call(error)
    assert isinstance(error, ScriptInvalid)
    assert said in str(error)
    assert error.line == line
    assert decision.disposition is Disposition.DEAD_LETTERED
    assert decision.reason is DeadLetterReason.CANNOT_WORK
    assert said in decision.error


@pytest.mark.parametrize(
    ("language", "code"), [("python", PYTHON_GET), ("javascript", JAVASCRIPT_GET)]
)
def test_a_host_that_is_not_allowed_can_never_be_called(
    pool: HostPool, language: str, code: str
) -> None:
    error = run(pool, language, code, network=True).error

    assert after_call(error).reason is DeadLetterReason.CANNOT_WORK
    assert "b.test" in str(error)


@pytest.mark.parametrize(
    ("in_python", "in_javascript"),
    [
        ('c.secrets["key"]', 'context.secrets["key"]'),
        ('c.table("zip")', 'context.table("zip")'),
        ('c.sign("RS256", "key", "text")', 'await context.sign("RS256", "key", "text")'),
        (
            'c.http.get("https://a.test/", ca="key")',
            'await http.get("https://a.test/", {ca: "key"})',
        ),
    ],
)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_what_the_script_does_not_list_can_never_be_used(
    pool: HostPool, language: str, in_python: str, in_javascript: str
) -> None:
    code = {
        "python": f"def run(m, c):\n    return {in_python}",
        "javascript": f"log(1);\n{in_javascript};",
    }
    error = run(pool, language, code[language], network=True).error

    assert after_call(error).reason is DeadLetterReason.CANNOT_WORK
    assert isinstance(error, ScriptInvalid)
    assert error.line == 2
    assert "was not given a" in str(error)


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_script_may_ask_for_what_it_does_not_list_and_go_on(
    pool: HostPool, language: str
) -> None:
    code = {
        "python": "def run(m, c):\n    m['payload'] = c.secrets.get('key', 7)\n    return m",
        "javascript": "try { context.secrets.key } catch { context.Data.payload = 7 }\n"
        "setData(context.Data);",
    }
    outcome = run(pool, language, code[language])

    assert outcome.error is None
    assert b'"payload":7' in (outcome.output or b"")


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "def run(m, c): raise ValueError('no luck')"),
        ("python", "def run(m, c): run(1)"),
        (
            "python",
            "def run(m, c):\n    try: import os\n    except ImportError: pass\n    return m['x']",
        ),
        ("javascript", "throw new Error('no luck')"),
        (
            "javascript",
            "throw Object.assign(new Error('x'), { kind: 'timeout', name: 'HttpError' })",
        ),
    ],
)
def test_other_errors_are_redelivered(pool: HostPool, language: str, code: str) -> None:
    outcome = run(pool, language, code)

    assert after_call(outcome.error).disposition is Disposition.RETRY
