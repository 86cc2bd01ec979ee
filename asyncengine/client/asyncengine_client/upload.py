"""A batch on its way: which line is next, and what became of those before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from asyncengine_client.calls import Payload, text_of
from asyncengine_client.errors import (
    BatchInterrupted,
    TooManyCalls,
    Unavailable,
    error_of,
    json_of,
)
from asyncengine_client.types import BatchStarted

# A file with a JSON object a line, or the payloads; those that are bytes go digit for digit.
Source = Path | Sequence[Payload]
Progress = Callable[[int, int], None]
PAUSE_SECONDS = 1.0
MOST_TOLD = 1_000
# Where a batch stops for one of these, nothing behind the named line is stored: it may be sent.
PASSES = {
    *("queue-full", "throttled", "busy", "overloaded", "database-unavailable"),
    *("body-incomplete", "body-too-slow"),
}
# Here it may be stored, and keys alone make it harmless to send it again.
IN_DOUBT = {"outcome-unknown", "internal-error"}


class Upload:
    """Payloads, from a file with a JSON object a line or as a sequence, sent until all are taken.

    Where the queue is full it goes on at the line that did not fit. It gives up when nothing was
    taken for `patience` seconds.
    """

    def __init__(
        self, source: Source, has_keys: bool, patience: float, progress: Progress | None
    ) -> None:
        if isinstance(source, str | bytes):
            raise TypeError("The source of a batch is a list of payloads; a file is a Path.")
        self.done = BatchStarted(accepted=0, rejectedCount=0, rejected=[], correlationIds=[])
        self._source, self._has_keys, self._progress = source, has_keys, progress
        self._first, self._patience = 1, patience
        self._gives_up_at = time.monotonic() + patience
        self._total = source.stat().st_size if isinstance(source, Path) else len(source)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are to be sent, from the next one on."""
        if isinstance(self._source, Path):
            yield from self._lines_of_file(self._source)
            return
        for number, payload in enumerate(self._source[self._first - 1 :], self._first):
            # Within JSON a line ends between its parts alone.
            yield text_of(payload).replace(b"\n", b" ") + b"\n"
            self._tell(number)

    async def lines_async(self) -> AsyncIterator[bytes]:
        for line in self.lines():
            yield line

    def _lines_of_file(self, path: Path) -> Iterator[bytes]:
        sent = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                sent += len(line)
                if number >= self._first:
                    yield line if line.endswith(b"\n") else line + b"\n"
                    self._tell(sent)

    def _tell(self, sent: int) -> None:
        if self._progress:
            self._progress(sent, self._total)

    def answered(self, response: httpx.Response) -> float | None:
        """Take the engine's answer; return after which time to go on, None if all is done.

        Raises ApiError, and BatchInterrupted where the queue stays full.
        """
        if response.status_code >= 300:
            return self._refused(response)
        answer = json_of(response)
        before, stop = self._first - 1, stop_of(answer)
        self.done["accepted"] += answer["accepted"]
        rejected = [each | {"line": each["line"] + before} for each in answer["rejected"]]
        count = answer.get("rejectedCount", len(rejected))
        if stop:
            # It is sent again.
            count, rejected = count - 1, rejected[:-1]
        self.done["rejectedCount"] += count
        self.done["rejected"] = [*self.done["rejected"], *rejected][:MOST_TOLD]
        ids = [*self.done["correlationIds"], *answer["correlationIds"]]
        self.done["correlationIds"] = ids[:MOST_TOLD]
        if answer.get("nextLine") is None:
            return None
        if answer["nextLine"] > 1:
            self._first += answer["nextLine"] - 1
            self._gives_up_at = time.monotonic() + self._patience
        why = stop["detail"] if stop else "The queue had no room for it."
        told = BatchInterrupted(f"The batch stopped at line {self._first}: {why}")
        if stop and not self._goes_on_after(stop["type"].rpartition("/")[2]):
            raise told
        return self._pause(error_of(response).retry_after, told)

    def _goes_on_after(self, type: str) -> bool:
        return type in PASSES or (type in IN_DOUBT and self._has_keys)

    def _refused(self, response: httpx.Response) -> float:
        error = error_of(response)
        passes = isinstance(error, TooManyCalls) or self._goes_on_after(error.type)
        if passes or (isinstance(error, Unavailable) and self._has_keys):
            return self._pause(error.retry_after, error)
        raise error

    def interrupted(self, error: httpx.TransportError) -> float:
        """Return after which time to send the same lines again. Raises BatchInterrupted."""
        told = BatchInterrupted(
            f"The batch broke off after line {self._first - 1} at the earliest: {error}"
        )
        if not self._has_keys:
            raise told from error
        return self._pause(None, told)

    def _pause(self, seconds: float | None, error: Exception) -> float:
        left = self._gives_up_at - time.monotonic()
        if left < 0:
            raise error
        # A queue that is paused asks for minutes: the last try comes when the patience ends.
        return min(PAUSE_SECONDS if seconds is None else seconds, left)


def stop_of(answer: Any) -> Any:
    """Return why a batch stopped, which is its last refusal; None where it did not."""
    last = answer["rejected"][-1] if answer["rejected"] else None
    return last if last and last["line"] == answer.get("nextLine") else None
