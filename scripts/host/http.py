"""`context.http`: requests of a Python script, which its worker makes (`outside_calls.py`)."""

from __future__ import annotations

import json as jsons
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from scripts.host.exceptions import Retry
from scripts.protocol.envelope import encode
from scripts.protocol.errors import OutputInvalid
from scripts.protocol.numerals import Numerals, loads, may_change

Send = Callable[[dict[str, Any]], dict[str, Any]]


class HttpError(Exception):
    """A request that failed, or a status that is an error.

    `kind` is one word for the failure, "status" for a status; `response` is the server's answer
    where there is one.
    """

    def __init__(self, message: str, kind: str = "status", response: Response | None = None):
        super().__init__(message)
        self.kind = kind
        self.response = response

    @property
    def status(self) -> int | None:
        return None if self.response is None else self.response.status


class Throttled(HttpError, Retry):
    """429 or 503 with a time to wait. If the script does not catch it, it runs again after that."""

    def __init__(self, message: str, response: Response, after: float) -> None:
        HttpError.__init__(self, message, response=response)
        self.reason = message
        self.after = after


class Headers(Mapping[str, str]):
    """The headers of a response. The case of their names makes no difference."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = {name.lower(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __repr__(self) -> str:
        return repr(self._headers)

    def get_list(self, name: str) -> list[str]:
        """Return the values of a header that may come more than once, such as Set-Cookie."""
        return self[name].split("\n") if name in self else []


class Response:
    """The answer of a server, after redirects. `url` is the address that these led to.

    `content` is the body as bytes, `text` the body decoded by the answer's charset.
    """

    def __init__(
        self, method: str, reply: dict[str, Any], numerals: Numerals | None = None
    ) -> None:
        self._numerals: Numerals = {} if numerals is None else numerals
        self.status: int = reply["status"]
        self.headers = Headers(reply["headers"])
        self._text: str | None = reply["body"]
        self._no_text: str = reply.get("noText", "")
        self._base64: str | None = reply.get("base64")
        self.url: str = reply["url"]
        self.retry_after: float | None = reply.get("retryAfter")
        self._method = method

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def text(self) -> str:
        """Raises HttpError of the kind "encoding" where the body is no text."""
        if self._text is None:
            message = f"The body of {self.url.partition('?')[0]} is no text: {self._no_text}."
            raise HttpError(f"{message} Its bytes are in content.", "encoding", self)
        return self._text

    @property
    def content(self) -> bytes:
        if self._base64 is not None:
            return b64decode(self._base64)
        return (self._text or "").encode()

    def json(self) -> Any:
        """Read the body as JSON. Raises ValueError if it is none.

        Numbers that the script leaves unchanged go on as they are written there.
        """
        if may_change(self.text.encode(errors="replace")):
            return loads(self.text, self._numerals)
        return jsons.loads(self.text)

    def raise_for_status(self) -> Response:
        """Raise an HttpError for a status from 400 on, else return the response.

        A 429 or 503 with a Retry-After is a Retry, too: unless the script catches it, its message
        is delivered again after that time, and its queue slows down.
        """
        if self.ok:
            return self
        message = f"{self._method} {self.url.partition('?')[0]} was answered with {self.status}"
        if self.retry_after is None:
            raise HttpError(message, response=self)
        raise Throttled(f"{message}, to be tried again later", self, self.retry_after)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Http:
    """Makes requests, one at a time, and waits for the answers."""

    Error = HttpError

    def __init__(self, send: Send, numerals: Numerals | None = None) -> None:
        """Take the function that sends a request, and the writing of the message's numbers."""
        self._send = send
        self._numerals: Numerals = {} if numerals is None else numerals

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        timeout: float = 10,
    ) -> Response:
        """Make a request. `data` is text, bytes, or fields, which are sent as a form.

        `timeout` is for the whole request, in seconds. Raises HttpError if no answer comes. An
        error status raises nothing here.
        """
        method = method.upper()
        own_headers = {
            str(name): str(value) for name, value in (headers or {}).items() if value is not None
        }
        body, content_type = _body(json, data, self._numerals)
        sent = {"base64": b64encode(body).decode()} if isinstance(body, bytes) else {"body": body}
        if content_type and not any(name.lower() == "content-type" for name in own_headers):
            own_headers["Content-Type"] = content_type
        reply = self._send(
            {
                "method": method,
                "url": _with_params(str(url), params),
                "headers": own_headers,
                "timeout": timeout,
                **sent,
            }
        )
        if "error" in reply:
            raise HttpError(reply["error"], reply["kind"])
        return Response(method, reply, self._numerals)

    def get(self, url: str, params: Any = None, **options: Any) -> Response:
        return self.request("GET", url, params=params, **options)

    def head(self, url: str, params: Any = None, **options: Any) -> Response:
        return self.request("HEAD", url, params=params, **options)

    def post(self, url: str, json: Any = None, data: Any = None, **options: Any) -> Response:
        return self.request("POST", url, json=json, data=data, **options)

    def put(self, url: str, json: Any = None, data: Any = None, **options: Any) -> Response:
        return self.request("PUT", url, json=json, data=data, **options)

    def patch(self, url: str, json: Any = None, data: Any = None, **options: Any) -> Response:
        return self.request("PATCH", url, json=json, data=data, **options)

    def delete(self, url: str, params: Any = None, **options: Any) -> Response:
        return self.request("DELETE", url, params=params, **options)


def _body(json: Any, data: Any, numerals: Numerals) -> tuple[str | bytes | None, str]:
    """Return the body, and its type."""
    if json is not None:
        if data is not None:
            raise TypeError("a request has either json or data")
        return _json_text(json, numerals), "application/json"
    if data is None:
        return None, ""
    if isinstance(data, str):
        return data, "text/plain; charset=utf-8"
    if isinstance(data, bytes | bytearray):
        return bytes(data), "application/octet-stream"
    return urlencode(data, doseq=True), "application/x-www-form-urlencoded"


def _json_text(value: Any, numerals: Numerals) -> str:
    """Write JSON. Raises ValueError or TypeError with the place of what JSON cannot hold."""
    try:
        text = jsons.dumps(value, allow_nan=False)
        # Only then may there be a number that is written in another way.
        return encode(value, numerals).decode() if numerals else text
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        try:
            encode(value)
        except OutputInvalid as invalid:
            raise kind(f"json: {invalid}") from None
        raise
    except OutputInvalid:
        # Python writes some keys that are no texts as texts, such as numbers.
        return text


def _with_params(url: str, params: Any) -> str:
    if not params:
        return url
    if isinstance(params, Mapping):
        # Left out, as by other clients; urlencode would send the text None.
        params = {name: value for name, value in params.items() if value is not None}
    if not params:
        return url
    url, hash_sign, fragment = url.partition("#")
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params, doseq=True)}{hash_sign}{fragment}"
