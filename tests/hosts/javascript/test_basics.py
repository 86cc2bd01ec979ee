"""URL, crypto, TextEncoder, structuredClone: as in Node, and as Python computes them."""

import hashlib
import hmac
import json
import subprocess
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.host.languages.javascript import JavaScriptScript
from tests.hosts.javascript.helpers import Replies, raised, run, run_once
from tests.hosts.javascript.node import NODE, in_node, needs_node

# Each expression is evaluated here and in Node; both give the same value, or an error of one kind.
URLS = [
    "http://example.org",
    "https://User:Pa%20ss@Example.ORG:443/a/./b/../c/?q=ä&x='#f g",
    "http://example.org:8080/%7Efoo/../bar?a=1&b=%20c+d#top",
    "  http://a/b c\t\n ",
    "HTTP:\\\\a\\b",
    "http:a",
    "http://0x7f.1/",
    "http://1.2.3/",
    "http://256.1.1.1/",
    "http://1.2.3.4.5/",
    "http://[2001:DB8::0:1]/",
    "http://[::ffff:1.2.3.4]:80/",
    "http://[1:2:3]/",
    "http://[::1",
    "http://a b/",
    "http://a%41b/",
    "http://a:99999/",
    "http://a:/x",
    "http://",
    "//a/b",
    "/a",
    "",
    "mailto:ada@example.org?subject=Hi there",
    "data:text/plain,a b#c d",
    "urn:isbn:1",
    "foo://bar/baz/../qux?x#y",
    "foo:/bar",
    "foo:///x",
    "foo://",
    "javascript:alert(1)",
    "ftp://a:21/x",
    "ws://a:80/",
    "file:///etc/passwd",
    "file:c:/x",
    "http://user@/x",
    "http://a@b@c/",
    "http://a/?",
    "http://a/#",
    "http://a/?#",
    "http://a//b///c",
    "http://a/..//../b",
    "http://a/%2e%2E/b/%2e",
    "http://a/\ud83d\ude00",
    'http://a/{b}|c`"<>',
    "http://a?b?c=d#e#f",
    "http://xn--mnchen-3ya.example/",
    "1http://a",
    "a-b+c.d://e",
]
PARTS = (
    "((u) => [u.href, u.origin, u.protocol, u.username, u.password, u.host, u.hostname, u.port,"
    " u.pathname, u.search, u.hash, [...u.searchParams], JSON.stringify(u)])"
)
RELATIVE = [
    "",
    "x",
    "./x",
    "../x",
    "../../../x",
    "/x",
    "//h/x",
    "?q",
    "#f",
    "http:x",
    "https:x",
    "x:y",
]
BASES = ["http://a/b/c/d?q#f", "http://a", "foo://h/p/q", "mailto:x"]
CHANGES = [
    "u.port = '81'",
    "u.port = '80'",
    "u.port = 'x'",
    "u.host = 'b:99'",
    "u.hostname = 'c d'",
    "u.hostname = 'new.example'",
    "u.protocol = 'https'",
    "u.protocol = 'foo'",
    "u.pathname = 'x y/../z?#'",
    "u.search = 'a=b c'",
    "u.search = ''",
    "u.hash = 'h i'",
    "u.username = 'a:b@'",
    "u.password = 'p/w'",
    "u.href = 'http://z/'",
    "u.href = 'nope'",
    "u.searchParams.append('n', 'ä &')",
    "u.searchParams.delete('q')",
    "u.searchParams.set('q', '2')",
    "u.searchParams.sort()",
]
SEARCHES = [
    "new URLSearchParams('?a=1&b=2&a=3').getAll('a')",
    "[...new URLSearchParams({ a: 1, b: null })]",
    "new URLSearchParams([['a', 'b c'], ['d', 'é~!*()\\'']]).toString()",
    "new URLSearchParams([['a']]).toString()",
    "new URLSearchParams('a=%zz&b=%E4%F6&c=%F0%9F&=x&&d').toString()",
    "[new URLSearchParams('a=1').has('a'), new URLSearchParams('a=1').has('a', '2')]",
    "new URLSearchParams('z=1&a=2&z=0').size",
    "((p) => (p.sort(), p.toString()))(new URLSearchParams('z=1&a=2&z=0'))",
    "((p) => (p.set('a', 9), p.toString()))(new URLSearchParams('a=1&b=2&a=3'))",
    "((p) => (p.delete('a', '1'), p.toString()))(new URLSearchParams('a=1&b=2&a=3'))",
    "((l) => (new URLSearchParams('a=1&b=2').forEach((v, k) => l.push(k, v)), l))([])",
    "[...new URLSearchParams('a=1&b=2').keys(), ...new URLSearchParams('a=1').values()]",
    "new URLSearchParams(new URLSearchParams('a=1')).get('x')",
    "[URL.canParse('a'), URL.canParse('a', 'http://b')]",
]
HASHES = [
    f"[...require('crypto').createHash('{name}').update('{text}').digest()]"
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
    for text in ("", "abc", "ä€😀", "x" * 200)
]
HASHES += [
    "require('crypto').createHmac('sha256', 'key').update('a').update('b').digest('hex')",
    "require('crypto').createHmac('SHA512', 'k'.repeat(200)).update('a').digest('base64')",
    "require('crypto').createHash('sha256').update('6162', 'hex').digest('base64url')",
    "require('crypto').createHash('sha256').update(new Uint8Array([1, 2]).buffer ? "
    "new Uint8Array([1, 2]) : '').digest('hex')",
    "require('crypto').createHash('md5').update('a').digest().toString('hex')",
    "require('crypto').createHmac('sha256', 'k').update('a').digest().toString('base64')",
    "require('crypto').createHash('sha1').update('a').digest().toString('base64url')",
    "Object.keys(require('crypto').createHash('md5').update('a').digest()).length",
    "((h) => (h.digest(), h.digest()))(require('crypto').createHash('md5'))",
    "require('crypto').timingSafeEqual(new Uint8Array([1]), new Uint8Array([1]))",
    "require('crypto').timingSafeEqual(new Uint8Array([1]), new Uint8Array([1, 2]))",
    "require('crypto').createHash('md5').update(5).digest('hex')",
]
CODES = [
    "[...new TextEncoder().encode('aä€😀\\ud800')]",
    "[...new TextEncoder().encode()]",
    "new TextEncoder().encodeInto('aä€', new Uint8Array(4))",
    "new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 97, 0xe2, 0x82, 0xac]))",
    "new TextDecoder('utf8', { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf, 97]))",
    "new TextDecoder().decode(new Uint8Array([97, 0xff, 0xe2, 0x82, 98, 0xf0, 0x9f, 0x98]))",
    "new TextDecoder().decode(new Uint8Array([0xed, 0xa0, 0x80, 0xc0, 0x80, 0xf5, 0x80]))",
    "new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff]))",
    "new TextDecoder('nope').encoding",
    "((d) => [d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }),"
    " d.decode(new Uint8Array([0xac, 97]), { stream: true }), d.decode()])(new TextDecoder())",
    "((d) => [d.decode(new Uint8Array([0xe2]), { stream: true }), d.decode()])(new TextDecoder())",
    "new TextDecoder().decode(new Uint8Array([97, 98]).buffer)",
    "new TextDecoder().decode(new DataView(new Uint8Array([97, 98, 99]).buffer, 1, 1))",
    "new TextDecoder().decode()",
    "new TextDecoder().decode('text')",
    "[btoa('abc'), atob('YWJj')]",
    "atob('%')",
    "btoa('€')",
]
CLONES = [
    '((c) => [Object.keys(c), c.b])(structuredClone(JSON.parse(\'{"a":1,"__proto__":{"b":2}}\')))',
    "structuredClone({ a: [1, null, 'x', { b: true }], u: undefined })",
    "((o) => (o.me = o, ((c) => c.me === c && c !== o)(structuredClone(o))))({})",
    "structuredClone(new Date(5)).toISOString()",
    "structuredClone(new Date(NaN)).getTime()",
    "((r) => [r.source, r.flags, r.lastIndex])(structuredClone(/a+/gi))",
    "[...structuredClone(new Map([[{ a: 1 }, new Set([1, 2])]]))].map(([k, v]) => [k, [...v]])",
    "((e) => [e instanceof TypeError, e.message, e.name, e.cause])"
    "(structuredClone(new TypeError('m', { cause: 5 })))",
    "[...structuredClone(new Uint8Array([1, 2, 3]).subarray(1))]",
    "((c) => c.a === c.b)(structuredClone(((b) => ({ a: b, b }))([1])))",
    "structuredClone(() => 1)",
    "structuredClone({ f() {} })",
    "structuredClone(Symbol('x'))",
    "structuredClone()",
    "structuredClone(new (class A { x = 1; get y() { return 2; } })())",
    "structuredClone([1, , 3]).hasOwnProperty(1)",
    "typeof structuredClone(Object(5))",
    "structuredClone(10n) === 10n",
    "structuredClone(new WeakMap())",
    "structuredClone(Promise.resolve(1))",
    "(() => { try { structuredClone(() => 1) } catch (e) { return [e.name, e.code] } })()",
]
CASES = [
    *(f"{PARTS}(new URL({json.dumps(url)}))" for url in URLS),
    *(f"new URL({json.dumps(url)}, {json.dumps(base)}).href" for url in RELATIVE for base in BASES),
    *(f"((u) => ({change}, u.href))(new URL('http://u:p@a/b?q=1&p=2#f'))" for change in CHANGES),
    *SEARCHES,
    *HASHES,
    *CODES,
    *CLONES,
]


