"""The load: what it reads of answers, and how it calls a server."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from flows.benchmark.load import Call, call_for, is_whole

REQUEST = "POST /start HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 429 Too Many\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [ACCEPTED, REFUSED, b"HTTP/1.1 202 A\r\nA: b\r\n\r\n0\r\n\r\n"])
def test_an_answer_is_whole_with_its_last_byte_alone(answer):
    assert is_whole(answer)
    assert not any(is_whole(answer[:length]) for length in range(len(answer)))


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """Serve these answers in turn on each connection; yield the port."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            for answer in cycle(answers):
                try:
                    if not self.request.recv(1000):
                        return
                    self.request.sendall(answer)
                except ConnectionError:
                    return

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_only_the_awaited_status_counts():
    with answering(ACCEPTED, REFUSED) as port:
        result = asyncio.run(call_for(0.3, 2, Call("127.0.0.1", port, REQUEST, 202)))

    assert result["counted"] > 1
    assert set(result["others"]) == {"429"}
    # Each connection has at most one call more of one kind.
    assert abs(result["counted"] - result["others"]["429"]) <= 2
    assert result["p50Ms"] <= result["p99Ms"]
    assert result["lost"] == 0


def test_a_load_without_an_answer_that_counts_has_no_percentiles():
    with answering(REFUSED) as port:
        result = asyncio.run(call_for(0.1, 1, Call("127.0.0.1", port, REQUEST, 202)))

    assert (result["counted"], result["p50Ms"], result["p99Ms"]) == (0, None, None)
