"""Requests to the outside."""

from typing import Any

import pytest

from scripts.host.context import Context
from scripts.host.languages.javascript import JavaScriptScript
from scripts.protocol.envelope import encode
from scripts.protocol.errors import (
    ScriptRejected,
)
from tests.hosts.javascript.helpers import Replies, raised, refused, run


def page(body: str, status: int = 200) -> dict[str, Any]:
    return {"status": status, "headers": {"x": "1"}, "body": body, "url": "http://a/"}


def test_get_gives_status_headers_body_and_data() -> None:
    replies = Replies((1, page('{"n": 12345678901234567890}')))
    code = """
const r = await http.get("http://a/", { headers: { "X-Key": 5 }, timeout: 3 });
setData([r.status, r.ok, r.headers.x, r.body, r.data, r.url])"""

    output = run(code, replies=replies)

    assert output == [
        *[200, True, "1", '{"n": 12345678901234567890}'],
        *[{"n": 12345678901234567890}, "http://a/"],
    ]
    assert replies.asked == [
        (
            "http",
            {
                "method": "GET",
                "url": "http://a/",
                "headers": {"X-Key": "5"},
                "body": None,
                "timeout": 3,
            },
        )
    ]


@pytest.mark.parametrize(
    ("name", "own"),
    [("text", "body"), ("statusCode", "status"), ("json()", "data"), ("content", "bytes")],
)
def test_what_answers_of_others_have_is_an_error_that_names_its_own(name: str, own: str) -> None:
    replies = Replies((1, page("{}")))
    error = refused(f"const r = await http.get('http://a/');\nsetData(r.{name})", replies=replies)

    assert str(error) == f"TypeError: an answer has no {name.rstrip('()')}: use {own}"
    assert error.line == 2


def test_post_sends_objects_as_json_and_texts_as_they_are() -> None:
    replies = Replies((1, page("no json", 404)), (2, page("")))
    code = """
const r = await http.post("http://a/", { id: 2n ** 64n });
await context.http.post("http://a/", "text");
setData([r.ok, r.data === undefined])"""

    assert run(code, replies=replies) == [False, True]
    requests = [request for _, request in replies.asked]
    assert requests[0]["body"] == '{"id":18446744073709551616}'
    assert requests[0]["headers"] == {"Content-Type": "application/json"}
    assert requests[1]["body"] == "text"
    assert requests[1]["headers"] == {"Content-Type": "text/plain; charset=utf-8"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'u', { amount: NaN }", "TypeError: body.amount is NaN, which JSON cannot hold."),
        ("'u', [1, [Infinity]]", "TypeError: body[1][0] is infinite, which JSON cannot hold."),
        ("'u', new Map()", "TypeError: body is a Map, which JSON cannot hold; use Object.from"),
        ("'u', () => 1", "TypeError: body is a function, which JSON cannot hold; call it."),
        ("'u', [new Uint8Array(2)]", "TypeError: body[0] is a Uint8Array, which JSON cannot"),
        ("'u', 'x', { form: {} }", "TypeError: a request has a body, or form and files"),
        ("'u', null, { files: { a: 5 } }", "TypeError: files.a must be a text, bytes or {name"),
        (
            "'u', {}, { header: {} }",
            "TypeError: a request takes headers, params, timeout, base64, form, files, auth, ca",
        ),
        ("'u', {}, { params: 'a=1' }", "TypeError: params must be an object"),
        ("'u', {}, { params: { a: {} } }", "TypeError: params.a must be a text, a number or a bo"),
        ("'u', {}, { params: { a: NaN } }", "TypeError: params.a must be a text, a number or a b"),
        ("'u', {}, { headers: new Map([['X', '1']]) }", "TypeError: headers must be an object"),
        ("'u', {}, { headers: { X: ['1', '2'] } }", "TypeError: headers.X must be a text"),
        ("'u', {}, { timeout: NaN }", "TypeError: timeout must be a number of seconds above 0"),
        ("'u', {}, 5", "TypeError: options must be an object"),
    ],
)
def test_request_that_would_be_sent_as_something_else_is_refused(
    arguments: str, message: str
) -> None:
    replies = Replies()

    error = refused(f"await http.post({arguments}); setData(1)", replies=replies)

    assert str(error).startswith(message)
    assert replies.asked == []


