"""Translate a request of ASGI to WSGI."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import RawIOBase
from typing import IO, Any
from urllib.parse import unquote_to_bytes

Scope = dict[str, Any]


def environ_of(scope: Scope, body: IO[bytes] | RawIOBase) -> dict[str, Any]:
    """Return the environment of WSGI (PEP 3333): texts have the bytes as Latin-1."""
    host, port = scope.get("server") or ("localhost", 80)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update(_headers(scope["headers"]))
    return environ


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in headers:
        # X_Forwarded_For would become the same variable as X-Forwarded-For, which a proxy vouches
        # for.
        if b"_" in name:
            continue
        variable = name.decode("latin-1").upper().replace("-", "_")
        if variable not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            variable = f"HTTP_{variable}"
        text = value.decode("latin-1")
        if variable in variables:
            separator = "; " if variable == "HTTP_COOKIE" else ","
            text = f"{variables[variable]}{separator}{text}"
        variables[variable] = text
    return variables


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of the name, which is given in lower case."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            found: bytes = value
            return found
    return None
