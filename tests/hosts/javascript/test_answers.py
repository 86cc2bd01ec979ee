"""Promises of answers: a forgotten `await` is an error with its line, wherever they are used."""

import pytest

from scripts.protocol.errors import ScriptRejected
from tests.hosts.javascript.helpers import Replies, refused, run

QUESTIONS = {
    "context.state.get()": "context.state.get('limit', {max: 3})",
    "context.verify()": "context.verify('HS256', 'key', 'text', 'AAAA')",
    "context.verifyJwt()": "context.verifyJwt('a.b.c', 'key', {algorithms: 'HS256'})",
    "context.sign()": "context.sign('HS256', 'key', 'text')",
    "context.jwt()": "context.jwt({iss: 'shop'}, 'key')",
    "context.cached()": "context.cached('key', 60, () => 1)",
}
# Each takes the promise for the answer; `if` and the like cannot be told apart when they do.
USES = {
    "condition": "if (!{}) reject('forged')",
    "choice": "const chosen = {} ? 1 : 2",
    "copy": "const copy = {{...{}}}",
    "member": "const found = {}.max",
    "statement": "{}",
    "in a text": "const said = `limit ${{{}}}`",
    "in a sum": "const sum = {} + 1",
    "comparison": "const isMore = 5 > {}",
    "key": "const member = {{}}[{}]",
    "number": "const number = Number({})",
    "later": "const asked = {}; await null; if (asked) setData(2)",
    "in a function": "(async () => {{ if ({}) setData(2) }})()",
    "in a list": "const all = [{}]",
    "equality": "const isOne = {} === 1",
}


def reply_to_all() -> Replies:
    return Replies((1, {"valid": False, "value": 1, "text": "1", "version": 0}))


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("name", QUESTIONS)
def test_question_that_nothing_waits_for_is_named_with_its_line(name: str, use: str) -> None:
    code = f"\n{use.format(QUESTIONS[name])};\nsetData(1)"

    error = refused(code, replies=reply_to_all())

    assert str(error) == f"TypeError: {name} gives a promise: write await before it"
    assert "at pricing:2:" in error.traceback or "(pricing:2:" in error.traceback


@pytest.mark.parametrize(
    "use",
    [
        "const r = http.get('http://a/'); if (r.status !== 200) reject('no'); setData(1)",
        "const r = http.post('http://a/', 1); setData(r.data)",
        "const r = http.all(['http://a/']); setData(r.map((each) => each.body))",
        "const r = http.request('GET', 'http://a/').raiseForStatus(); setData(1)",
        "const id = context.start('other', {}); setData(`started ${id}`)",
    ],
)
def test_other_promises_are_not_taken_for_their_answers(use: str) -> None:
    error = refused(use)

    assert "gives a promise: write await before it" in str(error)


GET = "context.state.get('missing', 7)"


@pytest.mark.parametrize(
    "code",
    [
        f"setData(await {GET})",
        f"const asked = {GET}; await null; setData(await asked)",
        f"setData((await Promise.all([{GET}, 1]))[0])",
        f"setData((await Promise.allSettled([{GET}]))[0].value)",
        f"setData(await Promise.race([{GET}, {GET}]))",
        f"setData(await Promise.any([{GET}]))",
        f"setData(await Promise.resolve({GET}))",
        f"{GET}.catch(() => null); setData(7)",
        f"{GET}.then(setData)",
        f"{GET}.then((found) => {{ setData(found) }}).finally(() => 1)",
        f"await {GET}.finally(() => 1).then(setData)",
        f"await {GET}.catch(() => 0).then(setData)",
        f"const f = async () => {GET}; setData(await f())",
        f"async function f() {{ return {GET} }} f().then(setData)",
        f"(async () => {{ setData(await {GET}) }})()",
        f"for await (const found of [{GET}]) setData(found)",
        f"async function* each() {{ yield {GET} }} for await (const it of each()) setData(it)",
        f"const it = Promise.withResolvers(); it.resolve({GET}); setData(await it.promise)",
        f"class P extends Promise {{}} setData(await P.resolve({GET}))",
    ],
)
def test_every_way_to_wait_is_one(code: str) -> None:
    assert run(code, replies=Replies((1, {"version": 0}))) == 7


def test_calls_whose_answers_say_nothing_need_no_await() -> None:
    code = (
        "context.state.set('a', 1); context.state.delete('b'); http.post('http://a/'); setData(7)"
    )
    answer = {"status": 500, "headers": {}, "body": "", "url": ""}

    assert run(code, replies=Replies((1, answer))) == 7


def test_a_decision_goes_before_what_was_not_waited_for() -> None:
    with pytest.raises(ScriptRejected):
        run(f"{GET}; reject('not for us')", replies=Replies((1, {"version": 0})))
