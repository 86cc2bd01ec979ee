"""Refusals as RFC 9457 problem details: a table of problem types, and errors translated to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.core.exceptions import (
    ObjectDoesNotExist,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import connection
from django.http import Http404, HttpResponse
from django.http.request import UnreadablePostError
from rest_framework.exceptions import APIException

from flows import errors
from flows.api.rate_headers import rate_headers
from flows.front.faults import RequestFault
from flows.monitoring.pace import tell_when
from flows.store.troubles import trouble_of
from scripts.protocol.envelope import without_middle

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
TYPE_BASE = "/async/problems/"
DATABASE_RETRY_AFTER = 2
# A refusal stays small, even if a payload has many faults.
MOST_ERRORS = 50
LONGEST_DETAIL = 500


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of RFC 9457; its name is the end of the URI in `type`."""

    status: int
    title: str


PROBLEM_TYPES = {
    "bad-request": ProblemType(400, "The request cannot be understood."),
    "body-incomplete": ProblemType(400, "The body ended before its announced end."),
    "query-invalid": ProblemType(400, "The query parameters are refused."),
    "search-too-long": ProblemType(
        400, "The search takes too long. Give a flow, or times that bound it."
    ),
    "header-invalid": ProblemType(400, "A header is refused."),
    "callback-refused": ProblemType(400, "The address of the callback is refused."),
    "payload-invalid": ProblemType(400, "The payload is refused."),
    "not-authenticated": ProblemType(401, "Valid credentials are needed."),
    "no-role": ProblemType(403, "None of the caller's roles gives the right."),
    "token-not-allowed": ProblemType(403, "A user of an identity provider makes no tokens."),
    "csrf-failed": ProblemType(403, "A session needs the CSRF token."),
    "not-found": ProblemType(404, "There is no such thing here."),
    "unknown-flow": ProblemType(404, "There is no flow of this name."),
    "unknown-queue": ProblemType(404, "There is no queue of this name."),
    "method-not-allowed": ProblemType(405, "The method is not allowed here."),
    "not-acceptable": ProblemType(406, "Nothing that the caller accepts can be given."),
    "body-too-slow": ProblemType(408, "The body came too slowly."),
    "flow-not-runnable": ProblemType(409, "The flow is inactive or has no steps."),
    "idempotency-conflict": ProblemType(409, "The idempotency key was used for another request."),
    "too-many-tokens": ProblemType(409, "The user has as many tokens as a user may have."),
    "already-reprocessed": ProblemType(409, "The dead letter was reprocessed before."),
    "input-not-kept": ProblemType(409, "What the run was given is not kept."),
    "payload-erased": ProblemType(409, "The payloads of the run were erased."),
    "no-result": ProblemType(409, "The run has ended without a result."),
    "run-not-finished": ProblemType(409, "The run has not finished."),
    "length-required": ProblemType(411, "The request needs a Content-Length."),
    "payload-too-large": ProblemType(413, "The payload is too large."),
    "unsupported-media-type": ProblemType(415, "The body must be JSON in UTF-8, not compressed."),
    "queue-full": ProblemType(429, "The first queue of the flow is full."),
    "throttled": ProblemType(429, "More runs are started than a start rate allows."),
    "too-many-logins": ProblemType(
        429, "Too many logins from this address, or at this account, have failed."
    ),
    "too-many-waiters": ProblemType(429, "Too many callers wait for the ends of runs."),
    "internal-error": ProblemType(500, "Something went wrong here."),
    "transfer-coding-unknown": ProblemType(
        501, "The body is sent in a coding that is not understood."
    ),
    "no-streams": ProblemType(501, "This server cannot stream events."),
    "database-unavailable": ProblemType(
        503, "The database cannot be used now; nothing was stored."
    ),
    "busy": ProblemType(503, "The payload cannot be checked now; nothing was stored."),
    "overloaded": ProblemType(
        503, "The server has no room for the request now; nothing was stored."
    ),
    "issuer-unavailable": ProblemType(
        503, "The identity provider cannot be asked now; nothing was stored."
    ),
    "not-ready": ProblemType(503, "The database is not prepared."),
    "payload-unreadable": ProblemType(503, "None of the server's keys decrypts the payload."),
    "scripts-not-sealed": ProblemType(503, "Scripts cannot be sandboxed here."),
    "outcome-unknown": ProblemType(
        504, "The database was lost; what was asked may be done or not."
    ),
}

# For errors of Django and DRF, which have a status alone.
TYPE_BY_STATUS = {
    401: "not-authenticated",
    403: "no-role",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    411: "length-required",
    413: "payload-too-large",
    415: "unsupported-media-type",
    429: "throttled",
}

TYPE_BY_FLOW_ERROR = {
    errors.UnknownFlow: "unknown-flow",
    errors.FlowNotRunnable: "flow-not-runnable",
    errors.RightMissing: "no-role",
    errors.RunNotFinished: "run-not-finished",
    errors.InputNotKept: "input-not-kept",
    errors.PayloadErased: "payload-erased",
    errors.PayloadUnreadable: "payload-unreadable",
    errors.PayloadInvalid: "payload-invalid",
    errors.DelayTooLong: "query-invalid",
    errors.DeadlineInvalid: "query-invalid",
    errors.CallbackRefused: "callback-refused",
    errors.PayloadNotChecked: "busy",
    errors.QueueFull: "queue-full",
    errors.QueueFullAtCommit: "queue-full",
    errors.StartRateExceeded: "throttled",
    errors.IdempotencyConflict: "idempotency-conflict",
    errors.PasswordChanged: "not-authenticated",
    errors.TooManyTokens: "too-many-tokens",
    errors.AlreadyReprocessed: "already-reprocessed",
}


