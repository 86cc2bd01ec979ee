"""Scripts that abuse their host: none reaches anything, each ends with a clear cause."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from scripts.pool import hosts
from scripts.pool.host_client import HostClient
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.services import (
    CACHE_SERVICE,
    SIGN_SERVICE,
    START_SERVICE,
    STATE_SERVICE,
    TABLE_SERVICE,
    Service,
)
from scripts.services.signatures import Signatures
from tests.abuse.attack import Attack
from tests.abuse.bait import Bait
from tests.abuse.given_starts import GivenStarts
from tests.abuse.javascript_attacks import JAVASCRIPT
from tests.abuse.python_attacks import PYTHON
from tests.hosts.given_tables import GivenTables, table
from tests.waiting import PATIENCE

ATTACKS = {
    f"{language} {name}": attack
    for language, attacks in (("python", PYTHON), ("javascript", JAVASCRIPT))
    for name, attack in attacks.items()
}
SITE = CallSite("flow", "step", "queue", False, starts=("child",), goes_to=("next", "later"))
NEIGHBOUR = """
import json
os = json.codecs.sys.modules["os"]
def run(message, context):
    return message | {"payload": os.getpid()}
"""


@pytest.fixture(scope="module")
def bait() -> Iterator[Bait]:
    bait = Bait()
    yield bait
    bait.close()


@pytest.fixture(scope="module")
def pool(bait: Bait) -> Iterator[HostPool]:
    tables = table("own", b"key,text\na,own\n"), table("other", bait.other_table)
    services: dict[str, Service] = {
        TABLE_SERVICE: GivenTables(*tables),
        SIGN_SERVICE: Signatures(bait.secret_of),
        CACHE_SERVICE: lambda *_: {},
        START_SERVICE: GivenStarts(),
        STATE_SERVICE: lambda _, request, __: {"version": 1, "text": str(request["flow"])},
    }
    pool = HostPool(services=lambda: services)
    yield pool
    pool.close()


@pytest.fixture
def neighbour(pool: HostPool, monkeypatch: pytest.MonkeyPatch) -> int:
    """Another script's host, which is to live through the attack.

    The pool itself ends hosts that are idle for a second where there are many, as after many
    attacks.
    """
    monkeypatch.setattr(hosts, "IDLE_SECONDS_IN_A_CROWD", hosts.IDLE_SECONDS)
    return pid_of_neighbour(pool)


@pytest.fixture
def ended(pool: HostPool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How hosts ended meanwhile, each with its status and what was known of it."""
    ended: list[str] = []
    on_exit = pool._on_host_exit

    def note(host: HostClient, status: int | None, peak_bytes: int) -> None:
        known = host.is_terminating, host.is_watched, host.is_worn_out, host.in_flight
        ended.append(f"{host.program.language} {status}: {known}, {host.kill_reason}")
        on_exit(host, status, peak_bytes)

    monkeypatch.setattr(pool, "_on_host_exit", note)
    return ended


def pid_of_neighbour(pool: HostPool) -> int:
    outcome = run(pool, Attack("", NEIGHBOUR), NEIGHBOUR, {})
    assert outcome.output is not None, outcome.error
    return int(json.loads(outcome.output)["payload"])


def run(pool: HostPool, attack: Attack, script: str, payload: object) -> Outcome:
    body = json.dumps({"correlationId": "c-1", "payload": payload}).encode()
    program = Program(
        1,
        "script",
        attack.language,
        script,
        attack.timeout_seconds,
        attack.memory_mb,
        tables=attack.tables,
        secrets=attack.secrets,
    )
    pool.submit(program, SITE, [Call(1, "c-1", 1, "d-1", body)], 1)
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + 2 * PATIENCE
    while not outcomes:
        assert time.monotonic() < deadline, "the script never ended"
        outcomes = pool.collect(1)
    assert len(outcomes) == 1
    return outcomes[0]


def told(outcome: Outcome) -> str:
    """Return in words how a script ended."""
    if outcome.error is not None:
        return f"{type(outcome.error).__name__}: {outcome.error}"
    assert outcome.output is not None
    return f"output: {outcome.output.decode()} with {len(outcome.logs)} log lines"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ATTACKS)
def test_abusive_script_reaches_nothing_and_ends_with_its_cause(
    pool: HostPool, bait: Bait, neighbour: int, ended: list[str], name: str
) -> None:
    attack = ATTACKS[name]
    zygote = pool._hosts.zygote._process.pid

    outcome = run(pool, attack, attack.script, bait.described(zygote, neighbour))

    assert re.fullmatch(attack.cause, told(outcome), re.DOTALL), told(outcome)[:500]
    everything = f"{told(outcome)}{outcome.logs}{getattr(outcome.error, 'traceback', '')}"
    bait.assert_untouched(told=everything, zygote=zygote)
    assert pid_of_neighbour(pool) == neighbour, ended
    assert pool._hosts.zygote._process.pid == zygote
