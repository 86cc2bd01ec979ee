"""Answer errors that no view has handled and that the database has caused."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from flows.api.errors import Problem, ProblemResponse, as_problem
from flows.store.troubles import trouble_of

PAGE = """<!doctype html>
<html lang="en"><title>{title}</title><h1>{title}</h1><p>Try again in some seconds.</p></html>
"""


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 or 504 while the database cannot be used, for pages too; else 500."""
    error = sys.exception()
    problem = as_problem(error) if isinstance(error, Exception) and trouble_of(error) else None
    if problem is None:
        return defaults.server_error(request)
    if request.path_info.startswith("/async/"):
        return ProblemResponse(problem)
    return page(problem)


def page(problem: Problem) -> HttpResponse:
    return HttpResponse(
        PAGE.format(title=problem.title),
        status=problem.status,
        headers=problem.headers,
    )
