"""What a problem's `type` leads to: what it means, and what a caller may do."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from flows.api.errors import PROBLEM_TYPES, TYPE_BASE, Problem
from flows.api.openapi.describe import extend_schema
from flows.api.view import OpenView, json_response

ADVICE = {
    408: "Send the body faster, and the request again.",
    429: "Send the request again after Retry-After.",
    500: "Look for the run before you send the request again. The server's log has the cause.",
    501: "Ask for the state instead; the operators may use the ASGI server.",
    503: "Nothing was stored. Send the request again after Retry-After.",
    504: "Send a start again with the same Idempotency-Key; look before you repeat others.",
}
OTHERWISE = "The same request is refused again. Change it, or what it is about."


class ProblemTypeView(OpenView):
    @extend_schema(exclude=True)
    def get(self, request: Request, name: str) -> HttpResponse:
        if name not in PROBLEM_TYPES:
            raise Problem("not-found")
        return json_response(described(name))


def described(name: str) -> dict[str, Any]:
    problem_type = PROBLEM_TYPES[name]
    return {
        "type": TYPE_BASE + name,
        "title": problem_type.title,
        "status": problem_type.status,
        "advice": ADVICE.get(problem_type.status, OTHERWISE),
    }
