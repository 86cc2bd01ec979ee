"""``http`` and ``context.secrets`` of JavaScript scripts, in a real host with a real server."""

import json
import threading
from base64 import b64encode
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptInvalid, ScriptRaised, ScriptRetry, ScriptTimedOut
from tests.loopback import Handler, Loopback
from tests.waiting import PATIENCE


def run(pool: HostPool, code: str, **rights: Any) -> Outcome:
    timeout_seconds = rights.pop("timeout_seconds", 20)
    rights = {"network": True, "private_addresses": True} | rights
    program = Program(1, "pricing", "javascript", code, timeout_seconds, 256, **rights)
    site = CallSite("orders", "price", "to-price", is_last=True)
    pool.submit(program, site, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)
    (outcome,) = pool.collect(PATIENCE)
    return outcome


def result(pool: HostPool, code: str, **rights: Any) -> Any:
    outcome = run(pool, code, **rights)
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output or b"")


def test_a_script_reads_what_a_server_answers(pool: HostPool, server: Loopback) -> None:
    server.answers("/orders", 200, '{"a": "ü"}'.encode(), X_Number="7")

    given = result(
        pool,
        f"""
const r = await http.get("{server.url("/orders?x=1")}", {{
  params: {{ y: "a b" }}, headers: {{ "X-Count": 3 }}, timeout: 5 }});
setData([r.status, r.ok, r.body, r.data, r.headers["x-number"], r.url, r.raiseForStatus() === r,
  r.headers.get("X-NUMBER"), r.headers.get("constructor") ?? null, r.headers.get("get") ?? null]);
""",
    )

    url = "/orders?x=1&y=a%20b"
    assert given[:7] == [200, True, '{"a": "ü"}', {"a": "ü"}, "7", server.url(url), True]
    assert given[7:] == ["7", None, None]
    assert server.received[0].path == url
    assert server.received[0].headers["x-count"] == "3"


def test_a_script_sends_objects_and_texts(pool: HostPool, server: Loopback) -> None:
    server.answers("/", 204)

    result(
        pool,
        f"""
const url = "{server.url()}";
await http.post(url, {{ n: 1 }});
await http.put(url, "täxt");
await context.http.patch(url, [1], {{ headers: {{ "content-type": "application/x" }} }});
await http.delete(url);
await http.head(url);
await http.request("OPTIONS", url);
setData(1);
""",
    )

    assert [
        (r.method, r.body.decode(), r.headers.get("content-type")) for r in server.received
    ] == [
        ("POST", '{"n":1}', "application/json"),
        ("PUT", "täxt", "text/plain; charset=utf-8"),
        ("PATCH", "[1]", "application/x"),
        ("DELETE", "", None),
        ("HEAD", "", None),
        ("OPTIONS", "", None),
    ]


def test_requests_are_under_way_at_the_same_time(pool: HostPool, server: Loopback) -> None:
    all_are_here = threading.Barrier(5)

    def meet(handler: Handler) -> None:
        all_are_here.wait(PATIENCE)
        handler.answer(200, handler.path.rpartition("=")[2].encode(), {})

    server.pages["/meet"] = meet

    given = result(
        pool,
        f"""
const asked = [1, 2, 3, 4, 5].map(n => http.get("{server.url("/meet")}?n=" + n));
setData((await Promise.all(asked)).map(r => r.data));
""",
    )

    assert given == [1, 2, 3, 4, 5]


def test_more_requests_than_go_at_once_are_made_all_the_same(
    pool: HostPool, server: Loopback
) -> None:
    server.answers("/", 200, b"1")

    given = result(
        pool,
        f"""
let sum = 0;
await Promise.all(Array.from({{ length: 50 }}, async () => {{
  const response = await http.get("{server.url()}");
  sum += response.data;
}}));
setData(sum);
""",
    )

    assert given == 50


