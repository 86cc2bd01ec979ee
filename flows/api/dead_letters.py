"""List, reprocess and discard single dead letters.

Bulk reprocessing is in reprocessings.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from flows import engine
from flows.access.rights import dead_letters_known, dead_letters_seen, may
from flows.api import parameters
from flows.api.body import is_left_out, json_body
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import (
    DISCARD_DEAD_LETTER,
    GET_DEAD_LETTER,
    LIST_DEAD_LETTERS,
    REPROCESS_DEAD_LETTER,
)
from flows.api.options import unknown_option
from flows.api.pages import PAGE_PARAMETERS, page_of_rows
from flows.api.reason import reason_fault, reason_of
from flows.api.start import StartingView, Stored
from flows.api.view import ApiView, is_about, json_response, no_content
from flows.dead_letters import DeadLetterFilter
from flows.errors import PayloadErased
from flows.message.envelope import parse_payload, payload_of, takes_any_payload
from flows.models import DeadLetter, Right
from flows.models.payload_text import length
from flows.monitoring.times import rfc3339
from scripts.protocol.json_text import member_of

# A page ends early where its messages are large.
PAGE_BYTES = 8 * 1024 * 1024
KNOWN = ("payload", "newestScript", "reason")


class DeadLettersView(ApiView):
    query_parameters = PAGE_PARAMETERS | {"flowName", "queue", "reason", "code", "correlationId"}

    @extend_schema(**LIST_DEAD_LETTERS)
    def get(self, request: Request) -> HttpResponse:
        wanted = DeadLetterFilter(
            flow_name=parameters.text(self.query, "flowName"),
            queue=parameters.text(self.query, "queue"),
            code=parameters.text(self.query, "code"),
            reason=parameters.choice(self.query, "reason", DeadLetter.Reason.values),
        )
        letters = wanted.restrict(dead_letters_seen(request.user))
        if run_id := parameters.correlation_id(self.query, "correlationId"):
            letters = letters.filter(run=run_id)
        letters = letters.select_related("step__flow_version")
        page = page_of_rows(request, self.query, letters, _documents, fitting=_fitting)
        return json_response(page)


class DeadLetterView(ApiView):
    @extend_schema(**GET_DEAD_LETTER)
    def get(self, request: Request, id: int) -> HttpResponse:
        return json_response(_documents([_find(request, id)])[0])

    @extend_schema(**DISCARD_DEAD_LETTER)
    def delete(self, request: Request, id: int) -> HttpResponse:
        letter = _find_to_operate(request, id)
        engine.discard(letter, user=request.user, reason=reason_of(request))
        return no_content()


class ReprocessView(StartingView):
    @extend_schema(**REPROCESS_DEAD_LETTER)
    def post(self, request: Request, id: int) -> HttpResponse:
        return self.answer(request, lambda: self._reprocess(request, id))

    def _reprocess(self, request: Request, id: int) -> Stored:
        letter = _find_to_operate(request, id)
        options = _options(json_body(request._request), letter)
        run = engine.reprocess(letter, user=request.user, **options)
        requeued = engine.Started(run.pk, letter.step.flow_version.flow_name)
        return Stored(requeued, run.status)


def _find(request: Request, id: int) -> DeadLetter:
    """Return the dead letter. Raises Problem where there is none that the caller may see, or where
    it was discarded, and PayloadErased."""
    known = dead_letters_known(request.user).unread()
    letter = known.select_related("step__flow_version__flow").filter(pk=id).first()
    if letter and letter.discarded_at and engine.is_erased(letter.run_id):
        raise PayloadErased
    if letter is None or letter.discarded_at:
        raise Problem("not-found", "There is no dead letter of this id.")
    is_about(request, letter.run_id)
    return letter


def _find_to_operate(request: Request, id: int) -> DeadLetter:
    """Return the dead letter. Raises Problem as `_find` does, or where the caller may only see
    it."""
    letter = _find(request, id)
    if not may(request.user, Right.OPERATE, letter.step.flow_version.flow_id):
        raise Problem("no-role", "None of your roles may decide about this dead letter.")
    return letter


def _options(raw: bytes, letter: DeadLetter) -> dict[str, Any]:
    """Return the body's options as arguments of the engine. Raises Problem for unknown ones."""
    if is_left_out(raw):
        return {}
    document = parse_payload(raw, "The body", around=1, comes_back=True)
    faults = {name: unknown_option(name, KNOWN) for name in document if name not in KNOWN}
    is_object = isinstance(document.get("payload", {}), dict)
    if not is_object and not takes_any_payload(letter.body):
        faults["payload"] = "must be a JSON object"
    if not isinstance(document.get("newestScript", False), bool):
        faults["newestScript"] = "must be true or false"
    if fault := reason_fault(document.get("reason", "")):
        faults["reason"] = fault
    if faults:
        errors = [{"path": f"$.{name}", "detail": detail} for name, detail in faults.items()]
        raise Problem("payload-invalid", "The body is refused.", errors=errors)
    payload = member_of(raw.decode(), "payload") if "payload" in document else None
    return {
        # The text as the caller wrote it, so that no digit of a number is lost.
        "payload": None if payload is None else payload.encode(),
        "newest_script": document.get("newestScript", False),
        "reason": document.get("reason", ""),
    }


def _fitting(letters: QuerySet[DeadLetter], most: int) -> int:
    """Return how many of the letters make a page, at least one."""
    sizes = letters.select_related(None).annotate(size=length("body")).values_list("size")
    left = PAGE_BYTES
    for count, (size,) in enumerate(sizes[:most]):
        left -= size
        if left < 0:
            return max(count, 1)
    return most


def _documents(letters: Sequence[DeadLetter]) -> list[dict[str, Any]]:
    return [
        {
            "id": letter.pk,
            "correlationId": str(letter.run_id),
            "queueName": letter.step.queue_name,
            "flowName": letter.step.flow_version.flow_name,
            "stepName": letter.step.name,
            "error": letter.error,
            "payload": _fragment(payload_of(letter.body)),
            "deliveries": letter.deliveries,
            "deadAt": rfc3339(letter.dead_at),
            "reprocessedAt": letter.reprocessed_at and rfc3339(letter.reprocessed_at),
            "reason": letter.reason,
            "causeCode": letter.cause,
            "code": letter.code,
            "details": _fragment(letter.details),
        }
        for letter in letters
    ]


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)