def here(expressions: list[str]) -> list[Any]:
    """Return [value] for each expression, or the kind of its error, as `in_node` does."""
    code = """
const require = () => crypto;
const TextUsed = [TextEncoder, TextDecoder, URL, URLSearchParams, structuredClone];
setData(context.Data.payload.map((code) => {
  try {
    return [JSON.parse(JSON.stringify(eval("(() => (" + code + "))()")) ?? "null")];
  } catch (error) {
    return error instanceof TypeError || error instanceof RangeError ? error.name : "Error";
  }
}));
"""
    return list(run(code, expressions))


@pytest.fixture(scope="module")
def both() -> dict[str, tuple[Any, Any]]:
    """What each expression is here and in Node."""
    return dict(zip(CASES, zip(here(CASES), in_node(CASES), strict=True), strict=True))


@needs_node
@pytest.mark.parametrize("expression", CASES)
def test_it_is_as_in_node(both: dict[str, tuple[Any, Any]], expression: str) -> None:
    found, in_node = both[expression]

    assert found == in_node


DIGESTS = JavaScriptScript(
    "digests",
    """
const [data, key] = context.Data.payload.map((hex) => Uint8Array.fromHex(hex));
const names = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];
setData(names.map((name) => [crypto.createHash(name).update(data).digest("hex"),
  crypto.createHmac(name, key).update(data).digest("hex")]));
""",
)