@pytest.mark.parametrize("status", [429, 503])
def test_a_script_that_is_told_to_wait_is_run_again_then(
    pool: HostPool, server: Loopback, status: int
) -> None:
    server.answers("/", status, Retry_After="17")
    code = f'(await http.get("{server.url("/?key=x")}")).raiseForStatus(); setData(1)'

    retry = run(pool, code).error

    assert isinstance(retry, ScriptRetry)
    assert retry.after == 17
    assert str(retry) == f"HttpError: GET {server.url('/')} was answered with {status}"


def test_a_script_may_see_to_being_told_to_wait_itself(pool: HostPool, server: Loopback) -> None:
    server.answers("/", 429, b"busy", Retry_After="17")
    code = f"""
try {{ (await http.get("{server.url()}")).raiseForStatus(); }}
catch (e) {{ setData([e.name, e.kind, e.response.status, e.response.retryAfter]); }}"""

    assert result(pool, code) == ["HttpError", "status", 429, 17]


def test_a_status_that_is_an_error_is_raised_with_the_line(
    pool: HostPool, server: Loopback
) -> None:
    error = run(
        pool, f'\n(await http.get("{server.url("/none")}")).raiseForStatus(); setData(1)'
    ).error

    assert isinstance(error, ScriptRaised)
    assert str(error) == f"HttpError: GET {server.url('/none')} was answered with 404: nothing here"
    assert "at pricing:2:" in error.traceback


def test_a_call_that_fails_names_the_line_of_the_script(pool: HostPool) -> None:
    code = 'const ask = () =>\n  http.get("http://127.0.0.1:1/");\nsetData(await ask());'

    error = run(pool, code, network=False).error

    assert isinstance(error, ScriptInvalid)
    assert error.traceback.startswith(f"{error}\n    at ask (pricing:2:")
    called = '        http.get("http://127.0.0.1:1/");\n             ^\n    at pricing:3:'
    assert called in error.traceback


def test_a_request_that_may_not_be_made_is_refused(pool: HostPool, server: Loopback) -> None:
    code = f'await http.get("{server.url()}"); setData(1)'

    error = run(pool, code, network=False).error

    assert "network access is off" in str(error)
    assert server.received == []


def test_time_limit_holds_while_a_request_is_waited_for(pool: HostPool, server: Loopback) -> None:
    server.pages["/slow"] = lambda handler: server.closing.wait(PATIENCE)
    code = f"""
for (;;) {{ try {{ await http.get("{server.url("/slow")}"); }} catch {{}} }}
setData(1)"""

    outcome = run(pool, code, timeout_seconds=0.5)

    assert type(outcome.error) is ScriptTimedOut


def test_a_request_of_one_message_is_no_business_of_the_next(
    pool: HostPool, server: Loopback
) -> None:
    server.answers("/", 200, b"7")
    code = f"""
const asked = http.get("{server.url()}").then(r => r.data);
if (context.attempt === 1) {{ await null; null.x; }}
setData(await asked);"""
    rights: Any = {"network": True, "private_addresses": True}
    program = Program(1, "pricing", "javascript", code, 20, 256, **rights)
    site = CallSite("orders", "price", "to-price", is_last=True)
    calls = [Call(n, "c", 1 + n % 2, "d", b'{"payload":{}}') for n in range(10)]
    outcomes: list[Outcome] = []

    pool.submit(program, site, calls, 1)
    while pool.outstanding():
        outcomes += pool.collect(20)

    given = {outcome.call.key: outcome.output for outcome in outcomes}
    assert given == {n: b"7" if n % 2 else None for n in range(10)}


def test_secrets_are_read_by_name_and_masked_in_what_is_told(pool: HostPool) -> None:
    code = """
log(context.secrets["shop.key"]);
const tried = n => { try { return context.secrets[n] } catch (e) { return e.message } };
setData(["shop.key" in context.secrets, "gone" in context.secrets, "other" in context.secrets,
  tried("gone"), tried("other"), context.secrets["shop.key"].length])"""

    outcome = run(pool, code, secrets=("shop.key", "gone"))

    assert json.loads(outcome.output or b"") == [
        *[True, False, False],
        "There is no secret 'gone'.",
        "The script was not given a secret 'other'.",
        9,
    ]
    assert [line["text"] for line in outcome.logs] == ["***"]