@pytest.mark.parametrize(
    ("url", "params", "sent"),
    [
        ("http://a/p#top", "{ q: 'x y' }", "http://a/p?q=x%20y#top"),
        ("http://a/p?b=1#top", "{ q: 1 }", "http://a/p?b=1&q=1#top"),
        ("http://a/#?x", "{ q: 1 }", "http://a/?q=1#?x"),
        (
            "http://a/",
            "{ a: [1, null, 'x'], b: undefined, c: null, d: true }",
            "http://a/?a=1&a=x&d=true",
        ),
        ("http://a/#top", "{}", "http://a/#top"),
    ],
)
def test_params_are_in_the_query_whatever_the_url(url: str, params: str, sent: str) -> None:
    replies = Replies((1, page("")))

    run(
        f"await http.request('get', {url!r}, null, {{ params: {params} }}); setData(1)",
        replies=replies,
    )

    [(_, request)] = replies.asked
    assert (request["url"], request["method"]) == (sent, "GET")


def test_numbers_go_to_and_come_from_a_server_as_they_are_written() -> None:
    replies = Replies((1, page('{"rate": 1.10, "id": 1234567890123456.78, "n": 1e5}')))
    code = "const r = await http.post('http://a/', context.Data.payload); setData(r.data)"
    body = b'{"correlationId":"c","payload":{"total":12.50,"z":-0}}'
    context = Context("c", "f", "s", "q", 1, "d", [], replies, 1, lambda call, progress: None)
    script = JavaScriptScript("p", code)

    output = encode(script.run(body, context), context._numerals)

    script.forget()
    assert output == b'{"rate":1.10,"id":1234567890123456.78,"n":1e5}'
    assert replies.asked[0][1]["body"] == '{"total":12.50,"z":-0}'


def test_several_requests_are_under_way_at_once() -> None:
    replies = Replies((3, page("3")), (1, page("1")), (2, page("2")))
    code = """
const all = await Promise.all(["a", "b", "c"].map(u => http.get(u)));
setData(all.map(r => r.data))"""

    assert run(code, replies=replies) == [1, 2, 3]
    assert [request["url"] for _, request in replies.asked] == ["a", "b", "c"]


def test_request_that_fails_rejects_its_promise() -> None:
    refusal = {"error": "No route.", "kind": "connect"}
    caught = "try { await http.get('x') } catch (e) { setData([e.message, e.kind]) }"

    assert run(caught, replies=Replies((1, refusal))) == ["No route.", "connect"]
    assert "No route." in str(
        raised("await http.get('x');\nsetData(1)", replies=Replies((1, refusal)))
    )


def test_request_that_is_not_awaited_is_finished_before_the_message_is() -> None:
    replies = Replies((1, {"error": "No route.", "kind": "unreachable"}))

    error = raised("http.post('http://audit/', 'x'); setData(1)", replies=replies)

    assert "No route." in str(error)


def test_no_request_is_made_after_the_end_was_asked_for() -> None:
    replies = Replies()
    code = "try { reject('no') } catch { await http.get('x') } setData(1)"

    with pytest.raises(ScriptRejected):
        run(code, replies=replies)

    assert replies.asked == []


def test_a_text_of_backslashes_takes_no_more_memory_than_another() -> None:
    replies = Replies((1, page("")))

    run(r"await http.post('http://a/', '\\'.repeat(1e6)); setData(1)", replies=replies)

    assert replies.asked[0][1]["body"] == "\\" * 10**6
