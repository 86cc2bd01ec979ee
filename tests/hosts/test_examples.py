"""The worked examples of `scripts/examples`, each in a real host: a message and its output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.flow_state import StateChanges
from scripts.protocol.services import (
    CACHE_SERVICE,
    START_SERVICE,
    STATE_SERVICE,
    TABLE_SERVICE,
    Deadline,
)
from scripts.services.outside_calls import OutsideCalls
from scripts.services.shared_values import SharedValues
from scripts.services.signatures import Signatures
from scripts.trials.starts import TrialStarts
from scripts.trials.states import TriedState
from tests.hosts.given_tables import Given, table
from tests.hosts.zygotes import Zygotes
from tests.loopback import Loopback, serving
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).resolve().parents[2] / "scripts" / "examples"
FILES = sorted(path for path in EXAMPLES.iterdir() if path.suffix in {".py", ".js"})


class Installation:
    """What an example finds: its secrets and values."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.state = TriedState()
        self.tables: tuple[Given, ...] = ()

    def secret(self, program: Program, request: dict[str, Any], deadline: Deadline) -> Any:
        return {"value": self.secrets[request["name"]]}

    def __call__(self, program: Program, request: dict[str, Any], deadline: Deadline) -> Any:
        return self.state(program, request, deadline)

    def note(self, site: CallSite, state: StateChanges) -> None:
        self.state.note(site, state)

    def config(self, program: Program, request: dict[str, Any], deadline: Deadline) -> Any:
        return {"values": self.values}

    def given(self, program: Program) -> tuple[Given, ...]:
        return self.tables


installation = Installation()


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    services: Any = {
        "http": OutsideCalls(config=installation.config),
        "secret": installation.secret,
        "config": installation.config,
        "sign": Signatures(installation.secret),
        CACHE_SERVICE: SharedValues(),
        STATE_SERVICE: installation,
        TABLE_SERVICE: installation,
        START_SERVICE: TrialStarts(),
    }
    pool = HostPool(services=lambda: services)
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with serving() as server:
        yield server


def private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return str(written.decode("ascii"))


def run(pool: HostPool, path: Path, example: dict[str, Any]) -> Outcome:
    rights: Any = {"network": True, "private_addresses": True, "allowed_hosts": ("127.0.0.1",)}
    rights["secrets"] = tuple(installation.secrets)
    rights["tables"] = tuple(example.get("tables", {}))
    if "inputSchema" in example:
        rights["input_schema"] = json.dumps(example["inputSchema"])
    language = "python" if path.suffix == ".py" else "javascript"
    program = Program(hash(path.name), path.stem, language, path.read_text(), 20, 256, **rights)
    ways = tuple(example.get("goesTo", ()))
    site = CallSite("orders", "price", "to-price", example.get("isLast", True), ways, starts=None)
    body = json.dumps({"payload": example["payload"]}).encode()
    pool.submit(program, site, [Call("key", "c", 1, "d", body)], 1)
    (outcome,) = pool.collect(PATIENCE)
    return outcome


def cases_of(path: Path) -> list[dict[str, Any]]:
    cases = json.loads((EXAMPLES / f"{path.name}.json").read_text())
    return cases if isinstance(cases, list) else [cases]


CASES = [
    pytest.param(path, example, id=f"{path.name}-{number}")
    for path in FILES
    for number, example in enumerate(cases_of(path))
]


@pytest.mark.parametrize(("path", "example"), CASES)
def test_an_example_does_what_its_page_says(
    pool: HostPool, server: Loopback, path: Path, example: dict[str, Any]
) -> None:
    server.pages.clear()
    server.received.clear()
    for place, answer in example.get("answers", {}).items():
        status, *after = example.get("statuses", {}).get(place, [200])
        body = answer if isinstance(answer, str) else json.dumps(answer)
        headers = {"Retry_After": after[0]} if after else {}
        server.answers(place, status, body.encode(), **headers)
    installation.values = {"api.url": server.url().rstrip("/"), **example.get("config", {})}
    installation.state = TriedState(example.get("state"))
    installation.secrets = {
        name: private_key() if value == "@ES256" else value
        for name, value in example.get("secrets", {}).items()
    }

    installation.tables = tuple(
        table(name, content.encode()) for name, content in example.get("tables", {}).items()
    )

    outcome = run(pool, path, example)

    if "error" in example:
        assert example["error"] in str(outcome.error)
    else:
        assert outcome.error is None, outcome.error
        output = json.loads(outcome.output or b"")
        bodies = [each["payload"] for each in output] if isinstance(output, list) else output
        assert (bodies if isinstance(output, list) else output["payload"]) == example["output"]
    assert outcome.goes_to == example.get("way", "")
    assert [each["flow"] for each in outcome.call.starts.values()] == example.get("starts", [])
    left = {key: json.loads(text) for key, text in installation.state.values.items()}
    assert left == example.get("stateAfter", {})
    sent = [f"{request.method} {request.path}" for request in server.received]
    assert sent == example.get("requests", [])


def test_there_are_twenty_examples_and_each_says_what_it_shows() -> None:
    page = (EXAMPLES / "README.md").read_text()

    assert len(FILES) >= 20
    for path in FILES:
        assert path.read_text().startswith(("// ", '"""')), path.name
        assert f"({path.name})" in page
