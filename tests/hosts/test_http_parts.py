"""Forms, files, credentials, certificates and several calls at once, in both languages alike."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.services import RequestFailed
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.outside_calls.test_servers import certificate
from tests.hosts.zygotes import Zygotes
from tests.loopback import Handler, Loopback, serving
from tests.waiting import PATIENCE

VALUES: dict[str, str] = {"broken": "no PEM", "login": "s3cret-token"}
LANGUAGES = ("python", "javascript")


def read_secret(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    if request["name"] not in program.secrets:
        raise RequestFailed(
            f"The script was not given a secret {request['name']!r}.", "not-granted"
        )
    return {"value": VALUES[request["name"]]}


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    calls = OutsideCalls(secrets=read_secret)
    pool = HostPool(services=lambda: {"http": calls, "secret": read_secret})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Loopback]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: Loopback) -> Loopback:
    shared.received.clear()
    shared.pages.clear()
    shared.answers("/", 200, b"ok")
    return shared


def run(pool: HostPool, language: str, code: str) -> Outcome:
    if language == "python":
        lines = "".join(f"    {line}\n" for line in code.splitlines())
        code = f"def run(message, context):\n    http = context.http\n{lines}"
    rights: Any = {"network": True, "private_addresses": True, "secrets": tuple(VALUES)}
    program = Program(1, "pricing", language, code, 20, 256, **rights)
    site = CallSite("orders", "price", "to-price", is_last=True)
    pool.submit(program, site, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)
    (outcome,) = pool.collect(PATIENCE)
    return outcome


def result(pool: HostPool, language: str, code: str) -> Any:
    outcome = run(pool, language, code)
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output or b"")


def parts(received: Any) -> list[Message]:
    head = f"Content-Type: {received.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + received.body)
    return list(message.walk())[1:]


# A call with each option, as Python and as JavaScript write it.
LISTS = {
    "python": "http.get(url, params={'a': [odd, 2, None], 'b': None, 'c': True, 'd': []})",
    "javascript": "await http.get(url, {params: {a: [odd, 2, null], b: null, c: true, d: []}})",
}
PAIRS = {
    "python": "http.get(url, params=[('a', 1), ('b', 2), ('a', 3)])",
    "javascript": "await http.get(url, {params: [['a', 1], ['b', 2], ['a', 3]]})",
}
FORM = {
    "python": "http.post(url, form={'a': 'ä b', 'n': [1, 2], 'no': None, 't': False})",
    "javascript": "await http.post(url, null, {form: {a: 'ä b', n: [1, 2], no: null, t: false}})",
}
BYTES = {
    "python": "http.put(url, data=bytes([0, 255, 10]))",
    "javascript": "await http.put(url, new Uint8Array([0, 255, 10]))",
}
FILES = {
    "python": "http.post(url, form={'kind': 'scan'}, files={'a': b'\\x00\\xff', 'b': "
    "('ü\"x.csv', 'ä;1', 'text/csv'), 'none': None})",
    "javascript": "await http.post(url, null, {form: {kind: 'scan'}, files: {a: new Uint8Array([0,"
    " 255]), b: {name: 'ü\"x.csv', content: 'ä;1', type: 'text/csv'}, none: null}})",
}
BASIC = {
    "python": "http.get(url, auth=('ada', 'pä:ss'))",
    "javascript": "await http.get(url, {auth: ['ada', 'pä:ss']})",
}
BEARER = {
    "python": "http.get(url, auth=context.secrets['login'])",
    "javascript": "await http.get(url, {auth: context.secrets.login})",
}


def sent(pool: HostPool, language: str, server: Loopback, call: dict[str, str]) -> Any:
    ends = {"python": "\nreturn 1", "javascript": "; setData(1)"}
    before = {"python": "", "javascript": "const "}
    result(
        pool,
        language,
        f"{before[language]}url = '{server.url()}'\n"
        f'{before[language]}odd = "x y+é!\'()*~/"\n{call[language]}{ends[language]}',
    )
    return server.received[-1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_lists_and_pairs_are_sent_alike(pool: HostPool, server: Loopback, language: str) -> None:
    query = sent(pool, language, server, LISTS).path

    assert query == "/?a=x%20y%2B%C3%A9!'()*~%2F&a=2&c=true"
    assert sent(pool, language, server, PAIRS).path == "/?a=1&b=2&a=3"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_form_is_sent_as_browsers_do(pool: HostPool, server: Loopback, language: str) -> None:
    received = sent(pool, language, server, FORM)

    assert received.headers["content-type"] == "application/x-www-form-urlencoded"
    assert received.body.decode() == "a=%C3%A4+b&n=1&n=2&t=false"


@pytest.mark.parametrize("language", LANGUAGES)
def test_bytes_are_sent_as_they_are(pool: HostPool, server: Loopback, language: str) -> None:
    received = sent(pool, language, server, BYTES)

    assert received.headers["content-type"] == "application/octet-stream"
    assert received.body == b"\x00\xff\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_files_are_parts_of_a_form(pool: HostPool, server: Loopback, language: str) -> None:
    kind, first, second = parts(sent(pool, language, server, FILES))

    assert kind.get_payload(decode=True) == b"scan"
    assert 'name="a"; filename="a"' in first["content-disposition"]
    assert first.get_payload(decode=True) == b"\x00\xff"
    assert second.get_content_type() == "text/csv"
    assert second.get_payload(decode=True) == "ä;1".encode()
    assert "%22x.csv" in str(second["content-disposition"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_credentials_are_a_header(pool: HostPool, server: Loopback, language: str) -> None:
    basic = sent(pool, language, server, BASIC).headers["authorization"]
    bearer = sent(pool, language, server, BEARER).headers["authorization"]

    assert basic == "Basic YWRhOnDDpDpzcw=="
    assert bearer == "Bearer s3cret-token"


MISTAKES = [
    ("http.get(url, parms={})", "await http.get(url, {parms: {}})", "cert, not parms"),
    (
        "target = url; http.all([{'url': target, 'x': 1}])",
        "const target = url; await http.all([{url: target, x: 1}])",
        "cert, not x",
    ),
    ("http.get(url, auth=('a:b', 'c'))", "await http.get(url, {auth: ['a:b', 'c']})", "auth takes"),
    ("http.get(url, auth=5)", "await http.get(url, {auth: 5})", "auth takes a token"),
    (
        "http.get(url, auth='t', headers={'Authorization': 'x'})",
        "await http.get(url, {auth: 't', headers: {authorization: 'x'}})",
        "auth or the header Authorization",
    ),
    ("http.get(url, ca='none')", "await http.get(url, {ca: 'none'})", "not given a secret 'none'"),
    ("http.get(url, ca='broken')", "await http.get(url, {ca: 'broken'})", "certificate in PEM"),
    ("http.get(url, cert='broken')", "await http.get(url, {cert: 'broken'})", "in PEM"),
    ("http.get(url, ca=5)", "await http.get(url, {ca: 5})", "ca takes the name of a secret"),
    ("http.post(url, 1, form={})", "await http.post(url, 1, {form: {}})", "form"),
    ("http.post(url, files={'a': 5})", "await http.post(url, null, {files: {a: 5}})", "files"),
    (
        "http.get(url, {'a': {'b': 1}})",
        "await http.get(url, {params: {a: {b: 1}}})",
        "must be a text, a number or a boolean",
    ),
    (
        "http.get(url, {'a': float('nan')})",
        "await http.get(url, {params: {a: NaN}})",
        "must be a text, a number or a boolean",
    ),
    (
        "http.get(url, [('a',)])",
        "await http.get(url, {params: [['a']]})",
        "pairs of name and value",
    ),
    (
        "http.post(url, form={'a': [[1]]})",
        "await http.post(url, null, {form: {a: [[1]]}})",
        "must be a text, a number or a boolean",
    ),
    (
        "http.get(url, headers={'A': ['b']})",
        "await http.get(url, {headers: {A: ['b']}})",
        "must be a text, a number or a boolean",
    ),
    ("http.get(url, headers=[('A', 'b')])", "await http.get(url, {headers: [['A', 'b']]})",
     "headers"),
    ("http.get(url and None)", "await http.get(url && null)", "a request takes a url"),
    ("http.all(url)", "await http.all(url)", "http.all() takes"),
    ("http.all([{'method': url}])", "await http.all([{method: url}])", "a url"),
    ("http.all([url and 5])", "await http.all([url && 5])", "each request"),
    ("http.get(url, timeout='5')", "await http.get(url, {timeout: '5'})", "timeout must be"),
]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("python", "javascript", "said"), MISTAKES)
def test_an_option_that_cannot_be_is_an_error(
    pool: HostPool, server: Loopback, language: str, python: str, javascript: str, said: str
) -> None:
    call = {"python": python, "javascript": f"{javascript}; setData(1)"}[language]

    error = run(pool, language, call.replace("url", f"'{server.url()}'", 1)).error

    assert said in str(error), error
    assert server.received == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{form: {a: 1}}", "http.post(url, null, { … })"),
        ("{headers: {A: 'b'}, timeout: 5}", "was given headers, timeout as the body"),
        ("{json: {a: 1}, headers: {}}", "http.post(url, value, { … })"),
    ],
)
def test_options_are_no_body(pool: HostPool, server: Loopback, body: str, said: str) -> None:
    code = f"await http.post('{server.url()}', {body}); setData(1)"

    assert said in str(run(pool, "javascript", code).error)
    assert server.received == []


@pytest.mark.parametrize(
    "arguments", ["{form: {a: 1}}, {}", "{form: 1, id: 2}", "{data: {}}", "{}"]
)
def test_a_body_that_looks_like_options_is_sent(
    pool: HostPool, server: Loopback, arguments: str
) -> None:
    call = {"javascript": f"await http.post(url, {arguments})"}

    assert sent(pool, "javascript", server, call).headers["content-type"] == "application/json"


@pytest.mark.parametrize("language", LANGUAGES)
def test_bytes_of_an_answer_are_bytes(pool: HostPool, server: Loopback, language: str) -> None:
    server.answers("/image", 200, b"\x89PNG\x00", Content_Type="image/png")
    server.answers("/text", 200, "ä".encode(), Content_Type="text/plain")
    code = {
        "python": "return [list(http.get(base + path).content) for path in ('image', 'text')]",
        "javascript": "const all = await http.all([base + 'image', base + 'text']);\n"
        "setData(all.map((each) => Array.from(each.bytes)))",
    }[language]

    given = result(pool, language, code.replace("base", f"'{server.url()}'"))

    assert given == [[137, 80, 78, 71, 0], [195, 164]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_error_has_an_excerpt_of_the_body(
    pool: HostPool, server: Loopback, language: str
) -> None:
    body = b'{\n  "message": "no such   order"\n}' + b"." * 500
    server.answers("/", 422, body)
    code = {
        "python": "try:\n    http.get(url).raise_for_status()\n"
        "except http.Error as e:\n    return [str(e), e.status, e.kind, e.response.status]",
        "javascript": "try { (await http.get(url)).raiseForStatus(); }\n"
        "catch (e) { setData([e.message, e.status, e.kind, e.response.status]); }",
    }[language]

    said, *rest = result(pool, language, code.replace("url", f"'{server.url()}'"))

    start = f'GET {server.url()} was answered with 422: {{ "message": "no such order" }}...'
    assert said.startswith(start)
    assert said.endswith(".…")
    assert len(said) < 300
    assert rest == [422, "status", 422]


@pytest.mark.parametrize("language", LANGUAGES)
def test_several_calls_are_made_at_once_and_answered_in_their_order(
    pool: HostPool, server: Loopback, language: str
) -> None:
    here: list[str] = []

    def page(handler: Handler) -> None:
        # No call is answered before all have come.
        here.append(handler.path)
        deadline = 20.0
        while len(here) < 3 and deadline > 0:
            deadline -= handler.loopback.closing.wait(0.01) or 0.01
        handler.answer(200, handler.path.encode() if len(here) >= 3 else b"alone", {})

    server.pages.update({"/a": page, "/b": page, "/c": page})
    code = {
        "python": "answers = http.all([base + 'a', {'url': base + 'b',"
        " 'method': 'post', 'json': 1}, {'url': base + 'c', 'params': {'x': 1}}])\n"
        "return [each.text for each in answers]",
        "javascript": "const answers = await http.all([base + 'a', {url: base + 'b',"
        " method: 'post', body: 1}, {url: base + 'c', params: {x: 1}}]);\n"
        "setData(answers.map((each) => each.body))",
    }[language]

    given = result(pool, language, code.replace("base", f"'{server.url()}'"))

    assert given == ["/a", "/b", "/c?x=1"]


def test_of_several_calls_in_python_the_first_error_counts_when_all_have_ended(
    pool: HostPool, server: Loopback
) -> None:
    asked = f"['{server.url()}', 'http://127.0.0.1:1/', '{server.url()}', 'ftp://x']"
    code = f"""
