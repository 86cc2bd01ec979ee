"""``context.http`` as a script sees it, and what is told of its requests."""

import time

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.errors import (
    ScriptInvalid,
    ScriptKilled,
    ScriptRaised,
    ScriptRetry,
    ScriptTimedOut,
)
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.requests_of_scripts import error, result, run, submit
from tests.loopback import Handler, Loopback
from tests.waiting import PATIENCE, wait_for


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

    url = "/orders?x=1&y=a%20b&z=1&z=2"
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
        (
            "{'amount': float('nan')}",
            "WrongArgument: json: $.amount is NaN, which JSON cannot hold.",
        ),
        ("[1, {2}]", "WrongArgument: json: $[1] is a set, which JSON cannot hold; use a list."),
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
    assert (
        str(raised) == f"HttpError: GET {server.url('/none')} was answered with 404: nothing here"
    )


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
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(PATIENCE)
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
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(PATIENCE)

    raised = error(pool, f'context.http.get("{server.url()}", timeout=0.2)')

    assert isinstance(raised, ScriptRaised)
    assert f"{server.url()} did not answer in time" in str(raised)


def test_an_error_tells_that_the_time_limit_of_the_script_was_shorter(
    pool: HostPool, server: Loopback
) -> None:
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(PATIENCE)
    body = f"""
try:
    context.http.get("{server.url()}", timeout=20)
except context.http.Error as error:
    context.log(str(error))
"""
    outcome = run(pool, body, timeout_seconds=1)

    assert outcome.logs[0]["text"].endswith("did not answer before the time limit of the script.")


@pytest.mark.parametrize(
    "call",
    [
        "context.http.post(url, data='a\\ud800b')",
        "context.http.post(url, form={'k': 'a\\ud800b'})",
        "context.http.get(url, headers={'X': 'a\\ud800b'})",
        "context.http.post(url, files={'f': ('a\\ud800', b'1')})",
        "context.http.post(url, json={'k': 'a\\ud800b'})",
    ],
)
def test_half_a_character_goes_nowhere(pool: HostPool, server: Loopback, call: str) -> None:
    raised = error(pool, f"url = '{server.url()}'\n{call}")

    assert isinstance(raised, ScriptInvalid)
    assert "surrogate" in str(raised)
    assert server.received == []


@pytest.mark.parametrize(
    "sent",
    [
        "data=b'\\xff' * 2**20",
        "files={'f': b'1' * 1_040_000}",
        "data='\"' * 10**6",
        "json={'x': 'é' * 500_000}",
        "data='é' * 2**19",
    ],
)
def test_a_body_of_one_mebibyte_fits(pool: HostPool, server: Loopback, sent: str) -> None:
    server.answers("/", 204)

    result(pool, f"return context.http.post('{server.url()}', {sent}).status")

    assert len(server.received[0].body) >= 10**6


def test_a_body_that_is_no_json_is_told_with_its_beginning(
    pool: HostPool, server: Loopback
) -> None:
    server.answers("/login", 200, b"<html>Please log in</html>")

    raised = error(pool, f'return context.http.get("{server.url("/login?token=s")}").json()')

    url = server.url("/login")
    assert f"GET {url} was answered with 200, and no JSON: <html>Please log in" in str(raised)


def test_a_script_that_waits_for_a_server_can_be_cancelled(
    pool: HostPool, server: Loopback
) -> None:
    server.pages["/"] = lambda handler: handler.loopback.closing.wait(PATIENCE)
    submit(pool, f'context.http.get("{server.url()}")')
    wait_for(lambda: pool.collect(0.01) or server.received)

    pool.cancel({"key"})

    (outcome,) = pool.collect(PATIENCE)
    assert isinstance(outcome.error, ScriptKilled)


@pytest.mark.long
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
