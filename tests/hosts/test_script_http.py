"""``context.http`` and ``context.secrets`` as a script sees them, and what is told of them."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import (
    ScriptError,
    ScriptKilled,
    ScriptRaised,
    ScriptRetry,
    ScriptTimedOut,
)
from scripts.protocol.services import RequestFailed
from scripts.services.outside_calls import OutsideCalls
from tests.loopback import Handler, Loopback, serving
from tests.waiting import wait_for

GIVEN = ("shop.key", "not-entered")
VALUES = {"shop.key": "swordfish", "pin": "123", "pem": "BEGIN KEY\nabc/def+ghi==\nEND KEY"}


def secret(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    if request["name"] == "away":
        raise RequestFailed("The database is away.", "unavailable")
    if request["name"] not in VALUES:
        raise RequestFailed(f"There is no secret {request['name']!r}.", "unknown")
    return {"value": VALUES[request["name"]]}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    pool = HostPool(services=lambda: {"http": OutsideCalls(), "secret": secret})
    yield pool
    pool.close()


def submit(pool: HostPool, body: str, timeout_seconds: float = 20) -> None:
    code = "def run(message, context):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    submit_code(pool, code, "python", timeout_seconds)


def submit_code(pool: HostPool, code: str, language: str, timeout_seconds: float = 20) -> None:
    rights: Any = {"network": True, "private_addresses": True, "secrets": GIVEN}
    program = Program(1, "pricing", language, code, timeout_seconds, 256, **rights)
    site = CallSite("orders", "price", "to-price", is_last=True)
    pool.submit(program, site, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)


def run(pool: HostPool, body: str, **limits: float) -> Outcome:
    submit(pool, body, **limits)
    (outcome,) = pool.collect(30)
    return outcome


def result(pool: HostPool, body: str) -> Any:
    outcome = run(pool, body)
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output or b"")


def error(pool: HostPool, body: str) -> ScriptError:
    outcome = run(pool, body)
    assert outcome.error is not None
    return outcome.error


# Requests


def test_a_script_reads_what_a_server_answers(pool: HostPool, server: Loopback) -> None:
    server.answers("/orders", 200, '{"a": "ü"}'.encode(), X_Number="7")

    given = result(
        pool,
        f"""
r = context.http.get("{server.url("/orders?x=1")}", params={{"y": "a b", "z": [1, 2]}},
    headers={{"X-Count": 3}}, timeout=5)
return [r.status, r.ok, r.text, r.json(), r.headers["X-NUMBER"], r.headers.get("x-none"),
    "X-Number" in r.headers, "content-length" in list(r.headers), r.url, r.raise_for_status() is r]
""",
    )

    url = "/orders?x=1&y=a+b&z=1&z=2"
    assert given == [
        *[200, True, '{"a": "ü"}', {"a": "ü"}, "7", None, True, True, server.url(url), True],
    ]
    assert server.received[0].path == url
    assert server.received[0].headers["x-count"] == "3"


def test_a_script_sends_json_forms_and_text(pool: HostPool, server: Loopback) -> None:
    server.answers("/", 204)

    result(
        pool,
        f"""
url, http = "{server.url()}", context.http
http.post(url, json={{"n": 1}})
http.put(url, data={{"a": "x y", "b": [1, 2]}})
http.patch(url, data="täxt", headers={{"content-type": "text/csv"}})
http.delete(url)
http.head(url)
http.request("options", url)
""",
    )

    assert [
        (r.method, r.body.decode(), r.headers.get("content-type")) for r in server.received
    ] == [
        ("POST", '{"n": 1}', "application/json"),
        ("PUT", "a=x+y&b=1&b=2", "application/x-www-form-urlencoded"),
        ("PATCH", "täxt", "text/csv"),
        ("DELETE", "", None),
        ("HEAD", "", None),
        ("OPTIONS", "", None),
    ]


PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"


def bytes_from_outside(server: Loopback) -> None:
    server.answers("/pdf", 200, PDF, Content_Type="application/pdf")
    server.answers("/ru", 200, "Привет".encode("cp1251"), Content_Type="text/x; charset=cp1251")
    server.answers("/mark", 200, b'\xef\xbb\xbf{"a": 1}', Content_Type="application/json")

    def cookies(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
        handler.wfile.write(b"Set-Cookie: a=1, 2\r\nSet-Cookie: b=3\r\n\r\n")

    server.pages["/cookies"] = cookies


def test_a_script_gets_text_in_its_charset_and_bytes_as_they_are(
    pool: HostPool, server: Loopback
) -> None:
    bytes_from_outside(server)
    server.answers("/", 204)

    given = result(
        pool,
        f"""