try:
    http.all({asked})
except http.Error as error:
    first = error.kind
answers = http.all({asked}, return_errors=True)
return [first, [getattr(each, "kind", None) or each.status for each in answers], http.all([])]
"""

    assert result(pool, "python", code) == ["connect", [200, "connect", 200, "invalid"], []]
    assert len(server.received) == 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_more_calls_than_run_at_once_all_get_their_answers(
    pool: HostPool, server: Loopback, language: str
) -> None:
    server.pages["/n"] = lambda handler: handler.answer(200, handler.path.encode(), {})
    code = {
        "python": "urls = [base + f'n?{n}' for n in range(40)]\n"
        "return [each.text for each in http.all(urls)]",
        "javascript": "const urls = Array.from({length: 40}, (_, n) => base + 'n?' + n);\n"
        "setData((await http.all(urls)).map((each) => each.body))",
    }[language]

    given = result(pool, language, code.replace("base", f"'{server.url()}'"))

    assert given == [f"/n?{n}" for n in range(40)]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A server with a certificate of its own, which asks each caller for one."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    serves, calls = certificate(folder, "localhost"), certificate(folder, "caller")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(serves)
    context.load_verify_locations(calls)
    context.verify_mode = ssl.CERT_REQUIRED
    begin = "-----BEGIN CERTIFICATE"
    VALUES["own.ca"] = begin + serves.read_text().partition(begin)[2]
    VALUES["own.cert"] = calls.read_text()
    with serving(context) as server:
        server.answers("/", 200, b"known")
        yield server


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"ca": "own.ca", "cert": "own.cert"}, "known"),
        ({"ca": "own.ca"}, "protocol|tls"),
        ({"cert": "own.cert"}, "tls"),
        ({}, "tls"),
    ],
)
def test_certificates_come_from_the_secrets(
    pool: HostPool, asking: Loopback, language: str, options: dict[str, str], given: str
) -> None:
    url = asking.url(host="localhost", scheme="https")
    code = {
        "python": f"try:\n    return http.get('{url}', **{options}).text\n"
        "except http.Error as error:\n    return error.kind",
        "javascript": f"try {{ setData((await http.get('{url}', {options})).body) }}\n"
        "catch (error) { setData(error.kind) }",
    }[language]

    assert result(pool, language, code) in given.split("|")


def test_no_key_is_shown_to_another_server(
    pool: HostPool, asking: Loopback, server: Loopback
) -> None:
    asking.answers("/on", 302, Location=asking.url("/", host="127.0.0.1", scheme="https"))
    url = asking.url("/on", host="localhost", scheme="https")
    code = f"""
try:
    return http.get('{url}', ca='own.ca', cert='own.cert').text
except http.Error as error:
    return error.kind
"""

    assert result(pool, "python", code) in ("tls", "protocol")
