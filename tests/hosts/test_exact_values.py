"""A JSON value comes out of a script as it came in, on each of its ways, in both languages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Program, Waits
from scripts.protocol.services import CACHE_SERVICE, SIGN_SERVICE, STATE_SERVICE, TABLE_SERVICE
from scripts.services.outside_calls import OutsideCalls
from scripts.services.shared_values import SharedValues
from scripts.services.signatures import Signatures
from tests.documents import NUMBERS
from tests.hosts.given_tables import GivenTables, table
from tests.hosts.zygotes import Zygotes
from tests.loopback import Loopback, serving
from tests.waiting import PATIENCE

SITE = CallSite("orders", "price", "to-price", is_last=True, flow_id=1)
KEY = "a shared key of more than thirty-two bytes"
CODE = {
    "python": """
def run(message, context):
    given = message["payload"]["given"]
    context.state.set("made", given)
    token = context.jwt({"v": given}, "key", "HS256")
    return {
        "message": given,
        "waitState": context.wait_state,
        "cached": context.cached("k", 60, lambda: given),
        "cachedAgain": context.cached("k", 60, lambda: given),
        "state": context.state.get("kept"),
        "madeState": context.state.get("made"),
        "table": context.table("rows")["row"],
        "http": context.http.get(message["payload"]["url"]).json(),
        "claims": context.verify_jwt(token, "key")["v"],
    }
""",
    "javascript": """
const { given, url } = context.Data.payload;
await context.state.set("made", given);
const token = await context.jwt({ v: given }, "key", { algorithm: "HS256" });
setData({
  message: given,
  waitState: context.waitState,
  cached: await context.cached("k", 60, () => given),
  cachedAgain: await context.cached("k", 60, () => given),
  state: await context.state.get("kept"),
  madeState: await context.state.get("made"),
  table: context.table("rows").get("row"),
  http: (await http.get(url)).data,
  claims: (await context.verifyJwt(token, "key")).v,
});
""",
}
WAYS = (
    "message", "waitState", "cached", "cachedAgain", "state", "madeState", "table", "http",
    "claims",
)  # fmt: skip


# JavaScript sorts keys that are integers.
NAMES = st.text("abcdef", min_size=1, max_size=3)
LEAVES = NUMBERS | st.sampled_from(['"é 1.50"', "true", "null"])


def array(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def members(values: dict[str, str]) -> str:
    return f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in values.items())}}}"


def containers(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(parts, max_size=4).map(array) | st.dictionaries(NAMES, parts).map(members)


VALUES = containers(st.recursive(LEAVES, containers, max_leaves=12))


class Kept:
    """What the services give to the script of an example."""

    def __init__(self) -> None:
        self.text = ""
        self.tables = GivenTables()
        self.versions = count(1)

    def state(self, program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        return {"version": 1, "text": self.text}


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


@pytest.fixture(scope="module")
def web() -> Iterator[Loopback]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def pool(kept: Kept, zygotes: Zygotes) -> Iterator[HostPool]:
    services: dict[str, Any] = {
        "http": OutsideCalls(),
        CACHE_SERVICE: SharedValues(),
        SIGN_SERVICE: Signatures(lambda *_: {"value": KEY}),
        STATE_SERVICE: kept.state,
        TABLE_SERVICE: kept.tables,
    }
    pool = HostPool(services=lambda: services)
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("language", CODE)
@given(text=VALUES)
def test_a_value_keeps_its_digits_on_every_way(
    pool: HostPool, kept: Kept, web: Loopback, language: str, text: str
) -> None:
    kept.text, version = text, next(kept.versions)
    rows = members({"row": text}).encode()
    kept.tables.tables["rows"] = table("rows", rows, "json", version)
    web.answers("/value", body=text.encode(), Content_Type="application/json")
    rights: Any = {"network": True, "private_addresses": True, "secrets": ("key",)}
    program = Program(
        version, "pricing", language, CODE[language], 20, 128, tables=("rows",), **rights
    )
    body = f'{{"correlationId":"c","payload":{{"url":"{web.url("/value")}","given":{text}}}}}'
    waits = Waits(1, time.time(), text)

    pool.submit(program, SITE, [Call("key", "c", 1, "d", body.encode(), waits=waits)], 1)
    (outcome,) = pool.collect(PATIENCE)

    assert outcome.error is None
    assert (outcome.output or b"").decode() == members(dict.fromkeys(WAYS, text))