@pytest.mark.long
@settings(deadline=None, max_examples=40)
@given(
    st.binary(max_size=300) | st.integers(50, 140).map(bytes),
    st.binary(max_size=20) | st.integers(60, 140).map(bytes),
)
def test_digests_and_hmacs_are_those_of_python(data: bytes, key: bytes) -> None:
    names = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")

    found = run_once(DIGESTS, [data.hex(), key.hex()])

    assert found == [
        [hashlib.new(name, data).hexdigest(), hmac.new(key, data, name).hexdigest()]
        for name in names
    ]


CODING = JavaScriptScript(
    "coding",
    """
const { bytes, pairs } = context.Data.payload;
const data = Uint8Array.fromHex(bytes);
const params = new URLSearchParams(pairs);
setData([new TextDecoder("utf-8", { ignoreBOM: true }).decode(data), params.toString(),
  [...new URLSearchParams(params.toString())],
  pairs.map(([name]) => new TextEncoder().encode(name).toHex())]);
""",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=20), st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_texts_and_queries_are_those_of_python(data: bytes, pairs: list[tuple[str, str]]) -> None:
    data = data.replace(b"\0", b"0")

    text, query, again, encoded = run_once(CODING, {"bytes": data.hex(), "pairs": pairs})

    assert text == data.decode(errors="replace")
    assert parse_qsl(query, keep_blank_values=True) == pairs
    assert again == [list(pair) for pair in pairs]
    assert query == urlencode(pairs, safe="*").replace("~", "%7E")
    assert encoded == [name.encode().hex() for name, _ in pairs]