get = lambda path: context.http.get("{server.url("")}" + path)
pdf, ru, mark, cookies = get("/pdf"), get("/ru"), get("/mark"), get("/cookies")
context.http.put("{server.url()}", data=pdf.content)
return [pdf.content.hex(), ru.text, ru.content.hex(), mark.json(), mark.content.hex(),
    cookies.headers.get_list("Set-Cookie"), cookies.headers.get_list("X-None"),
    cookies.content.hex()]
""",
    )

    assert given == [
        *[PDF.hex(), "Привет", "Привет".encode("cp1251").hex(), {"a": 1}],
        *[b'\xef\xbb\xbf{"a": 1}'.hex(), ["a=1, 2", "b=3"], [], ""],
    ]
    assert server.received[-1].body == PDF
    assert server.received[-1].headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("read", ["text", "json()"])
def test_bytes_are_not_read_as_text_without_a_word(
    pool: HostPool, server: Loopback, read: str
) -> None:
    bytes_from_outside(server)

    raised = error(pool, f'return context.http.get("{server.url("/pdf?key=secret")}").{read}')

    assert "/pdf is no text: byte 10 is not utf-8" in str(raised)
    assert "secret" not in str(raised)


def test_numbers_go_to_and_come_from_a_server_as_they_are_written(
    pool: HostPool, server: Loopback
) -> None:
    body = b'{"rate": 1.10, "id": 1234567890123456.78, "n": 1e5}'
    server.answers("/rates", 200, body)
    url = server.url("/rates")

    outcome = run(
        pool,
        f"got = context.http.get({url!r}).json()\ncontext.http.post({url!r}, json=got)\nreturn got",
    )

    assert outcome.output == b'{"rate":1.10,"id":1234567890123456.78,"n":1e5}'
    assert server.received[-1].body == b'{"rate":1.10,"id":1234567890123456.78,"n":1e5}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{'amount': float('nan')}", "ValueError: json: $.amount is NaN, which JSON cannot hold."),
        ("[1, {2}]", "TypeError: json: $[1] is a set, which JSON cannot hold; use a list."),
    ],
)
def test_json_that_is_none_is_refused_with_its_place(
    pool: HostPool, value: str, message: str
) -> None:
    assert str(error(pool, f"context.http.post('http://a/', json={value})")) == message


def test_a_param_or_header_that_is_none_is_left_out(pool: HostPool, server: Loopback) -> None:
    server.answers("/rates", 200, b"{}")

    run(
        pool,
        f"context.http.get({server.url('/rates')!r}, {{'a': None, 'b': 1}}, headers={{'X': None}})",
    )

    assert server.received[-1].path == "/rates?b=1"
    assert "x" not in server.received[-1].headers


def test_a_failure_is_an_error_with_a_kind(pool: HostPool, server: Loopback) -> None:
    server.answers("/", 500, b"broken")

    given = result(
        pool,
        f"""
kinds = []
for url in ("http://nothing.invalid/", "no url", "{server.url()}"):
    try:
        context.http.get(url).raise_for_status()
    except context.http.Error as error:
        kinds.append([error.kind, error.status, error.response and error.response.text])
return kinds
""",
    )

    assert given == [["dns", None, None], ["invalid", None, None], ["status", 500, "broken"]]


def test_an_error_that_a_script_lets_pass_says_what_was_called(
    pool: HostPool, server: Loopback
) -> None:
    raised = error(
        pool, f'context.http.get("{server.url("/none?key=swordfish")}").raise_for_status()'
    )

    assert isinstance(raised, ScriptRaised)
    assert str(raised) == f"HttpError: GET {server.url('/none')} was answered with 404"


@pytest.mark.parametrize("status", [429, 503])
def test_a_script_that_is_told_to_wait_is_run_again_then(
    pool: HostPool, server: Loopback, status: int
) -> None:
    server.answers("/", status, Retry_After="17")

    raised = error(pool, f'context.http.get("{server.url()}").raise_for_status()')

    assert isinstance(raised, ScriptRetry)
    assert raised.after == 17
    assert str(status) in str(raised)


def test_a_script_may_see_to_being_told_to_wait_itself(pool: HostPool, server: Loopback) -> None:
    server.answers("/", 429, b"busy", Retry_After="17")
    caught = """
try:
    context.http.get("{url}").raise_for_status()
except {kind} as error:
    return [error.status, error.after, error.response.retry_after, error.response.text]
