"""When the pool reports outcomes, and on how many hosts fast calls run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from scripts.pool import host_client, host_pool
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Outcome
from tests.hosts.pools import AROUND_IMPORTS, SITE, calls, collect_all, payload, program, run_all
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

SLEEPING = """
import time
def run(message, context):
    time.sleep(message["payload"])
    return message
"""


@pytest.fixture(autouse=True)
def any_call_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, calls are as fast as others, and are waited for."""
    monkeypatch.setattr(host_pool, "_GATHER_SECONDS", PATIENCE)
    monkeypatch.setattr(host_pool, "_LONG_CALL_SECONDS", PATIENCE)


@pytest.fixture
def of_cores(zygotes: Zygotes) -> Iterator[Callable[[int], HostPool]]:
    """Return what makes a pool for this number of cores."""
    with ExitStack() as stack:

        def make(cores: int) -> HostPool:
            pool = HostPool(cores=cores)
            zygotes.lend_to(pool)
            stack.callback(pool.close)
            return pool

        yield make


def test_few_outcomes_wait_for_more_while_every_host_has_its_next_call(pool: HostPool) -> None:
    run_all(pool, SLEEPING, [0.005] * 2)

    pool.submit(program(SLEEPING), SITE, calls([0.005] * 60), 2)
    reports = []
    while pool.outstanding():
        reports.append(len(pool.collect(PATIENCE)))

    assert sum(reports) == 60
    assert max(reports) >= 10


def test_outcomes_that_wait_for_more_wait_beyond_the_time_of_who_collects(pool: HostPool) -> None:
    run_all(pool, SLEEPING, [0.005] * 2)
    pool.submit(program(SLEEPING), SITE, calls([0.005, 600, 600]), 1)
    collected: list[list[Outcome]] = []

    def is_at_the_next_call() -> bool:
        collected.append(pool.collect(0.0))
        return any(pool.running({1}, 0.0))

    wait_for(is_at_the_next_call)
    collected += [pool.collect(0.0), pool.collect(0.01)]

    assert collected == [[]] * len(collected)
    assert [call.key for call in pool.cancel({1, 2})] == [2]
    assert sorted(collect_all(pool)) == [0, 1]


def test_an_outcome_is_reported_at_once_when_its_host_has_no_other_call(pool: HostPool) -> None:
    run_all(pool, SLEEPING, [0.005] * 2)

    pool.submit(program(SLEEPING), SITE, calls([600, 0.005]), 2)
    outcomes = pool.collect(PATIENCE)
    pool.cancel({0})

    assert [outcome.call.key for outcome in outcomes] == [1]
    assert list(collect_all(pool)) == [0]


def test_calls_that_wait_for_a_core_alone_run_on_no_more_hosts_than_there_are_cores(
    of_cores: Callable[[int], HostPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = of_cores(2)
    # On a busy machine even a fast call looks stuck, or slow.
    monkeypatch.setattr(host_client, "STUCK_SECONDS", PATIENCE)
    monkeypatch.setattr(host_pool, "_COMPUTING_SECONDS", PATIENCE)
    code = f"{AROUND_IMPORTS}\ndef run(m, c): return m | {{'payload': os.getpid()}}"
    run_all(pool, code, [0] * 20)
    monkeypatch.setattr(host_client, "GROUP_SECONDS", 0.0)

    outcomes = run_all(pool, code, [0] * 4000, hosts=8)

    assert len({payload(outcome) for outcome in outcomes.values()}) == 2


def test_a_host_whose_answers_have_not_been_read_computes_and_one_with_a_slow_call_does_not(
    pool: HostPool,
) -> None:
    run_all(pool, SLEEPING, [0] * 20)
    pool.submit(program(SLEEPING), SITE, calls([0] * 20), 1)
    (host,) = pool._hosts
    wait_for(lambda: host.page.begun == host.sent and not host.page.running)
    later = time.monotonic() + 1

    assert host.is_stuck(later)
    assert host.computes(later)

    collect_all(pool)
    pool.submit(program(SLEEPING), SITE, calls([600]), 1)
    wait_for(lambda: not host.computes(time.monotonic()))
    pool.cancel({0})


def test_idle_hosts_of_fast_calls_beyond_the_cores_are_ended_soon(
    of_cores: Callable[[int], HostPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = of_cores(1)
    monkeypatch.setattr(host_pool, "_COMPUTING_SECONDS", PATIENCE)
    pool.submit(program(SLEEPING), SITE, calls([0.1] * 4), 4)
    collect_all(pool)
    assert len(pool._hosts.idle()) == 4

    pool.submit(program(f"{SLEEPING}# another", timeout_seconds=600), SITE, calls([600]), 1)
    wait_for(lambda: pool.collect(0.1) == [] and len(pool._hosts.idle()) == 1)


def test_an_idle_host_of_fast_calls_is_ended_soon_where_another_one_works_for_all_cores(
    of_cores: Callable[[int], HostPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = of_cores(1)
    monkeypatch.setattr(host_pool, "_COMPUTING_SECONDS", PATIENCE)
    code = program(SLEEPING, timeout_seconds=600)
    pool.submit(code, SITE, calls([0.1] * 2), 2)
    collect_all(pool)
    assert len(pool._hosts.idle()) == 2

    pool.submit(code, SITE, calls([600]), 2)
    wait_for(lambda: pool.collect(0.1) == [] and not pool._hosts.idle())
    pool.cancel({0})

    assert list(collect_all(pool)) == [0]
