"""Describe an operation: what follows from its method and its body is added here, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from drf_spectacular.utils import extend_schema as extend_schema_of_project

from flows.api.errors import CONTENT_TYPE, PROBLEM_TYPES, TYPE_BASE
from flows.api.openapi.schemas import Schema, ref

# The arguments of `extend_schema`.
Operation = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
Responses = dict[tuple[int, str], OpenApiResponse]

Method = Literal["GET", "POST", "PUT", "DELETE"]
QUERY: Literal["query"] = "query"
HEADER: Literal["header"] = "header"
PATH: Literal["path"] = "path"

# The problem types of every operation that needs a login.
GUARDED = ("not-authenticated", "too-many-logins", "query-invalid", "database-unavailable")
# Those of an operation that changes something.
WRITES = ("no-role", "csrf-failed")
# Those of an operation that receives a body.
RECEIVES = ("body-incomplete", "body-too-slow", "transfer-coding-unknown", "overloaded")

# A parameter that is a text is not empty.
GIVEN: Schema = {"type": "string", "minLength": 1}

RETRY_AFTER = "Seconds after which to try again."
ANSWERED_WITH_RETRY_AFTER = (429, 503)


def extend_schema(**kwargs: Any) -> Callable[[F], F]:
    """Describe a method of a view, whatever DEFAULT_SCHEMA_CLASS a project has."""
    extend = extend_schema_of_project(**kwargs)

    def extended(method: F) -> F:
        method.schema = AutoSchema  # type: ignore[attr-defined]
        return extend(method)

    return extended


def operation(
    method: Method,
    operation_id: str,
    tag: str,
    summary: str,
    description: str,
    *,
    answer: dict[Any, OpenApiResponse],
    parameters: Iterable[OpenApiParameter] = (),
    body: Schema | None = None,
    problems: tuple[str, ...] = (),
    retry_after: tuple[int, ...] = ANSWERED_WITH_RETRY_AFTER,
) -> Operation:
    """Describe an operation that needs a login.

    `body` is the schema by media type. `problems` are the operation's own problem types;
    `retry_after` are the statuses of the answers with that header.
    """
    return {
        "operation_id": operation_id,
        "tags": [tag],
        "summary": summary,
        "description": description,
        "parameters": [
            *parameters,
            answered_header("Retry-After", int, RETRY_AFTER, *retry_after),
            CHALLENGE,
            *(TAKEN if body is not None else ()),
        ],
        "request": body,
        "responses": {
            **answer,
            **refusals(*_problem_types(method, problems, takes_body=body is not None)),
        },
    }


def _problem_types(method: Method, own: tuple[str, ...], *, takes_body: bool) -> list[str]:
    """Return all problem types of an operation. Clients see those of a status in this order."""
    of_request = [name for name in own if PROBLEM_TYPES[name].status == 400]
    names = ["payload-invalid"] if takes_body else []
    names += [*of_request, *GUARDED]
    if method != "GET":
        names += WRITES
    names += [name for name in own if name not in of_request]
    if takes_body:
        names += [*RECEIVES, "unsupported-media-type"]
    return [*names, "not-acceptable"]


def refusals(*names: str) -> Responses:
    """Describe the refusals of these problem types, one response a status."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for name in names:
        by_status[PROBLEM_TYPES[name].status].append(name)
    return {
        (status, CONTENT_TYPE): OpenApiResponse(
            ref("Problem"),
            description="\n".join(f"- `{name}`: {PROBLEM_TYPES[name].title}" for name in of_status),
            examples=[_problem_example(name) for name in of_status],
        )
        for status, of_status in sorted(by_status.items())
    }


# What the examples of some refusals have beside what all have.
MORE_OF_EXAMPLES: dict[str, dict[str, Any]] = {
    "idempotency-conflict": {
        "correlationId": "0190f3a2-7c1e-7d3b-9a55-0f2d6c1b8e4a",
        "errors": [{"parameter": "priority", "detail": "was 4"}],
    },
}


def _problem_example(name: str) -> OpenApiExample:
    problem_type = PROBLEM_TYPES[name]
    document = {
        "type": TYPE_BASE + name,
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": problem_type.title,
    }
    return OpenApiExample(name, value=document | MORE_OF_EXAMPLES.get(name, {}))


def answered(
    description: str, schema: Schema, example: Any = None, *, status: int = 200
) -> Responses:
    """Describe the answer of success, which is JSON."""
    examples = [] if example is None else [OpenApiExample("answer", value=example)]
    response = OpenApiResponse(schema, description=description, examples=examples)
    return {(status, "application/json"): response}


def answered_header(name: str, type_: Any, description: str, *on: int) -> OpenApiParameter:
    """Describe a header of the answers with these statuses."""
    return OpenApiParameter(name, type_, HEADER, response=list(on), description=description)


CHALLENGE = answered_header("WWW-Authenticate", str, "How to log in.", 401)
TAKEN = (
    answered_header("Accept", str, "The media types that the body may have.", 415),
    answered_header("Accept-Encoding", str, "The content codings that the body may have.", 415),
)
WAITED = answered_header("Retry-After", int, RETRY_AFTER, *ANSWERED_WITH_RETRY_AFTER)


def says_its_rates(*on: int) -> list[OpenApiParameter]:
    """Describe the headers of answers to starts that start rates count."""
    return [
        answered_header(
            "RateLimit",
            str,
            "Where a start rate counts the start: by each rate, `flow` or `user`, how many more"
            ' starts it allows now, and in `t` seconds more than that: `"flow";r=2;t=6`.',
            *on,
        ),
        answered_header(
            "RateLimit-Policy",
            str,
            "Those rates: at most `q` starts in any window of `w` seconds:"
            ' `"flow";q=100;w=60, "user";q=600;w=60`.',
            *on,
        ),
    ]


def names_its_run(*on: int) -> OpenApiParameter:
    """Describe the header of answers about one run."""
    return answered_header(
        "X-Correlation-Id", OpenApiTypes.UUID, "The run that the answer is about.", *on
    )


def filtered(name: str, description: str, type_: Any = None, **more: Any) -> OpenApiParameter:
    """Describe a query parameter: a text that is not empty, unless another type is given."""
    if type_ is None:
        type_ = str if "enum" in more else GIVEN
    return OpenApiParameter(name, type_, QUERY, description=description, **more)


def in_path(name: str, description: str, type_: Any = str) -> OpenApiParameter:
    """Describe a parameter that is a part of the path."""
    return OpenApiParameter(name, type_, PATH, description=description)