"""
    for kind in ("Retry", "context.http.Error"):
        given = result(pool, caught.format(url=server.url(), kind=kind))
        assert given == [429, 17, 17, "busy"]


def test_being_refused_without_a_time_to_wait_is_a_failure(
    pool: HostPool, server: Loopback
) -> None:
    server.answers("/", 429)

    raised = error(pool, f'context.http.get("{server.url()}").raise_for_status()')

    assert isinstance(raised, ScriptRaised)


def test_a_script_that_waits_for_a_server_meets_its_time_limit(
    pool: HostPool, server: Loopback
) -> None:
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(20)
    begun_at = time.monotonic()

    body = f"""
while True:
    try:
        context.http.get("{server.url()}", timeout=0.3)
    except context.http.Error:
        pass
"""
    outcome = run(pool, body, timeout_seconds=0.7)

    assert isinstance(outcome.error, ScriptTimedOut)
    assert time.monotonic() - begun_at >= 0.7


def test_a_script_hears_of_a_server_that_takes_its_time(pool: HostPool, server: Loopback) -> None:
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(20)

    raised = error(pool, f'context.http.get("{server.url()}", timeout=0.2)')

    assert isinstance(raised, ScriptRaised)
    assert f"{server.url()} did not answer in time" in str(raised)


def test_a_script_that_waits_for_a_server_can_be_cancelled(
    pool: HostPool, server: Loopback
) -> None:
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(20)
    submit(pool, f'context.http.get("{server.url()}")')
    wait_for(lambda: pool.collect(0.01) or server.received)

    pool.cancel({"key"})

    (outcome,) = pool.collect(2)
    assert isinstance(outcome.error, ScriptKilled)


def test_a_closed_pool_leaves_its_requests(server: Loopback) -> None:
    def page(handler: Handler) -> None:
        handler.loopback.closing.wait()

    server.pages["/"] = page
    server.answers("/quick", 200, b"x")
    pool = HostPool(services=lambda: {"http": OutsideCalls()})
    submit(pool, f'context.http.get("{server.url()}")')
    wait_for(lambda: pool.collect(0.01) or server.received)

    pool.close()

    assert result(pool, f'return context.http.get("{server.url("/quick")}").text') == "x"
    pool.close()


@pytest.mark.parametrize(
    "what", ["type(context)", "type(context.http)", "context.http.Error", "type(context.secrets)"]
)
def test_what_a_script_sets_on_these_is_not_there_for_the_next(pool: HostPool, what: str) -> None:
    assert isinstance(error(pool, f"{what}.left = 1"), ScriptRaised)
    assert result(pool, f"return hasattr({what}, 'left')") is False


# Secrets


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

    assert str(raised).startswith("KeyError")
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


def test_a_secret_is_masked_in_a_host_that_was_never_given_it() -> None:
    pool = HostPool(services=lambda: {"secret": Readable()})

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
        (outcome,) = pool.collect(30)
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


# JavaScript, which asks by the same means


def run_javascript(pool: HostPool, code: str) -> Outcome:
    submit_code(pool, code, "javascript")
    (outcome,) = pool.collect(30)
    return outcome


def test_javascript_makes_requests_side_by_side(pool: HostPool, server: Loopback) -> None:
    server.answers("/orders", 201, b'{"n": 7}', X_Number="7")

    outcome = run_javascript(
        pool,
        f"""
        const [got, posted, failed] = await Promise.all([
            http.get("{server.url("/orders")}", {{headers: {{"X-Count": 3}}}}),
            http.post("{server.url("/orders")}", {{a: 1}}),
            http.get("http://nothing.invalid/").catch(error => error.kind),
        ]);
        setData([got.status, got.ok, got.data.n, got.headers["x-number"], posted.status, failed]);
        """,
    )

    assert outcome.error is None, outcome.error
    assert json.loads(outcome.output or b"") == [201, True, 7, "7", 201, "dns"]
    got, posted = sorted(server.received, key=lambda received: received.method)
    assert got.headers["x-count"] == "3"
    assert posted.body == b'{"a":1}'


def test_javascript_is_told_how_long_to_wait(pool: HostPool, server: Loopback) -> None:
    server.answers("/", 429, Retry_After="17")

    outcome = run_javascript(
        pool,
        f"""
        const answer = await http.get("{server.url()}");
        if (!answer.ok) retry(answer.retryAfter, "busy");
        setData(answer.data);
        """,
    )

    assert isinstance(outcome.error, ScriptRetry)
    assert outcome.error.after == 17


def test_javascript_reads_its_secrets(pool: HostPool) -> None:
    outcome = run_javascript(
        pool, 'log(context.secrets["shop.key"]); setData(context.secrets["shop.key"].length)'
    )

    assert (outcome.output, outcome.logs[0]["text"]) == (b"9", "***")
