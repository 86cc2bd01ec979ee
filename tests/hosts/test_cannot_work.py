"""Errors that no repetition can heal: the host tells them from others, in both languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flows.disposition import DeadLetterReason, Disposition
from flows.worker.redelivery import after_call
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, Outcome, Program
from scripts.protocol.errors import ScriptInvalid
from scripts.protocol.services import (
    CACHE_SERVICE,
    CONFIG_SERVICE,
    SECRET_SERVICE,
    SIGN_SERVICE,
    TABLE_SERVICE,
    RequestFailed,
    Service,
)
from scripts.services.engine import SecretService
from scripts.services.outside_calls import OutsideCalls
from scripts.services.shared_values import SharedValues
from scripts.services.signatures import Signatures
from tests.hosts import given_tables as tables
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
        CACHE_SERVICE: SharedValues(),
    }


class Given:
    """An installation without what a script lists, but for a secret that no script reads."""

    def __init__(self, zygotes: Zygotes) -> None:
        # The values that a worker knows, also from the second time on, and those that there are.
        self.known: dict[str, str] = {}
        self.next: dict[str, str] = {}
        self.newest: dict[str, str] = {}
        # Whether a value that is missing cannot be looked up, and how often one was.
        self.is_down, self.lookups = False, 0
        missing = tables.Given("zip", problem="There is no table 'zip' in this installation.")
        services: dict[str, Service] = {
            "http": OutsideCalls(secrets=self._secret, config=self._values),
            SECRET_SERVICE: self._secret,
            SIGN_SERVICE: Signatures(self._secret),
            TABLE_SERVICE: GivenTables(missing),
            CONFIG_SERVICE: self._values,
        }
        self.pool = HostPool(services=lambda: services)
        zygotes.lend_to(self.pool)

    def run(self, language: str, in_python: str, in_javascript: str, before: str = "") -> Outcome:
        code = {
            "python": f"{before}def run(m, c):\n    m['payload'] = {in_python}\n    return m",
            "javascript": f"context.Data.payload = ({in_javascript});\nsetData(context.Data);",
        }[language]
        program = Program(
            id(code), "pricing", language, code, 20, 128, network=True,
            allowed_hosts=("a.test", "config:shop.url"),
            secrets=("key", "signing"), tables=("zip",),
        )  # fmt: skip
        self.pool.submit(program, SITE, [Call("key", "c", 1, "d", BODY)], 1)
        [outcome] = wait_for(lambda: self.pool.collect(0.1), PATIENCE)
        return outcome

    def _secret(self, program: Program, request: dict[str, Any], _: float) -> dict[str, Any]:
        if request["name"] == "signing":
            raise RequestFailed("It is not readable by scripts.", "not-readable")
        raise RequestFailed(f"There is no secret {request['name']!r}.", "unknown")

    def _values(self, program: Program, request: dict[str, Any], _: float) -> dict[str, Any]:
        if not request.get("isNewest"):
            values, self.known = self.known, self.next or self.known
            return {"values": values}
        self.lookups += 1
        if self.is_down:
            raise RequestFailed("The values cannot be read now.", "unavailable")
        return {"values": self.newest}


@pytest.fixture
def given(zygotes: Zygotes) -> Iterator[Given]:
    given = Given(zygotes)
    yield given
    given.pool.close()


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
        ("javascript", "setTimeout(() => 1, 5);", 1, "wait(seconds, reason)"),
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


WRONG_CALLS = [
    ('raise Reject("r", kode="J2")', 'reject("r", "J2");'),
    ('raise Reject("r", "c", "d", "e")', 'reject("r", {}, "e");'),
    ('raise Wait(-1)', 'wait(-1);'),
    ('raise Wait([1])', 'wait([1]);'),
    ('raise Retry(float("nan"))', 'retry(NaN);'),
    ('c.log("x", level="loud")', 'log("x", {level: "loud"});'),
    ('c.progress("many")', 'context.progress("many");'),
    ('c.progress(1, 2, "x", 3)', 'context.progress(1, 2, "x", 3);'),
    ('c.progress(1, -2)', 'context.progress(1, -2);'),
    ('c.go()', 'context.go();'),
    ('c.go("next", 1, 2)', 'context.go("next", 1, 2);'),
    ('c.finish(1, 2)', 'context.finish(1, 2);'),
    ('c.finish(1); c.fnish(2)', 'context.finish(1); setData(2);'),
    ('c.state.set("k")', 'await context.state.set("k");'),
    ('c.state.set(5, 1)', 'await context.state.set(5, 1);'),
    ('c.state.set("k", 1, expires=-1)', 'await context.state.set("k", 1, {expires: -1});'),
    ('c.state.set("k", 1, expire=1)', 'await context.state.set("k", 1, {expire: 1});'),
    ('c.state.increment("k", "x")', 'await context.state.increment("k", "x");'),
    ('c.state.nope("k")', 'await context.state.nope("k");'),
    ('c.state["k"] = 5', 'context.state.k = 5;'),
    ('c.state.k', 'context.state.k;'),
    ('del c.state["k"]', 'delete context.state.k;'),
    ('c.correlationID', 'context.correlationID;'),
    ('c.secrets["k"] = 5', 'context.secrets.k = 5;'),
    ('c.config["k"] = 5', 'context.config.k = 5;'),
    ('c.start("f", {}, labels=5)', 'await context.start("f", {}, 5);'),
    ('c.start("f", {}, kee=5)', 'await context.start("f", {}, {kee: 5});'),
    ('c.start("f", {}, key={5})', 'await context.start("f", {}, {key: 5, x: 1});'),
    ('c.cached("k", "soon", int)', 'await context.cached("k", "soon", () => 1);'),
    ('c.cached("k", 0, int)', 'await context.cached("k", 0, () => 1);'),
    ('c.cached("k", float("inf"), int)', 'await context.cached("k", Infinity, () => 1);'),
    ('c.cached("k", True, int)', 'await context.cached("k", true, () => 1);'),
    ('c.cached("", 5, int)', 'await context.cached("", 5, () => 1);'),
    ('c.http.get("https://a.test/", time=5)', 'await http.get("https://a.test/", {time: 5});'),
    ('c.http.get("https://a.test/", headers=5)', 'await http.get("https://a/", {headers: 5});'),
    ('c.http.get("a.test")', 'await http.get("a.test");'),
    ('c.http.get("https://a.test/", timeout=-1)', 'await http.get("https://a/", {timeout: -1});'),
    ('c.http.fetch("https://a.test/")', 'await http.fetch("https://a.test/");'),
    ('c.table("zip")[1.5]', 'context.table("zip").get(1.5);'),
    ('c.table()', 'context.table();'),
    ('c.sign("RS256", "key", 5)', 'await context.sign("RS256", "key", 5);'),
    ('c.sign("none", "key", "x")', 'await context.sign("none", "key", "x");'),
    ('c.jwt({}, "key", "RS-256")', 'await context.jwt({}, "key", {algorithm: "RS-256"});'),
    ('c.nope()', 'context.nope();'),
    ('c.nope.again', 'context.nope.again;'),
    ('pric(m)', 'pric(context.Data);'),
    ('import math; math.sqroot(2)', 'Math.sqroot(2);'),
]  # fmt: skip


@pytest.mark.parametrize(("in_python", "in_javascript"), WRONG_CALLS)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_wrong_calls_and_unknown_names_are_dead_letters_at_once(
    pool: HostPool, language: str, in_python: str, in_javascript: str
) -> None:
    code = {
        "python": f"def run(m, c):\n    {in_python}\n    return m",
        "javascript": f"log(1);\n{in_javascript}\nsetData(context.Data);",
    }
    error = run(pool, language, code[language], network=True).error

    assert after_call(error).disposition is Disposition.DEAD_LETTERED, error
    assert isinstance(error, ScriptInvalid), error
    assert error.line == 2, error.traceback


@pytest.mark.parametrize(
    ("in_python", "in_javascript", "said"),
    [
        ("c.secrets['key']", "context.secrets.key", "There is no secret 'key'"),
        ("c.secrets['signing']", "context.secrets.signing", "not readable by scripts"),
        ("c.config['shop']", "context.config.shop", "There is no value 'shop'"),
        ("c.table('zip')", "context.table('zip')", "There is no table 'zip'"),
        ("c.sign('HS256', 'key', 'x')", "await context.sign('HS256', 'key', 'x')", "no secret"),
        (
            "c.http.get('https://a.test/', ca='key')",
            "await http.get('https://a.test/', {ca: 'key'})",
            "There is no secret 'key'",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_what_the_installation_lacks_is_a_dead_letter_at_once(
    given: Given, language: str, in_python: str, in_javascript: str, said: str
) -> None:
    error = given.run(language, in_python, in_javascript).error

    assert after_call(error).reason is DeadLetterReason.CANNOT_WORK, error
    assert said in str(error)


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_value_that_was_just_entered_is_there(given: Given, language: str) -> None:
    in_python, in_javascript = "c.config['shop']", "context.config.shop"
    without = given.run(language, in_python, in_javascript)

    given.newest["shop"] = "10 €"
    entered = given.run(language, in_python, in_javascript)

    assert isinstance(without.error, ScriptInvalid)
    assert json.loads(entered.output or b"")["payload"] == "10 €"


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_value_that_cannot_be_read_now_is_redelivered(given: Given, language: str) -> None:
    given.is_down = True

    error = given.run(language, "c.config['shop']", "context.config.shop").error

    assert after_call(error).disposition is Disposition.RETRY, error
    assert "cannot be read now" in str(error)


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_missing_value_is_looked_up_once_for_a_message(given: Given, language: str) -> None:
    outcome = given.run(
        language,
        "[value(c) for _ in range(50)]",
        "[...Array(50)].map(() => { try { return context.config.shop } catch { return 'none' } })",
        "def value(c):\n    try: return c.config['shop']\n    except KeyError: return 'none'\n",
    )

    assert json.loads(outcome.output or b"")["payload"] == ["none"] * 50
    assert given.lookups == 1


CALL_OF_VALUE = (
    "c.http.get(c.config['shop.url'], timeout=0.1).status",
    "(await http.get(context.config['shop.url'], {timeout: 0.1})).status",
)


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_host_is_redelivered_whose_value_was_changed_after_it_was_read(
    given: Given, language: str
) -> None:
    given.known = {"shop.url": "https://old.test/"}
    given.next = given.newest = {"shop.url": "https://new.test/"}

    error = given.run(language, *CALL_OF_VALUE).error

    assert after_call(error).disposition is Disposition.RETRY, error
    assert "may not call old.test" in str(error)


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_host_that_its_value_does_not_have_is_a_dead_letter_at_once(
    given: Given, language: str
) -> None:
    given.known = given.newest = {"shop.url": "https://old.test/"}

    error = given.run(
        language,
        "[c.config['shop.url'], c.http.get('https://x.test/')]",
        "[context.config['shop.url'], await http.get('https://x.test/')]",
    ).error

    assert after_call(error).reason is DeadLetterReason.CANNOT_WORK, error


OWN_CLASS = """
class Response:
    def take(self, amount): ...
