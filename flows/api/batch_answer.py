"""The answer to a batch, which may be longer than the memory that one request may have."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import orjson
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from flows.api.errors import Problem
from flows.api.rate_headers import headers_after
from flows.api.view import json_response
from flows.store import StartRate

# The size of an answer in memory. A longer one is written to files.
ANSWER_BYTES = 1024 * 1024
# The refusals, and the ids, of an answer that has not all of them.
MOST_LISTED = 1_000


class Listing:
    """Elements of a JSON array as text, all or the first ones; in a file when they become many."""

    def __init__(self, most: int | None = MOST_LISTED) -> None:
        self.count = 0
        self.size = 0
        self._most = most
        self._file = tempfile.SpooledTemporaryFile(ANSWER_BYTES)  # noqa: SIM115  see close()

    def add(self, element: dict[str, Any] | UUID, *, in_any_case: bool = False) -> None:
        self.count += 1
        if self._most is None or self.count <= self._most or in_any_case:
            comma = b"," if self.size else b""
            self.size += self._file.write(comma + orjson.dumps(element))

    def read(self) -> Iterator[bytes]:
        self._file.seek(0)
        return iter(lambda: self._file.read(64 * 1024), b"")

    def close(self) -> None:
        self._file.close()


class BatchAnswer:
    """What became of the lines of a batch."""

    def __init__(self, lists_all_ids: bool) -> None:
        self._ids, self._rejected = Listing(None if lists_all_ids else MOST_LISTED), Listing()
        self._stopped_by: Problem | None = None
        self._next_line: int | None = None

    @property
    def accepted(self) -> int:
        return self._ids.count

    def accept(self, correlation_id: UUID) -> None:
        self._ids.add(correlation_id)

    def reject(self, line: int, problem: Problem) -> None:
        self._rejected.add(_entry(line, problem))

    def stop(self, line: int, problem: Problem) -> None:
        """Refuse a line, and name it as the one to go on from."""
        self._stopped_by, self._next_line = problem, line
        self._rejected.add(_entry(line, problem), in_any_case=True)

    def response(self, rates: Collection[StartRate]) -> HttpResponseBase:
        headers = dict(self._stopped_by.headers) if self._stopped_by else {}
        headers |= headers_after(rates)
        if self._rejected.size + self._ids.size <= ANSWER_BYTES:
            with closing(self):
                return json_response(b"".join(self), status=202, headers=headers)
        # The response closes what it is given.
        return StreamingHttpResponse(
            self, status=202, content_type="application/json", headers=headers
        )

    def __iter__(self) -> Iterator[bytes]:
        """Return the pieces of the answer."""
        yield b'{"accepted":%d,"rejectedCount":%d,"rejected":[' % (
            self.accepted,
            self._rejected.count,
        )
        yield from self._rejected.read()
        yield b'],"correlationIds":['
        yield from self._ids.read()
        yield b"]}" if self._next_line is None else b'],"nextLine":%d}' % self._next_line

    def close(self) -> None:
        self._ids.close()
        self._rejected.close()


def _entry(line: int, problem: Problem) -> dict[str, Any]:
    document = problem.document()
    return {"line": line, "type": document["type"], "detail": document["detail"]}
