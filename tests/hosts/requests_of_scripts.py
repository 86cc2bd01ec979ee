"""Python scripts that make requests, and the secrets that their tests enter."""

import json
from typing import Any

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptError
from scripts.protocol.services import RequestFailed
from tests.waiting import PATIENCE

GIVEN = ("shop.key", "not-entered")
VALUES = {"shop.key": "swordfish", "pin": "123", "pem": "BEGIN KEY\nabc/def+ghi==\nEND KEY"}


def secret(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    if request["name"] == "away":
        raise RequestFailed("The database is away.", "unavailable")
    if request["name"] == "signing":
        raise RequestFailed("The secret 'signing' is not readable by scripts.", "not-readable")
    if request["name"] not in VALUES:
        raise RequestFailed(f"There is no secret {request['name']!r}.", "unknown")
    return {"value": VALUES[request["name"]]}


def submit(pool: HostPool, body: str, timeout_seconds: float = 20) -> None:
    code = "def run(message, context):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    rights: Any = {"network": True, "private_addresses": True, "secrets": GIVEN}
    program = Program(1, "pricing", "python", code, timeout_seconds, 256, **rights)
    site = CallSite("orders", "price", "to-price", is_last=True)
    pool.submit(program, site, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)


def run(pool: HostPool, body: str, **limits: float) -> Outcome:
    submit(pool, body, **limits)
    (outcome,) = pool.collect(PATIENCE)
    return outcome


def result(pool: HostPool, body: str) -> Any:
    outcome = run(pool, body)
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output or b"")


def error(pool: HostPool, body: str) -> ScriptError:
    outcome = run(pool, body)
    assert outcome.error is not None
    return outcome.error