"""


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", f"{OWN_CLASS}\ndef run(m, c): return Response().total"),
        ("python", f"{OWN_CLASS}\ndef run(m, c): return Response().take()"),
        ("python", f"{OWN_CLASS}\ndef run(m, c): return Response()[0]"),
        ("javascript", "const total = (context) => context.order.total;\nsetData(total({}));"),
        ("javascript", "const http = {};\nhttp.order.total;\nsetData(1);"),
        ("javascript", "for (const http of [{}]) http.take();\nsetData(1);"),
        ("javascript", "if (context.attempt > 5) rate = 1;\nsetData(rate);"),
    ],
)
def test_an_own_name_that_is_one_of_the_engine_too_is_redelivered(
    pool: HostPool, language: str, code: str
) -> None:
    error = run(pool, language, code).error

    assert after_call(error).disposition is Disposition.RETRY, error


@pytest.mark.parametrize(
    "mistake", [("pric(1)", "pric(1)"), ("c.progress('x')", "context.progress('x')")]
)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_mistake_after_a_failed_call_is_redelivered(
    given: Given, language: str, mistake: tuple[str, str]
) -> None:
    outcome = given.run(
        language,
        f"[fails(c), {mistake[0]}]",
        f"await http.get('https://a.test/', {{timeout: 0.1}}).catch(() => 0), {mistake[1]}",
        "def fails(c):\n"
        "    try: c.http.get('https://a.test/', timeout=0.1)\n"
        "    except c.http.Error: return 1\n",
    )

    assert outcome.error is not None
    assert after_call(outcome.error).disposition is Disposition.RETRY
