"""``context.secrets`` as a script sees them, and where they are masked."""

import json
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.errors import ScriptRaised
from tests.hosts.requests_of_scripts import GIVEN, error, result, run, secret
from tests.hosts.zygotes import Zygotes
from tests.loopback import Loopback
from tests.waiting import PATIENCE


def test_a_script_reads_its_secrets(pool: HostPool) -> None:
    given = result(
        pool,
        """
secrets = context.secrets
return [secrets["shop.key"], secrets.get("shop.key"), "shop.key" in secrets,
    "none" in secrets, secrets.get("none"), secrets.get("none", "other"), dict(secrets)]
""",
    )

    # Outputs are the script's own business.
    everything = {"shop.key": "swordfish"}
    assert given == ["swordfish", "swordfish", True, False, None, "other", everything]


def test_a_secret_that_is_not_there_is_named(pool: HostPool) -> None:
    raised = error(pool, 'context.secrets["none"]')

    assert str(raised).startswith("NoValue")
    assert "There is no secret 'none'." in str(raised)


@pytest.mark.parametrize("way", ['["away"]', '.get("away", 7)'])
def test_a_secret_that_cannot_be_read_now_has_no_default(pool: HostPool, way: str) -> None:
    assert "The database is away." in str(error(pool, f"return context.secrets{way}"))


def test_a_secret_is_masked_in_logs_and_errors(pool: HostPool, server: Loopback) -> None:
    outcome = run(
        pool,
        """
import json, urllib.parse
key, pem = context.secrets["shop.key"], context.secrets["pem"]
context.log("the key is " + key, level="debug")
context.log(f"before{key}after")
print(json.dumps(pem), repr(pem), urllib.parse.quote(pem), urllib.parse.urlencode({"p": pem}))
context.log(pem.splitlines()[1])
context.log("x" * 8188 + key)
raise ValueError(f"no luck with {key} at " + "x" * 1970 + key)
""",
    )

    assert isinstance(outcome.error, ScriptRaised)
    told = [line["text"] for line in outcome.logs]
    assert told[:4] == [
        "the key is ***",
        "before***after",
        "\"***\" '***' *** p=***",
        "***",
    ]
    assert told[4] == "x" * 8188 + "***…"
    everything = f"{outcome.error} {outcome.error.traceback}"
    assert "no luck with *** at" in everything
    for part in ("swor", "BEGIN", "abc", "def"):
        assert part not in everything


class Readable:
    """The service of secrets as the engine's is: it knows what a script may read."""

    def __call__(self, program: Program, request: dict[str, Any], deadline: float) -> Any:
        return secret(program, request, deadline)

    def values(self, program: Program) -> tuple[str, ...]:
        return ("swordfish",)


def test_a_secret_is_masked_in_a_host_that_was_never_given_it(
    zygotes: Zygotes,
) -> None:
    pool = HostPool(services=lambda: {"secret": Readable()})
    zygotes.lend_to(pool)

    try:
        outcome = run(pool, 'print("sword" + "fish")')
    finally:
        pool.close()

    assert outcome.logs[0]["text"] == "***"


def test_what_one_message_was_given_does_not_mask_the_texts_of_the_next(pool: HostPool) -> None:
    code = """
def run(message, context):
    if message["payload"]["reads"]:
        print(context.secrets["shop.key"])
    print("sword" + "fish")
    return message
"""
    program = Program(1, "pricing", "python", code, 20, 256, secrets=GIVEN)
    site = CallSite("orders", "price", "to-price", is_last=True)
    told = []

    for reads in ("true", "false", "true"):
        body = f'{{"payload":{{"reads":{reads}}}}}'.encode()
        pool.submit(program, site, [Call("key", "c", 1, "d", body)], 1)
        (outcome,) = pool.collect(PATIENCE)
        told.append([line["text"] for line in outcome.logs])

    assert told == [["***", "***"], ["swordfish"], ["***", "***"]]


def test_a_secret_is_masked_where_a_host_dies_or_rejects(pool: HostPool) -> None:
    rejected = run(pool, 'raise Reject("no " + context.secrets["shop.key"])')
    again = run(pool, 'raise Retry(after=1, reason="no " + context.secrets["shop.key"])')
    invalid = run(pool, 'return {context.secrets["shop.key"]: {1}}')

    assert str(rejected.error) == "no ***"
    assert str(again.error) == "no ***"
    assert "swordfish" not in str(invalid.error)
    assert "***" in str(invalid.error)


def test_a_secret_in_the_path_of_a_request_is_masked_in_its_error(
    pool: HostPool, server: Loopback
) -> None:
    raised = error(
        pool,
        f'url = "{server.url()}bot" + context.secrets["shop.key"] + "/send"\n'
        "context.http.get(url).raise_for_status()",
    )

    assert f"{server.url()}bot***/send" in str(raised)


def test_short_secrets_are_not_masked(pool: HostPool) -> None:
    outcome = run(pool, 'print(context.secrets["pin"], 123456)')

    assert outcome.logs[0]["text"] == "123 123456"


def test_what_another_script_was_given_is_not_masked(pool: HostPool) -> None:
    run(pool, 'print(context.secrets["shop.key"])')

    outcome = run(pool, 'print("swordfish")\nreturn 7')

    assert outcome.logs[0]["text"] == "swordfish"


@pytest.mark.parametrize(
    ("language", "read", "contains"),
    [
        (
            "python",
            "def run(message, context):\n    return context.secrets.get('signing')",
            "def run(message, context):\n"
            "    return ['signing' in context.secrets, list(context.secrets)]",
        ),
        (
            "javascript",
            "setData(context.secrets.signing)",
            "setData(['signing' in context.secrets,"
            " ['signing', 'shop.key'].filter((name) => name in context.secrets)])",
        ),
    ],
)
def test_a_secret_that_is_not_readable_says_so_when_it_is_read(
    pool: HostPool, language: str, read: str, contains: str
) -> None:
    def outcome(code: str) -> Any:
        names = ("shop.key", "signing")
        program = Program(1, "pricing", language, code, 20, 256, secrets=names)
        site = CallSite("orders", "price", "to-price", is_last=True)
        pool.submit(program, site, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)
        (outcome,) = pool.collect(PATIENCE)
        return outcome

    assert "The secret 'signing' is not readable by scripts." in str(outcome(read).error)
    assert json.loads(outcome(contains).output) == [False, ["shop.key"]]
