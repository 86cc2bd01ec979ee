"""Answer errors that no view has handled and that the database has caused."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults

from flows.api.errors import Problem, ProblemResponse, as_problem
from flows.store.troubles import trouble_of

WHAT_NOW = "Try again in some seconds."
LOOK_FIRST = "Look whether it was done before you repeat it."
FAILED = "Something went wrong"
LOGGED = (
    "The log of the server has the error, at {:%H:%M:%S} UTC. Try again; if it happens again, tell"
    " an administrator."
)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 or 504 while the database cannot be used, for pages too; else 500."""
    error = sys.exception()
    problem = as_problem(error) if isinstance(error, Exception) and trouble_of(error) else None
    if request.path_info.startswith("/async/"):
        return defaults.server_error(request) if problem is None else ProblemResponse(problem)
    if problem is None:
        return _page(500, FAILED, LOGGED.format(datetime.now(UTC)))
    return page(problem)


def page(problem: Problem) -> HttpResponse:
    is_unknown = problem.status == HTTPStatus.GATEWAY_TIMEOUT
    response = _page(problem.status, problem.title, LOOK_FIRST if is_unknown else WHAT_NOW)
    for name, value in (problem.headers or {}).items():
        response[name] = value
    return response


def _page(status: int, title: str, text: str) -> HttpResponse:
    context = {"status": status, "title": title, "text": text}
    return HttpResponse(render_to_string("admin/flows/error/server.html", context), status=status)