class Problem(Exception):
    """A refusal of one of the problem types, which is given by its name."""

    def __init__(
        self,
        type: str,
        detail: str = "",
        *,
        errors: Iterable[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        run_id: UUID | None = None,
    ) -> None:
        """`run_id`: the run that the refusal is about, where the caller may not know it."""
        self.type = type
        self.title = PROBLEM_TYPES[type].title
        self.status = PROBLEM_TYPES[type].status
        self.detail = detail or self.title
        self.errors = list(errors)[:MOST_ERRORS]
        self.headers = dict(headers or {})
        self.run_id = run_id
        super().__init__(self.detail)

    @classmethod
    def of_status(cls, status: int, detail: str = "", **parts: Any) -> Problem:
        other = "internal-error" if status >= 500 else "bad-request"
        return cls(TYPE_BY_STATUS.get(status, other), detail, **parts)

    @classmethod
    def of_parameter(cls, name: str, detail: str) -> Problem:
        fault = {"parameter": name, "detail": detail}
        return cls("query-invalid", f"{name}: {detail}", errors=[fault])

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": TYPE_BASE + self.type,
            "title": self.title,
            "status": self.status,
            "detail": _shortened(self.detail),
        }
        if self.run_id:
            document["correlationId"] = str(self.run_id)
        if self.errors:
            document["errors"] = [
                {key: _shortened(text) for key, text in fault.items()} for fault in self.errors
            ]
        return document

    def body(self) -> bytes:
        return orjson.dumps(self.document())


class ProblemResponse(HttpResponse):
    """A problem as it goes to the caller."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            problem.body(),
            content_type=CONTENT_TYPE,
            status=problem.status,
            headers=problem.headers,
        )


def handle(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer an error that a view raised (DRF's EXCEPTION_HANDLER).

    Returns None for an unexpected error: Django logs its traceback, and the middleware answers.
    """
    problem = as_problem(error)
    if trouble_of(error) and not connection.in_atomic_block:
        # The next connection may reach another server, or the same one when it can write again.
        connection.close()
    if problem and problem.status == 401 and "WWW-Authenticate" not in problem.headers:
        # Django REST framework adds it to errors of its own.
        challenge = context["view"].get_authenticate_header(context["request"])
        problem.headers |= {"WWW-Authenticate": challenge} if challenge else {}
    return ProblemResponse(problem) if problem else None


def answer_to(error: Exception) -> ProblemResponse:
    """Return the answer to an exception outside of views. An unexpected error is logged."""
    problem = as_problem(error)
    if problem is None:
        logger.error("A request could not be answered", exc_info=error)
        problem = Problem("internal-error")
    return ProblemResponse(problem)


def as_problem(error: Exception) -> Problem | None:
    if isinstance(error, Problem):
        return error
    if isinstance(error, errors.FlowError):
        return _of_flow_error(error)
    if isinstance(error, APIException):
        return _of_api_exception(error)
    if isinstance(error, errors.CommitInDoubt):
        logger.error("A commit is in doubt: %s", error)
        return Problem("outcome-unknown", headers={"Retry-After": str(DATABASE_RETRY_AFTER)})
    if (trouble := trouble_of(error)) and trouble.passes:
        logger.error("The database cannot be used: %s. %s", trouble.value, error)
        return Problem("database-unavailable", headers={"Retry-After": str(DATABASE_RETRY_AFTER)})
    if isinstance(error, Http404 | ObjectDoesNotExist):
        return Problem("not-found")
    if isinstance(error, PermissionDenied):
        return Problem("no-role")
    fault = error.__cause__ if isinstance(error, UnreadablePostError) else error
    if isinstance(fault, RequestFault):
        return Problem(fault.type, fault.detail, headers=fault.headers)
    if isinstance(error, RequestDataTooBig):
        return Problem("payload-too-large")
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        return Problem("bad-request")
    return None


def _of_flow_error(error: errors.FlowError) -> Problem | None:
    problem_type = TYPE_BY_FLOW_ERROR.get(type(error))
    if problem_type is None:
        return None
    if isinstance(error, errors.QueueFull):
        tell_when(error)
    headers = rate_headers(getattr(error, "standings", ()))
    if (retry_after := getattr(error, "retry_after", None)) is not None:
        headers["Retry-After"] = str(retry_after)
    return Problem(
        problem_type,
        str(error),
        errors=getattr(error, "errors", ()),
        headers=headers,
        run_id=getattr(error, "correlation_id", None),
    )


def _of_api_exception(error: APIException) -> Problem:
    headers = {}
    if challenge := getattr(error, "challenge", None) or getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(max(1, round(wait)))
    detail = error.detail if isinstance(error.detail, str) else ""
    return Problem.of_status(error.status_code, detail, headers=headers)


def _shortened(text: str) -> str:
    return without_middle(text.encode(errors="backslashreplace").decode(), LONGEST_DETAIL)
