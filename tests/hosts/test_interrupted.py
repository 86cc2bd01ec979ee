"""Scripts that are ended: what they have said and where they were is there, whatever ends them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, Outcome, Program
from scripts.protocol.errors import ScriptKilled, ScriptOutOfMemory, ScriptTimedOut
from tests.hosts.pools import SITE, children
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("time_to_tell")

BODY = b'{"correlationId":"c","payload":{}}'

PYTHON_LOOP = """\
import re, time


def busy(context):
    context.log("in the loop", "WARN")
    {body}


def run(message, context):
    context.log("begun")
    busy(context)
"""
JAVASCRIPT_LOOP = """\
function busy() {{
  log("in the loop", "WARN");
  let i = 0;

  {body}
}}
log("begun");
{call}
"""


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool(services=lambda: {"http": _slow})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def _slow(*_: object) -> dict[str, object]:
    time.sleep(5)
    return {}


def begin(pool: HostPool, language: str, code: str, seconds: float, memory_mb: int = 128) -> None:
    program = Program(id(code), "pricing", language, code, seconds, memory_mb, network=True)
    pool.submit(program, SITE, [Call("key", "c", 1, "d", BODY)], 1)


def end(pool: HostPool) -> Outcome:
    [outcome] = wait_for(lambda: pool.collect(0.1), PATIENCE)
    return outcome


def said(outcome: Outcome) -> list[tuple[str, str]]:
    return [(line["level"], line["text"]) for line in outcome.logs]


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "re.match('(a+)+b', 'a' * 40)",
        "time.sleep(100)",
        "sum(x for x in iter(int, 1))",
    ],
)
def test_a_time_limit_tells_the_line_and_the_log_of_python(pool: HostPool, body: str) -> None:
    begin(pool, "python", PYTHON_LOOP.format(body=body), 0.3)

    outcome = end(pool)

    assert isinstance(outcome.error, ScriptTimedOut)
    assert str(outcome.error).startswith("The script ran longer than its time limit of 0.3 s.")
    assert "line 6 in " in str(outcome.error)
    assert 'File "pricing", line 6, in busy\n    ' + body[:5] in outcome.error.traceback
    assert 'File "pricing", line 11, in run\n    busy(context)' in outcome.error.traceback
    assert said(outcome) == [("info", "begun"), ("warning", "in the loop")]


@pytest.mark.parametrize("call", ["busy();", "await busy();", "(async () => { busy(); })();"])
@pytest.mark.parametrize(
    "body",
    [
        "while (true) {}",
        "for (;;);",
        "while (true) { i++; }",
        "/^(a+)+$/.test('a'.repeat(40) + 'b');",
    ],
)
def test_a_time_limit_tells_the_line_and_the_log_of_javascript(
    pool: HostPool, body: str, call: str
) -> None:
    begin(pool, "javascript", JAVASCRIPT_LOOP.format(body=body, call=call), 0.3)

    outcome = end(pool)

    assert isinstance(outcome.error, ScriptTimedOut)
    assert "time limit of 0.3 s. It was at line 5 in busy()." in str(outcome.error)
    assert "    at busy (pricing:5:" in outcome.error.traceback
    assert "engine" not in outcome.error.traceback
    assert said(outcome) == [("info", "begun"), ("warning", "in the loop")]


@pytest.mark.parametrize(
    ("language", "code", "where"),
    [
        (
            "python",
            "def run(m, c):\n    c.log('x')\n    c.http.get('https://a.test/b?c')",
            "line 3",
        ),
        ("javascript", "log('x'); await http.get('https://a.test/b?c'); setData(1)", "GET https"),
    ],
)
def test_a_time_limit_tells_what_the_script_waits_for(
    pool: HostPool, language: str, code: str, where: str
) -> None:
    begin(pool, language, code, 0.3)

    outcome = end(pool)

    assert isinstance(outcome.error, ScriptTimedOut)
    assert where in str(outcome.error)
    assert "?c" not in str(outcome.error)
    assert said(outcome) == [("info", "x")]


ENDLESS = {
    "python": "def run(m, c):\n    c.log('begun')\n    while True: pass",
    "javascript": "log('begun'); while (true) {}",
}


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_killed_host_leaves_the_log(pool: HostPool, language: str) -> None:
    begin(pool, language, ENDLESS[language], 20)
    wait_for(
        lambda: pool.collect(0.01) or any(each.logs for each in pool.running({"key"}, 0)), PATIENCE
    )

    assert pool._hosts.zygote is not None
    for host in children(pool._hosts.zygote._process.pid):
        os.kill(host, signal.SIGKILL)

    outcome = end(pool)
    assert isinstance(outcome.error, ScriptKilled)
    assert said(outcome) == [("info", "begun")]


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_running_call_shows_its_log_and_a_cancelled_one_keeps_it(
    pool: HostPool, language: str
) -> None:
    begin(pool, language, ENDLESS[language], 20)
    wait_for(
        lambda: pool.collect(0.01) or any(each.logs for each in pool.running({"key"}, 0)), PATIENCE
    )
    [running] = pool.running({"key"}, 0)

    pool.cancel({"key"})

    outcome = end(pool)
    assert [line["text"] for line in running.logs] == ["begun"]
    assert running.started_at == pytest.approx(outcome.started_at, abs=0.5)
    assert (str(outcome.error), said(outcome)) == ("cancelled", [("info", "begun")])


@pytest.mark.parametrize(
    ("language", "code"),
    [
        (
            "python",
            "def run(m, c):\n    c.log('begun')\n    x = []\n    while True: x.append('a' * 99999)",
        ),
        ("javascript", "log('begun'); const x = []; for (;;) x.push('a'.repeat(9) + x.length)"),
    ],
)
def test_a_script_without_memory_keeps_its_log(pool: HostPool, language: str, code: str) -> None:
    begin(pool, language, code, 20, 64)

    outcome = end(pool)

    assert isinstance(outcome.error, ScriptOutOfMemory | ScriptKilled)
    assert said(outcome) == [("info", "begun")]


def test_the_log_of_an_ended_call_has_its_first_and_last_lines(pool: HostPool) -> None:
    code = (
        "import time\ndef run(m, c):\n    for i in range(3000): c.log(i, 'x' * 5000)\n"
        "    c.log('the last')\n    time.sleep(600)"
    )
    begin(pool, "python", code, 5)

    outcome = end(pool)

    texts = [line["text"].split()[0] for line in outcome.logs]
    assert texts[:10] == [str(i) for i in range(10)]
    assert texts[-3:] == ["2998", "2999", "the"]
    counted = [int(line["text"].split()[0]) for line in outcome.logs if "left out" in line["text"]]
    assert counted == [3001 - (len(outcome.logs) - 1)]
