"""Values of the installation, as scripts read them and as hosts that they may call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.services.addresses import allowed_host_fault, is_allowed, resolved
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.zygotes import Zygotes
from tests.loopback import Loopback, serving
from tests.waiting import PATIENCE

VALUES = {"shop.url": "", "limit": "12", "empty": ""}


def config(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    return {"values": VALUES}


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    calls = OutsideCalls(config=config)
    pool = HostPool(services=lambda: {"http": calls, "config": config})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with serving() as server:
        server.answers("/", 200, b"shop")
        yield server


def run(pool: HostPool, language: str, code: str, *hosts: str) -> Outcome:
    if language == "python":
        code = f"def run(message, context):\n    return {code}"
    rights: Any = {"network": True, "private_addresses": True, "allowed_hosts": hosts}
    program = Program(1, "pricing", language, code, 20, 256, **rights)
    site = CallSite("orders", "price", "to-price", is_last=True)
    pool.submit(program, site, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)
    (outcome,) = pool.collect(PATIENCE)
    return outcome


@pytest.mark.parametrize(
    ("language", "code"),
    [
        (
            "python",
            "[context.config['limit'], context.config.get('none'), 'none' in context.config,"
            " 'empty' in context.config, sorted(context.config)]",
        ),
        (
            "javascript",
            "const { config } = context; setData([config.limit, 'none' in config ? 1 : null,"
            " 'none' in config, 'empty' in config, Object.keys(config).sort()])",
        ),
    ],
)
def test_a_script_reads_the_values(pool: HostPool, language: str, code: str) -> None:
    outcome = run(pool, language, code)

    assert outcome.error is None, outcome.error
    assert json.loads(outcome.output or b"") == [
        "12",
        None,
        False,
        True,
        ["empty", "limit", "shop.url"],
    ]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "context.config['none']"),
        ("javascript", "setData(context.config.none)"),
    ],
)
def test_a_value_that_is_not_there_is_named(pool: HostPool, language: str, code: str) -> None:
    assert "There is no value 'none' in this installation." in str(run(pool, language, code).error)


def test_a_value_can_be_an_allowed_host(pool: HostPool, server: Loopback) -> None:
    code = f"context.http.get('{server.url()}').text"

    VALUES["shop.url"] = ""
    without = run(pool, "python", code, "config:shop.url")
    VALUES["shop.url"] = server.url("/orders")
    allowed = run(pool, "python", code, "config:shop.url")
    VALUES["shop.url"] = "127.0.0.1:1"
    elsewhere = run(pool, "python", code, "config:shop.url")

    assert json.loads(allowed.output or b"") == "shop"
    assert "it is not among its allowed hosts" in str(without.error)
    assert "it is not among its allowed hosts" in str(elsewhere.error)


@pytest.mark.parametrize(
    ("value", "host", "port", "is_it"),
    [
        ("shop.example", "shop.example", 443, True),
        ("https://shop.example/x", "shop.example", 8443, True),
        ("https://shop.example:8443/x", "shop.example", 443, False),
        ("a.example\nb.example", "b.example", 443, True),
        ("*.example", "a.example", 443, False),
        ("config:other", "other", 443, False),
        ("no host!", "host", 443, False),
        ("", "", 443, False),
    ],
)
def test_a_value_allows_the_hosts_that_it_names(
    value: str, host: str, port: int, is_it: bool
) -> None:
    hosts = resolved(("config:shop", "always.example"), {"shop": value, "other": "other"})

    assert is_allowed(host, port, hosts) is is_it
    assert is_allowed("always.example", 443, hosts)


def test_a_reference_is_no_fault_of_the_list() -> None:
    assert allowed_host_fault("config:shop.url") == ""
    assert allowed_host_fault("config:443") == ""
    assert allowed_host_fault("config:") != ""
