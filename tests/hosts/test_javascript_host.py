"""JavaScript in a real, sandboxed host: its limits, its rates, and what it cannot reach."""

from collections.abc import Iterator
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import LibraryCode, Outcome, Program
from scripts.protocol.errors import (
    OutputInvalid,
    ScriptInvalid,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptTimedOut,
)
from tests.hosts.pools import SITE, calls, collect_all, payload
from tests.hosts.zygotes import Zygotes

LIBRARY = LibraryCode(
    "Tax", "var Tax = Tax || (function () { return { of: function (n) { return n / 4; } }; });"
)


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool()
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def run_all(
    pool: HostPool,
    code: str,
    payloads: list[Any],
    *,
    hosts: int = 1,
    timeout_seconds: float = 20,
    memory_mb: int = 128,
    libraries: tuple[LibraryCode, ...] = (),
) -> list[Outcome]:
    program = Program(1, "pricing", "javascript", code, timeout_seconds, memory_mb, libraries)
    pool.submit(program, SITE, calls(payloads), hosts)
    outcomes = collect_all(pool)
    return [outcomes[key] for key in range(len(payloads))]


def test_messages_go_through_in_groups(pool: HostPool) -> None:
    code = "const m = context.Data; m.payload = new Tax().of(m.payload); log('x'); setData(m);"

    outcomes = run_all(pool, code, list(range(500)), hosts=2, libraries=(LIBRARY,))

    assert [payload(outcome) for outcome in outcomes] == [n / 4 for n in range(500)]
    assert all([line["text"] for line in outcome.logs] == ["x"] for outcome in outcomes)


def test_output_is_checked_as_a_message(pool: HostPool) -> None:
    code = "const p = context.Data.payload; setData(p === 0 ? { payload: 1 } : p === 1 ? null : [])"

    mended, empty, none = run_all(pool, code, [0, 1, 2])

    assert mended.output == b'{"correlationId":"c-0","payload":1}'
    assert mended.warning == "correlationId was missing and restored"
    assert type(empty.error) is OutputInvalid
    assert none.output == b"[]"


def test_logs_have_the_time_at_which_they_were_said(pool: HostPool) -> None:
    code = """
log("a"); const start = Date.now(); while (Date.now() < start + 30); log("b");
setData(context.Data)"""

    outcome = run_all(pool, code, [0])[0]

    first, second = (line["at"] for line in outcome.logs)
    assert outcome.started_at - 0.002 <= first <= second - 0.02
    assert second <= outcome.finished_at + 0.002


@pytest.mark.parametrize(
    "code",
    [
        "for (;;);",
        "for (;;) { try { null.x } catch {} }",
        "const again = () => Promise.resolve().then(again); await again();",
        "/^(a+)+$/.test('a'.repeat(50) + 'b');",
        "Array(1e9).join('x');",
    ],
)
def test_time_limit_ends_any_script_and_its_neighbours_go_on(pool: HostPool, code: str) -> None:
    code = f"if (context.Data.payload) {{ {code} }} setData(context.Data);"

    first, failed, last = run_all(pool, code, [0, 1, 0], timeout_seconds=1, memory_mb=512)

    assert type(failed.error) is ScriptTimedOut
    assert [payload(first), payload(last)] == [0, 0]


def test_promise_that_never_resolves_is_noticed_at_once(pool: HostPool) -> None:
    outcome = run_all(pool, "await new Promise(() => {}); setData(1)", [0])[0]

    assert "promise" in str(outcome.error)
    assert not isinstance(outcome.error, ScriptTimedOut)


@pytest.mark.parametrize(
    "code",
    [
        "const kept = []; for (;;) kept.push([kept.length]);",
        "globalThis.kept = []; for (;;) kept.push({});",
        "new ArrayBuffer(1e9);",
        "const kept = []; for (;;) kept.push(new Uint8Array(100000));",
        "const kept = []; for (;;) kept.push('x'.repeat(100000) + kept.length);",
        "try { const a = []; for (;;) a.push({}) } catch { const b = []; for (;;) b.push([]) }",
    ],
)
def test_memory_limit_is_named_and_neighbours_go_on(pool: HostPool, code: str) -> None:
    code = f"if (context.Data.payload) {{ log('before'); {code} }} setData(context.Data);"

    first, failed, last = run_all(pool, code, [0, 1, 0], memory_mb=64)

    assert type(failed.error) is ScriptOutOfMemory
    assert "out of memory" in str(failed.error)
    assert [line["text"] for line in failed.logs] == ["before"]
    assert [payload(first), payload(last)] == [0, 0]


def test_memory_that_is_caught_in_time_is_no_death(pool: HostPool) -> None:
    code = "let r = 1; try { new ArrayBuffer(1e9) } catch { r = 2 } setData({ payload: r })"

    assert payload(run_all(pool, code, [0], memory_mb=64)[0]) == 2


def test_result_of_any_depth_harms_no_host(pool: HostPool) -> None:
    code = """
let deep = []; for (let i = 0; i < 200000; i++) deep = [deep];
setData({ payload: deep });"""

    outcome = run_all(pool, code, [0])[0]

    assert type(outcome.error) is OutputInvalid
    assert "1000 deep" in str(outcome.error)


def test_huge_output_is_refused(pool: HostPool) -> None:
    outcome = run_all(pool, "setData({ payload: 'x'.repeat(9e6) })", [0], memory_mb=256)[0]

    assert type(outcome.error) is OutputInvalid
    assert "8388608" in str(outcome.error)


def test_script_that_does_not_compile_says_so_at_every_message(pool: HostPool) -> None:
    outcomes = run_all(pool, "setData(1);\nlet = = 3", [0, 1])

    assert [type(outcome.error) for outcome in outcomes] == [ScriptInvalid] * 2
    assert getattr(outcomes[0].error, "line", None) == 2


def test_hosts_do_not_share_their_random_numbers(pool: HostPool) -> None:
    codes = [f"setData({{ payload: Math.random() }}) // {n}" for n in range(3)]

    assert len({payload(run_all(pool, code, [0])[0]) for code in codes}) == 3


def test_nothing_of_the_system_is_within_reach(pool: HostPool) -> None:
    code = """
const names = ["process", "require", "os", "std", "fetch", "Deno", "print", "load", "scriptArgs",
  "setTimeout", "Worker", "XMLHttpRequest", "python", "$262", "gc"];
setData({ payload: names.filter(n => n in globalThis) })"""

    assert payload(run_all(pool, code, [0])[0]) == []


def test_clock_is_utc(pool: HostPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    code = "setData({ payload: new Date(2026, 6, 1, 12).toISOString() })"

    assert payload(run_all(pool, code, [0])[0]) == "2026-07-01T12:00:00.000Z"


def test_a_host_does_not_grow_with_its_messages(pool: HostPool) -> None:
    code = "globalThis.kept = new Array(20000).fill(context.Data); kept.me = kept; setData(kept[0])"

    outcomes = run_all(pool, code, [0] * 1000, memory_mb=24)

    assert [outcome.error for outcome in outcomes if outcome.error] == []


def test_raised_errors_come_through_the_pipe(pool: HostPool) -> None:
    outcome = run_all(pool, "\nnull.x; setData(1)", [0])[0]

    assert type(outcome.error) is ScriptRaised
    assert "at pricing:2:1" in outcome.error.traceback