def test_a_script_gets_text_in_its_charset_and_bytes_in_base64(
    pool: HostPool, server: Loopback
) -> None:
    pdf = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"
    server.answers("/pdf", 200, pdf, Content_Type="application/pdf")
    server.answers("/ru", 200, "Привет".encode("cp1251"), Content_Type="text/x; charset=cp1251")
    server.answers("/mark", 200, b'\xef\xbb\xbf{"a": 1}', Content_Type="application/json")
    server.answers("/", 204)

    def cookies(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
        handler.wfile.write(b"Set-Cookie: a=1, 2\r\nSet-Cookie: b=3\r\n\r\n")

    server.pages["/cookies"] = cookies

    given = result(
        pool,
        f"""
const at = "{server.url("")}";
const pdf = await http.get(at + "/pdf");
const ru = await http.get(at + "/ru");
const mark = await http.get(at + "/mark");
const cookies = await http.get(at + "/cookies");
await http.put(at + "/", pdf.base64, {{ base64: true }});
let told;
try {{ pdf.body }} catch (error) {{ told = [error.name, error.kind, error.message] }}
setData([pdf.base64, pdf.data === undefined, told, ru.body, mark.data.a, cookies.setCookies,
  ru.setCookies]);
""",
    )

    encoded = b64encode(pdf).decode()
    message = f"The body of {server.url('/pdf')} is no text: byte 10 is not utf-8, of 14 bytes."
    told = ["HttpError", "encoding", f"{message} Its bytes are in base64."]
    assert given == [encoded, True, told, "Привет", 1, ["a=1, 2", "b=3"], []]
    assert server.received[-1].body == pdf


def test_javascript_makes_requests_side_by_side(pool: HostPool, server: Loopback) -> None:
    server.answers("/orders", 201, b'{"n": 7}', X_Number="7")

    outcome = run(
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

    outcome = run(
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
    code = 'log(context.secrets["shop.key"]); setData(context.secrets["shop.key"].length)'

    outcome = run(pool, code, secrets=("shop.key",))

    assert (outcome.output, outcome.logs[0]["text"]) == (b"9", "***")


@pytest.mark.parametrize(
    "call",
    [
        "http.post(url, 'a\\ud800b')",
        "http.post(url, '\\\\\\ud800')",
        "http.post(url, null, {form: {k: 'a\\udfffb'}})",
        "http.get(url, {headers: {X: 'a\\ud800b'}})",
        "http.post(url, {k: 'a\\ud800b'})",
    ],
)
def test_half_a_character_goes_nowhere(pool: HostPool, server: Loopback, call: str) -> None:
    error = run(pool, f"const url = '{server.url()}';\nawait {call}; setData(1)").error

    assert isinstance(error, ScriptInvalid)
    assert "surrogate" in str(error)
    assert server.received == []


@pytest.mark.parametrize("text", ["\\\\ud800", "😀", "\\u{10ffff}", "\\\\\\\\udfff"])
def test_whole_characters_go_as_they_are(pool: HostPool, server: Loopback, text: str) -> None:
    server.answers("/", 204)

    result(pool, f"await http.post('{server.url()}', '{text}'); setData(1)")

    assert len(server.received) == 1


@pytest.mark.parametrize(
    "sent", ["new Uint8Array(2 ** 20).fill(255)", "'\"'.repeat(1e6)", "{x: 'é'.repeat(5e5)}"]
)
def test_a_body_of_one_mebibyte_fits(pool: HostPool, server: Loopback, sent: str) -> None:
    server.answers("/", 204)

    result(pool, f"setData((await http.post('{server.url()}', {sent})).status)")

    assert len(server.received[0].body) >= 10**6
