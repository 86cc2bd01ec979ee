"""The front by itself: an ASGI application between scripted callers and views."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import UUID

import pytest

from flows.api.errors import answer_to
from flows.front import answer as answers
from flows.front import body as bodies
from flows.front.answer import Answer
from flows.front.application import Front, _is_streamed
from flows.front.body import (
    READ_AHEAD_BYTES,
    BodyMemory,
    Held,
    StreamedInput,
    Upload,
    read_whole,
)
from flows.front.environ import environ_of
from flows.front.faults import (
    BodyIncomplete,
    BodyTooLarge,
    BodyTooSlow,
    Overloaded,
    TooManyWaiters,
)
from flows.front.threads import Threads
from flows.front.turns import TURN, WAITING
from flows.front.waiters import WAIT, Wait, Waiters
from scripts.protocol.table_file import MAX_FILE_BYTES
from tests.waiting import PATIENCE

RUN = UUID(int=7)
BATCH, START = "/async/api/start/batch", "/async/api/start"


def upload_of(*messages: Any, length: int | None = None) -> Upload:
    """An upload of pieces, and of what an ASGI server says beside them; then silence."""
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        if isinstance(message, bytes):
            return {"type": "http.request", "body": message, "more_body": True}
        assert message is not None
        return message

    return Upload(receive, length)


END = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


def read(upload: Upload, limit: int = 100, memory: BodyMemory | None = None) -> bytes:
    held = Held(memory or BodyMemory())
    asyncio.run(read_whole(upload, held, limit))
    return b"".join(held.pieces)


def test_a_body_is_whole_at_its_length_or_at_its_end():
    assert read(upload_of(b"ab", b"c", length=3)) == b"abc"
    assert read(upload_of(b"ab", b"c", END)) == b"abc"
    assert read(upload_of(length=0)) == b""


@pytest.mark.parametrize("last", [GONE, END])
def test_a_body_that_ends_before_its_length_is_incomplete(last: dict[str, Any]):
    with pytest.raises(BodyIncomplete):
        read(upload_of(b"ab", last, length=3))


def test_a_body_beyond_the_limit_is_refused_with_the_first_byte_too_many():
    with pytest.raises(BodyTooLarge):
        read(upload_of(b"a" * 100, b"b"))


def test_what_came_fast_is_no_credit_for_silence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.05)
    upload = upload_of(b"a" * 1_000_000)

    with pytest.raises(BodyTooSlow):
        read(upload, limit=2_000_000)

    assert upload.size == 1_000_000


def test_bodies_share_the_memory_beyond_their_first_bytes_and_give_it_back():
    memory = BodyMemory(100)
    first, second = Held(memory), Held(memory)
    first.add(b"a" * (bodies.FREE_BYTES + 60))
    second.add(b"a" * bodies.FREE_BYTES)

    with pytest.raises(Overloaded):
        second.add(b"b" * 60)

    first.release()
    Held(memory).add(b"c" * (bodies.FREE_BYTES + 60))


def test_a_streamed_body_is_read_by_a_thread_while_it_comes():
    async def read_in_thread() -> bytes:
        upload = upload_of(b"cd\nef", b"gh", END)
        held = Held(BodyMemory())
        held.add(b"ab")
        stream = StreamedInput(upload, held, asyncio.get_running_loop())
        return await asyncio.to_thread(lambda: stream.readline() + b"|" + stream.read())

    assert asyncio.run(read_in_thread()) == b"abcd\n|efgh"


def test_batches_that_wait_hold_no_thread_or_turn_that_others_need():
    may_end, answered, asked = threading.Event(), list[bool](), threading.Semaphore(0)

    def view(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        if environ["QUERY_STRING"]:
            with environ[TURN].left() as waits:
                asked.release()
                if waits:
                    may_end.wait(PATIENCE)
            answered.append(waits)
        else:
            environ["wsgi.input"].read()
        return [b"done"]

    async def exchange() -> None:
        front = Front(view, answer_to, threads=1)

        def call(path: str, query: str = "", body: bytes = b"{}") -> asyncio.Task[bytes]:
            return asyncio.ensure_future(answer_of(front, path, query, body))

        waiting = [call(BATCH, "w%61it=1") for _ in range(WAITING)]
        for _ in waiting:
            await asyncio.to_thread(asked.acquire)
        others = [call(BATCH, "wait=1"), call(START), call(BATCH, body=b"x" * READ_AHEAD_BYTES)]
        assert await asyncio.gather(*others) == [b"done"] * 3
        assert answered == [False]
        may_end.set()
        assert await asyncio.gather(*waiting) == [b"done"] * WAITING

    asyncio.run(exchange())
    assert sorted(answered) == [False] + [True] * WAITING


def test_a_caller_that_waits_for_a_run_gives_the_memory_of_its_body_back():
    may_end = threading.Event()

    def view(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        wait: Wait = environ[WAIT]
        if environ["QUERY_STRING"] and not wait.is_over:
            wait.until_finished(RUN, 1, PATIENCE, done="a run")
        return [str(wait.done).encode()]

    async def exchange() -> None:
        front = Front(view, answer_to)
        front._memory = BodyMemory(100)
        front._waiters = Waiters(lambda run_ids: {RUN} if may_end.is_set() else set())
        body = b"x" * (bodies.FREE_BYTES + 60)
        waiting = asyncio.ensure_future(answer_of(front, START, "wait=60", body))
        async with asyncio.timeout(PATIENCE):
            while not front._waiters._by_run:
                await asyncio.sleep(0.01)

        assert await answer_of(front, START, "", body) == b"None"
        may_end.set()
        assert await waiting == b"a run"

    asyncio.run(exchange())


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked, chunked", "identity", ""])
@pytest.mark.parametrize("path", [START, BATCH, "/admin/login/"])
def test_a_body_in_another_transfer_coding_reaches_no_view(path: str, coding: str):
    front = Front(lambda environ, start_response: pytest.fail("a view"), answer_to)

    answer = asyncio.run(answer_of(front, path, "", b"{}", coding.encode()))

    assert b"/async/problems/transfer-coding-unknown" in answer


async def answer_of(
    front: Front, path: str, query: str, body: bytes, coding: bytes = b"Chunked"
) -> bytes:
    """Return the body of the answer to a POST of a body in two pieces."""
    pieces = [{"type": "http.request", "body": body, "more_body": True}, END]
    scope = {
        "type": "http",
        "method": "POST",
        "http_version": "1.1",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"transfer-encoding", coding)],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return pieces.pop(0) if pieces else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await front(scope, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


def test_a_caller_that_reads_nothing_holds_no_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answers, "PIECE_BYTES", 1)
    monkeypatch.setattr(answers, "SEND_SECONDS", 0.2)
    closed = threading.Event()

    class Response:
        def __iter__(self) -> Any:
            return iter([b"a", b"b", b"c"])

        def close(self) -> None:
            closed.set()

    def view(environ: Any, start_response: Any) -> Response:
        start_response("200 OK", [])
        return Response()

    async def send_nowhere(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def exchange() -> bool:
        threads = Threads(1, "request")
        sending = asyncio.create_task(Answer(view, {}).send(send_nowhere, threads, last=False))
        is_free = await threads.run(lambda: True)
        with pytest.raises(TimeoutError):
            await sending
        return is_free

    assert asyncio.run(exchange())
    assert closed.is_set()


def waiters(**ended: Any) -> Waiters:
    return Waiters(lambda run_ids: set(run_ids) if ended else set())


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    return


def wait_of(user_id: int, seconds: float = 60.0) -> Wait:
    wait = Wait()
    wait.until_finished(RUN, user_id, seconds)
    return wait


def test_a_wait_ends_with_its_run_with_its_seconds_or_with_its_caller():
    async def scenario() -> None:
        assert await waiters(ended=True).wait(wait_of(1), never)
        assert await waiters().wait(wait_of(1, 0.01), never)
        assert not await waiters().wait(wait_of(1), at_once)

    asyncio.run(scenario())


def test_a_user_has_a_share_of_the_places_and_gets_it_back(settings: Any):
    settings.ASYNCENGINE_MAX_WAITERS = 1

    async def scenario() -> None:
        room = waiters()
        first = asyncio.create_task(room.wait(wait_of(1), never))
        await asyncio.sleep(0)

        with pytest.raises(TooManyWaiters):
            await room.wait(wait_of(1), never)
        assert await room.wait(wait_of(2, 0.01), never)

        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert await room.wait(wait_of(1, 0.01), never)

    asyncio.run(scenario())


def test_a_database_that_is_away_ends_no_wait_and_stops_no_looking():
    is_away = iter([True, False])

    def look(run_ids: Any) -> set[UUID]:
        if next(is_away):
            raise RuntimeError("away")
        return {RUN}

    assert asyncio.run(Waiters(look).wait(wait_of(1), never))


def test_a_thread_goes_on_though_the_loop_that_waited_for_it_is_closed():
    threads, go_on = Threads(1, "test"), threading.Event()

    async def leave() -> None:
        threads.run(lambda: go_on.wait(PATIENCE))

    async def ask() -> int:
        return await threads.run(threading.get_ident)

    asyncio.run(leave())
    go_on.set()

    assert asyncio.run(ask()) != threading.get_ident()


def scope_of(*headers: tuple[bytes, bytes], path: bytes = b"/") -> dict[str, Any]:
    return {
        "method": "GET",
        "raw_path": path,
        "query_string": b"",
        "http_version": "1.1",
        "headers": headers,
    }


def test_headers_that_would_become_those_of_a_proxy_are_dropped():
    scope = scope_of((b"x_forwarded_for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"))

    environ = environ_of(scope, bodies.whole_input(Held(BodyMemory())))

    assert environ["HTTP_X_FORWARDED_FOR"] == "2.2.2.2"


def test_the_path_keeps_its_bytes():
    environ = environ_of(scope_of(path=b"/a%FF%2Fb"), bodies.whole_input(Held(BodyMemory())))

    assert environ["PATH_INFO"] == "/a\xff/b"


def test_the_thread_that_was_busy_last_is_taken_first_and_what_is_too_much_waits():
    async def scenario() -> None:
        threads = Threads(2, "request")
        go_on = threading.Event()
        both = [
            threads.run(lambda: go_on.wait(PATIENCE) and threading.get_ident()) for _ in range(2)
        ]
        third = threads.run(threading.get_ident)
        go_on.set()
        idents = await asyncio.gather(*both, third)
        assert len(set(idents[:2])) == 2
        assert idents[2] in idents[:2]

    asyncio.run(scenario())


def test_what_a_thread_raises_is_raised_where_it_is_awaited_and_the_thread_goes_on():
    def fail(error: Exception) -> None:
        raise error

    async def scenario() -> None:
        threads = Threads(1, "request")
        with pytest.raises(ValueError, match="no"):
            await threads.run(lambda: fail(ValueError("no")))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(lambda: fail(StopIteration()))
        assert await threads.run(lambda: 7) == 7

    asyncio.run(scenario())


@pytest.mark.parametrize("page", ["add", "7/change"])
@pytest.mark.parametrize("prefix", ["/admin", "/tools/admin"])
def test_the_file_of_a_table_is_read_while_it_comes(page: str, prefix: str):
    scope = {"path": f"{prefix}/scripts/referencetable/{page}/"}

    assert _is_streamed(scope, upload_of(length=MAX_FILE_BYTES))
    assert not _is_streamed(scope, upload_of(length=None))
    with pytest.raises(BodyTooLarge):
        _is_streamed(scope, upload_of(length=2 * MAX_FILE_BYTES))


@pytest.mark.parametrize("path", ["/admin/scripts/referencetable/", "/admin/scripts/script/add/"])
def test_other_pages_have_their_body_in_memory(path: str):
    assert not _is_streamed({"path": path}, upload_of(length=MAX_FILE_BYTES))
