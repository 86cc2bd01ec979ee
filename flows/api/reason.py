"""The optional reason in the body of an operator's verb. It stays in the audit log."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from flows.api.body import declared_length, is_json, is_left_out, json_body
from flows.api.errors import Problem
from flows.api.options import unknown_option
from flows.message.envelope import parse_payload
from flows.options import LONGEST_REASON


def reason_of(request: Request) -> str:
    """Return the reason in the body, "" where there is no body of JSON. Raises Problem, and as
    `json_body` does.

    A body of another type is not looked at: these calls took any before they knew reasons.
    """
    has_body = "HTTP_TRANSFER_ENCODING" in request.META or declared_length(request._request)
    if not has_body or not is_json(request._request):
        return ""
    raw = json_body(request._request)
    if is_left_out(raw):
        return ""
    document = parse_payload(raw, "The body")
    faults = {name: unknown_option(name, ["reason"]) for name in document if name != "reason"}
    if fault := reason_fault(document.get("reason", "")):
        faults["reason"] = fault
    if faults:
        errors = [{"path": f"$.{name}", "detail": detail} for name, detail in faults.items()]
        raise Problem("payload-invalid", "The body is refused.", errors=errors)
    return str(document.get("reason", ""))


def reason_fault(reason: Any) -> str:
    """Return what a reason must be, "" where it is right."""
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON:
        return f"must be a text of at most {LONGEST_REASON} characters"
    return ""