def test_random_values_are_others_in_each_message() -> None:
    code = """
const array = crypto.getRandomValues(new Uint32Array(4000));
setData([crypto.randomUUID(), crypto.randomUUID(), new Set(array).size]);
"""

    first, second = run(code), run(code)

    assert len({*first[:2], *second[:2]}) == 4
    assert [uuid.UUID(text).version for text in (*first[:2], *second[:2])] == [4] * 4
    assert first[2] > 3990


def test_a_host_beyond_ascii_says_what_to_write() -> None:
    message = str(raised("setData(new URL('http://münchen.example/').href)"))

    assert message.endswith("the host münchen.example is not ASCII; write it in Punycode")


def test_a_digest_of_the_web_is_a_promise_of_bytes() -> None:
    code = """
const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode("abc"));
setData(new Uint8Array(digest).toHex());
"""

    assert run(code) == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("subtle.digest('MD5', bytes)", "NotSupportedError"),
        ("subtle.digest('SHA-224', bytes)", "NotSupportedError"),
        ("subtle.digest('sha256', bytes)", "NotSupportedError"),
        ("subtle.digest(undefined, bytes)", "NotSupportedError"),
        ("subtle.digest('SHA-256', 'text')", "TypeError"),
        (
            "subtle.digest({ name: 'sha-256' }, bytes).then(() => { throw { name: 'none' } })",
            "none",
        ),
        ("getRandomValues(new Float64Array(1))", "TypeMismatchError"),
        ("getRandomValues([1])", "TypeMismatchError"),
        ("getRandomValues(new Uint8Array(65537))", "QuotaExceededError"),
    ],
)
@needs_node
def test_errors_of_the_web_have_the_names_of_node(call: str, name: str) -> None:
    code = f"""const bytes = new Uint8Array(1);
try {{ await crypto.{call}; }} catch (error) {{ setData(error.name); }}"""
    in_node_too = f"(async () => {{ {code} }})()"

    told = subprocess.run(
        [str(NODE), "-e", f"const setData = console.log; {in_node_too}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

    assert run(code) == told == name


@pytest.mark.parametrize("name", ["URL", "crypto", "TextEncoder", "structuredClone"])
def test_a_script_that_names_none_of_these_is_given_none(name: str) -> None:
    code = f"setData(typeof globalThis[{name[:2]!r} + {name[2:]!r}])"

    assert run(code, replies=Replies()) == "undefined"


def test_day_js_is_there_where_it_is_named() -> None:
    code = """
const day = dayjs.utc("28.11.2026 23:30", "DD.MM.YYYY HH:mm");
setData([day.add(1, "month").format("YYYY-MM-DD ddd"), day.diff(dayjs.utc("2026-11-01"), "day"),
  dayjs("2026-01-31").add(1, "month").format("D"), dayjs("2026-07-01T12:00:00Z").format("HH Z")]);
"""

    assert run(code) == ["2026-12-28 Mon", 27, "28", "12 +00:00"]
