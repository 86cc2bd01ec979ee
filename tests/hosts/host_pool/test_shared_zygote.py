"""A zygote that the workers of a cluster share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from scripts.host.sandbox import SCRIPT_UIDS
from scripts.pool.host_pool import HostPool
from scripts.pool.zygote_client import SharedZygote
from tests.acceptance.processes import is_at_work
from tests.hosts.pools import ECHO, run_all
from tests.waiting import wait_for


@pytest.fixture
def shared() -> Iterator[SharedZygote]:
    zygote = SharedZygote(SCRIPT_UIDS if os.geteuid() == 0 else None)
    yield zygote
    zygote.close()


@pytest.fixture
def pools(shared: SharedZygote) -> Iterator[tuple[HostPool, HostPool]]:
    pools = HostPool(shared_zygote=shared), HostPool(shared_zygote=shared)
    yield pools
    for pool in pools:
        pool.close()


def error_of(pool: HostPool) -> object:
    (outcome,) = run_all(pool, ECHO, [1]).values()
    return outcome.error


def hosts_of(zygote: SharedZygote) -> list[int]:
    return [child.pid for child in psutil.Process(zygote._process.pid).children()]


def test_pools_have_hosts_of_one_zygote(shared: SharedZygote, pools: tuple[HostPool, HostPool]):
    before = psutil.Process().children()

    errors = [error_of(pool) for pool in pools]

    assert errors == [None, None]
    assert len(hosts_of(shared)) == 2
    assert psutil.Process().children() == before


def test_a_pool_that_is_closed_ends_its_own_hosts_alone(
    shared: SharedZygote, pools: tuple[HostPool, HostPool]
):
    error_of(pools[0])
    first = hosts_of(shared)
    error_of(pools[1])

    pools[1].close()

    assert hosts_of(shared) == first
    assert error_of(pools[0]) is None
    assert hosts_of(shared) == first
    assert error_of(pools[1]) is None


def test_the_hosts_of_a_worker_that_is_killed_end_and_no_others(
    shared: SharedZygote, pools: tuple[HostPool, HostPool]
):
    error_of(pools[0])
    own = hosts_of(shared)
    worker = os.fork()
    if worker == 0:
        error_of(HostPool(shared_zygote=shared))
        signal.pause()
    wait_for(lambda: len(hosts_of(shared)) == 2, what="the host of the worker")

    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)

    wait_for(lambda: hosts_of(shared) == own, what="the end of its host")
    assert error_of(pools[0]) is None


def test_the_hosts_of_a_killed_worker_end_although_what_it_has_forked_lives(shared: SharedZygote):
    read, write = os.pipe()
    worker = os.fork()
    if worker == 0:
        error_of(HostPool(shared_zygote=shared))
        if os.fork() == 0:
            os.write(write, str(os.getpid()).encode())
        signal.pause()
    forked = int(os.read(read, 20))
    try:
        assert len(hosts_of(shared)) == 1

        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)

        wait_for(lambda: not hosts_of(shared), what="the end of its host")
    finally:
        os.kill(forked, signal.SIGKILL)
        os.close(read)
        os.close(write)


def test_pools_go_on_with_zygotes_of_their_own_where_the_shared_one_is_killed(
    shared: SharedZygote, pools: tuple[HostPool, HostPool]
):
    error_of(pools[0])
    hosts = psutil.Process(shared._process.pid).children()

    os.kill(shared._process.pid, signal.SIGKILL)
    errors = [error_of(pool) for pool in pools]

    assert errors == [None, None]
    wait_for(lambda: not any(map(is_at_work, hosts)), what="the end of the hosts")
    assert shared.has_ended()
