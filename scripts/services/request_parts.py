"""The parts of a script's request that its worker puts together: forms, files, credentials."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import httpx

from scripts.protocol.services import RequestFailed


def body_of(request: dict[str, Any]) -> tuple[bytes, str]:
    """Return the body of a request, and its type, "" where the script has said it.

    Raises RequestFailed for what can be no body.
    """
    if request.get("form") is not None or request.get("files") is not None:
        return _form(request.get("form") or [], request.get("files") or [])
    if request.get("base64") is not None:
        return _bytes(request["base64"]), ""
    body = request.get("body")
    if not isinstance(body, str | None):
        raise RequestFailed("The body must be a string.", "invalid")
    return (body or "").encode(errors="replace"), ""


def authorization(auth: Any) -> str:
    """Return the header for a token, or for a user and a password."""
    match auth:
        case str(token) if token:
            return f"Bearer {token}"
        case [str(user), str(password)] if ":" not in user:
            return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")
    raise RequestFailed("auth takes a token, or a user without a colon and a password.", "invalid")


def secret_name(what: str, name: Any) -> str:
    """Return the name of a secret that an option names, "" where the option is not there."""
    if name is None:
        return ""
    if not isinstance(name, str) or not name:
        raise RequestFailed(f"{what} takes the name of a secret.", "invalid")
    return name


def _form(fields: Any, files: Any) -> tuple[bytes, str]:
    """Write a form as browsers do: with files in parts, else in one line."""
    values: dict[str, list[str]] = {}
    try:
        for name, value in fields:
            values.setdefault(name, []).append(value)
        parts = [
            (name, (filename, _bytes(content), *([kind] if kind else [])))
            for name, filename, kind, content in files
        ]
        # Only its body is used.
        request = httpx.Request("POST", "http://form/", data=values, files=parts or None)
    except (TypeError, ValueError) as error:
        raise RequestFailed(f"The form is not valid: {error}", "invalid") from None
    return request.read(), request.headers.get("content-type", "application/x-www-form-urlencoded")


def _bytes(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise RequestFailed("The body is not base64.", "invalid") from None
