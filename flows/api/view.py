from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.transaction import non_atomic_requests
from django.http import HttpResponse, QueryDict
from django.utils.cache import patch_vary_headers
from rest_framework.exceptions import MethodNotAllowed, NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from flows.api.authentication import BASIC, BEARER, IssuerAuthentication, is_taken
from flows.api.errors import CONTENT_TYPE, Problem, handle
from flows.api.framework import EngineView, api_settings
from scripts.protocol.numerals import dumps

# The key in the environment of the run that an answer is about.
ABOUT = "asyncengine.about"


class OneForm(DefaultContentNegotiation):
    """Skips the comparison of media types for callers that accept any, as most do.

    Generated clients accept problems alone where an operation answers with nothing else. They get
    what there is.
    """

    settings = api_settings

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        accepted = request.META.get("HTTP_ACCEPT", "*/*")
        if accepted == "*/*" or CONTENT_TYPE in accepted:
            return renderers[0], renderers[0].media_type
        try:
            return super().select_renderer(request, renderers, format_suffix)
        except NotAcceptable as error:
            forms = " or ".join(each.media_type for each in renderers)
            raise Problem("not-acceptable", f"What can be given is {forms}.") from error


class ApiView(EngineView):
    """Base of the operations. They need a login, and refuse unknown query parameters.

    ATOMIC_REQUESTS does not apply to them. A start answers for a commit that has been made. A call
    that waits for a run must not keep workers from writing, as a transaction does on SQLite.

    Whatever REST_FRAMEWORK says of a project's own views, these need a login and speak JSON.
    """

    permission_classes = [IsAuthenticated]
    parser_classes = [JSONParser]
    renderer_classes = [JSONRenderer]
    content_negotiation_class = OneForm
    query_parameters: frozenset[str] = frozenset()
    # Those that may be given more than once; all their values are in `repeated`.
    repeatable_parameters: frozenset[str] = frozenset()
    query: dict[str, str]
    repeated: dict[str, list[str]]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        return non_atomic_requests(super().as_view(**initkwargs))

    def get_authenticators(self) -> list[Any]:
        """Add tokens of the issuer to the ways to log in, where one is configured."""
        ways: list[Any] = super().get_authenticators()
        return [IssuerAuthentication(), *ways] if ways and is_taken() else ways

    def get_exception_handler(self) -> Any:
        return handle

    def get_authenticate_header(self, request: Request) -> str:
        """Name both ways to log in. Browsers get no Basic: they would ask the user for a
        password."""
        return BEARER if "Sec-Fetch-Mode" in request.headers else f"{BASIC}, {BEARER}"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed_methods:
            # Whatever its query: Django REST framework would look at the method only after this.
            raise MethodNotAllowed(request.method or "")
        if request.method == "OPTIONS":
            return
        query = request.query_params
        self.repeated = {
            name: query.getlist(name) for name in self.repeatable_parameters if name in query
        }
        self.query = checked_query(query, self.query_parameters, self.repeatable_parameters)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer with the header Allow alone: the document says more, and some speak no JSON."""
        return no_content()

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if run_id := request.META.get(ABOUT):
            response["X-Correlation-Id"] = str(run_id)
        if request.method in {"GET", "HEAD"}:
            # It is what this caller may see now.
            response.setdefault("Cache-Control", "no-store")
            patch_vary_headers(response, ["Authorization", "Cookie"])
        return response


def is_about(request: Request, run_id: UUID) -> None:
    """Have the answer name the run that it is about, in a header."""
    request.META[ABOUT] = run_id


class OpenView(ApiView):
    """Base of the operations that need no login; an Authorization header is not looked at."""

    authentication_classes = []
    permission_classes = []


def no_content() -> HttpResponse:
    response = HttpResponse(status=204)
    # What is not there has no type.
    del response["Content-Type"]
    return response


def checked_query(
    query: QueryDict, known: frozenset[str], repeatable: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return the parameters by name, without the repeatable ones.

    Raises Problem for an unknown or repeated one.
    """
    single = [(name, values) for name, values in query.lists() if name not in repeatable]
    for name, values in single:
        if name not in known:
            raise Problem.of_parameter(name, "unknown parameter")
        if len(values) > 1:
            raise Problem.of_parameter(name, "given more than once")
    return {name: str(values[0]) for name, values in single}


def json_response(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Answer with JSON; bytes are JSON already."""
    body = document if isinstance(document, bytes) else dumps(document)
    return HttpResponse(body, content_type="application/json", status=status, headers=headers)
