"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx
from httpx_sse import aconnect_sse

from asyncengine_client import calls
from asyncengine_client.calls import Call, Payload
from asyncengine_client.errors import RunNotEnded, json_of
from asyncengine_client.retries import Tries
from asyncengine_client.settings import Settings
from asyncengine_client.streams import Stream
from asyncengine_client.traces import trace_headers
from asyncengine_client.types import (
    ENDED,
    BatchStarted,
    DeadLetter,
    Event,
    Flow,
    Queue,
    Reprocessed,
    Run,
    RunSummary,
    Started,
)
from asyncengine_client.upload import Progress, Source, Upload


class AsyncClient:
    """Calls an engine as `Client` does; to be closed, or used with `async with`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        user: tuple[str, str] | None = None,
        patience: float = 0.0,
        **options: Any,
    ) -> None:
        """Without `url` and `token`, take ASYNCENGINE_URL and ASYNCENGINE_TOKEN.

        `options` are those of httpx.AsyncClient: `verify`, `proxy`, `timeout` and others.
        """
        self._patience = patience
        self._http = httpx.AsyncClient(**Settings(url, token, user).of_httpx(options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # --- starts ---

    async def start(
        self, flow: str, payload: Payload, *, key: str | None = None, **options: Any
    ) -> Started:
        """Start a run. With the same key and payload it is the same run.

        A payload of bytes is JSON, and goes digit for digit.

        `options`: labels, priority (0 to 9), start_at, deadline (a time, or seconds), callback_url.
        """
        answer: Started = await self._json(calls.start(flow, payload, key=key, **options))
        return answer

    async def start_and_wait(
        self,
        flow: str,
        payload: Payload,
        *,
        seconds: float = 60.0,
        key: str | None = None,
        **options: Any,
    ) -> Run:
        """Start a run and return it when it has ended. Raises RunNotEnded."""
        until = time.monotonic() + seconds
        call = calls.start(flow, payload, key=key, wait=seconds, **options)
        return await self._ended(call, until)

    async def start_batch(
        self,
        flow: str,
        source: Source,
        *,
        key_field: str | None = None,
        wait: float = 60.0,
        patience: float = 3600.0,
        progress: Progress | None = None,
        **options: Any,
    ) -> BatchStarted:
        """Start a run for each line of a file, or each payload of a sequence.

        `key_field` names the member that is each line's key: a batch that breaks off is then sent
        again by itself. `wait`: how long the engine may wait for room for a line. `progress` is
        called with what was sent and the whole, in bytes of the file or payloads.
        """
        upload = Upload(source, key_field is not None, patience, progress)
        params = calls.batch_parameters(flow, key_field, wait, **options)
        while True:
            try:
                pause = upload.answered(
                    await self._http.post(
                        f"{calls.API}/start/batch",
                        params=params,
                        content=upload.lines_async(),
                        headers=calls.NDJSON | trace_headers(),
                        timeout=httpx.Timeout(None, connect=10.0),
                    )
                )
            except httpx.TransportError as error:
                pause = upload.interrupted(error)
            if pause is None:
                return upload.done
            await asyncio.sleep(pause)

    # --- runs ---

    async def run(self, correlation_id: str) -> Run:
        answer: Run = await self._json(calls.run(correlation_id))
        return answer

    async def wait(self, correlation_id: str, *, seconds: float = 60.0) -> Run:
        """Return the run when it has ended. Raises RunNotEnded."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            run: Run = await self._json(calls.run(correlation_id, max(left, 0.0)))
            if run["status"] in ENDED:
                return run
            if time.monotonic() >= until:
                raise RunNotEnded(run)

    def runs(
        self, *, order: str = "-createdAt", page_size: int | None = None, **filters: Any
    ) -> AsyncIterator[RunSummary]:
        """Yield runs, those of all pages. Filters: see `calls.runs`."""
        return self._all("runs", calls.runs(**filters) | {"order": order}, page_size)

    async def count_runs(self, **filters: Any) -> dict[str, int]:
        """Return how many runs there are by their status."""
        call = Call("GET", f"{calls.API}/runs/counts", calls.runs(**filters))
        answer = await self._json(call)
        counts: dict[str, int] = answer["counts"]
        return counts

    async def cancel(self, correlation_id: str, reason: str | None = None) -> Run:
        answer: Run = await self._json(calls.act("runs", correlation_id, "cancel", reason=reason))
        return answer

    async def cancel_runs(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        all: bool = False,
        dry_run: bool = False,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """Cancel the runs that match a filter of `cancelRuns`, or `all`."""
        call = calls.cancel_runs(filter, all=all, dryRun=dry_run, reason=reason)
        answer: dict[str, Any] = await self._json(call)
        return answer

    async def run_again(
        self,
        correlation_id: str,
        *,
        payload: Any = None,
        from_step: str | None = None,
        key: str | None = None,
        reason: str | None = None,
    ) -> Started:
        """Start a finished run anew, as a run of its own. With the same key it is the same run."""
        call = calls.run_again(
            correlation_id, payload=payload, from_step=from_step, key=key, reason=reason
        )
        answer: Started = await self._json(call)
        return answer

    async def run_again_and_wait(
        self, correlation_id: str, *, seconds: float = 60.0, **options: Any
    ) -> Run:
        """Start a finished run anew and return the new run when it has ended. Raises RunNotEnded.

        `options`: those of `run_again`.
        """
        until = time.monotonic() + seconds
        return await self._ended(calls.run_again(correlation_id, wait=seconds, **options), until)

    async def input(self, correlation_id: str) -> Any:
        """Return the payload of a run, where the flow keeps it."""
        return await self._json(calls.one("runs", correlation_id, "/input"))

    async def logs(self, correlation_id: str, offset: int = 0) -> dict[str, Any]:
        answer: dict[str, Any] = await self._json(
            calls.one("runs", correlation_id, "/logs", offset=offset)
        )
        return answer

    def run_events(
        self, correlation_id: str, *, last_id: str | None = None
    ) -> AsyncIterator[Event]:
        """Yield what has happened and what happens in a run, until it has ended."""
        path = f"{calls.API}/runs/{calls.part(correlation_id)}/events"
        return self._events(path, {}, last_id)

    def events(
        self, flow: str | None = None, *, last_id: str | None = None
    ) -> AsyncIterator[Event]:
        """Yield what happens in all runs that the caller may see, without an end."""
        return self._events(f"{calls.API}/events", calls.without_none(flowName=flow), last_id)

    # --- what operators do ---

    def dead_letters(
        self, *, page_size: int | None = None, **filters: Any
    ) -> AsyncIterator[DeadLetter]:
        """Yield open dead letters. Filters: flow, queue, reason, code, correlation_id."""
        return self._all("dead-letters", calls.letters(**filters), page_size)

    async def dead_letter(self, id: int) -> DeadLetter:
        answer: DeadLetter = await self._json(calls.one("dead-letters", id))
        return answer

    async def reprocess(
        self,
        id: int,
        *,
        payload: Any = None,
        newest_script: bool | None = None,
        reason: str | None = None,
    ) -> Reprocessed:
        """Have a dead letter go on in its run, with another payload if one is given."""
        call = calls.reprocess(id, payload=payload, newest_script=newest_script, reason=reason)
        answer: Reprocessed = await self._json(call)
        return answer

    async def reprocess_and_wait(self, id: int, *, seconds: float = 60.0, **options: Any) -> Run:
        """Have a dead letter go on and return its run when it has ended. Raises RunNotEnded.

        A run with another open dead letter stays FAILED: it is returned at once, while this one
        goes on. `options`: those of `reprocess`.
        """
        until = time.monotonic() + seconds
        return await self._ended(calls.reprocess(id, wait=seconds, **options), until)

    async def reprocess_many(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        all: bool = False,
        dry_run: bool = False,
        newest_script: bool = False,
        rate_per_second: float | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """Reprocess the dead letters that match a filter of `reprocessDeadLetters`, or `all`."""
        call = calls.reprocess_many(
            filter,
            all=all,
            dryRun=dry_run,
            newestScript=newest_script,
            ratePerSecond=rate_per_second,
            reason=reason,
        )
        answer: dict[str, Any] = await self._json(call)
        return answer

    async def discard(self, id: int) -> None:
        await self._answer(calls.discard(id))

    async def pause(self, queue: str, reason: str | None = None) -> Queue:
        answer: Queue = await self._json(calls.act("queues", queue, "pause", reason=reason))
        return answer

    async def resume(self, queue: str, reason: str | None = None) -> Queue:
        answer: Queue = await self._json(calls.act("queues", queue, "resume", reason=reason))
        return answer

    async def pause_flow(self, flow: str, reason: str | None = None) -> Flow:
        answer: Flow = await self._json(calls.act("flows", flow, "pause", reason=reason))
        return answer

    async def resume_flow(self, flow: str, reason: str | None = None) -> Flow:
        answer: Flow = await self._json(calls.act("flows", flow, "resume", reason=reason))
        return answer

    def queues(self) -> AsyncIterator[Queue]:
        return self._all("queues", {})

    def flows(self) -> AsyncIterator[Flow]:
        return self._all("flows", {})

    # --- requests ---

    async def _ended(self, call: Call, until: float) -> Run:
        """Return the run that a call lets go, when it has ended."""
        answer = await self._json(call)
        if answer["status"] in ENDED and "steps" in answer:
            ended: Run = answer
            return ended
        return await self.wait(answer["correlationId"], seconds=until - time.monotonic())

    async def _json(self, call: Call) -> Any:
        return json_of(await self._answer(call))

    async def _answer(self, call: Call) -> httpx.Response:
        tries = Tries(call, self._patience)
        while True:
            try:
                response = await self._http.request(**calls.of_httpx(call, self._http.timeout))
                pause = tries.after_answer(response)
            except httpx.TransportError as error:
                pause = tries.after_failure(error)
            if pause is None:
                return response
            await asyncio.sleep(pause)

    async def _all(
        self, kind: str, filters: Mapping[str, Any], page_size: int | None = None
    ) -> AsyncIterator[Any]:
        cursor = None
        while True:
            page = await self._json(calls.page(kind, filters, cursor, page_size))
            for result in page["results"]:
                yield result
            cursor = page["nextCursor"]
            if cursor is None:
                return

    async def _events(
        self, path: str, params: Mapping[str, Any], last_id: str | None
    ) -> AsyncIterator[Event]:
        stream = Stream(params, self._patience, last_id)
        while not stream.is_over:
            try:
                async with aconnect_sse(self._http, "GET", path, **stream.of_httpx()) as source:
                    if source.response.status_code >= 300:
                        await source.response.aread()
                    if stream.opened(source.response):
                        async for told in source.aiter_sse():
                            for event in stream.told(told):
                                yield event
            except httpx.TransportError as error:
                stream.broke(error)
            if not stream.is_over:
                await asyncio.sleep(stream.pause)
