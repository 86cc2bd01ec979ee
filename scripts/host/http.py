"""`context.http`: requests of a Python script, which its worker makes (`outside_calls.py`)."""

from __future__ import annotations

import json as jsons
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from math import isfinite
from typing import Any
from urllib.parse import quote, urlencode

from scripts.host.exceptions import Retry
from scripts.host.service_client import TOO_LARGE, is_too_large
from scripts.protocol.envelope import encode
from scripts.protocol.errors import OutputInvalid, WrongArgument
from scripts.protocol.numerals import Numerals, loads, may_change

# Sends a request and returns its number; waits for the reply to a number.
Send = Callable[[dict[str, Any]], int]
Read = Callable[[int], dict[str, Any]]
# A file of a form: its content, or (name, content) or (name, content, type).
File = str | bytes | tuple[Any, ...]

_OPTIONS = (
    "params", "json", "data", "form", "files", "headers", "auth", "timeout", "ca", "cert",
)  # fmt: skip
# The characters of a server's answer that its error has.
_EXCERPT_LENGTH = 200


class HttpError(Exception):
    """A request that failed, or a status that is an error.

    `kind` is one word for the failure, "status" for a status; `response` is the server's answer
    where there is one.
    """

    def __init__(self, message: str, kind: str = "status", response: Response | None = None):
        # Not super(), which is a Retry for one of the subclasses.
        Exception.__init__(self, message)
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


class NotJson(ValueError):
    """The body of an answer is no JSON."""


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
        try:
            if may_change(self.text.encode(errors="replace")):
                return loads(self.text, self._numerals)
            return jsons.loads(self.text)
        except ValueError as error:
            message = f"{self._said()}, and no JSON{self._excerpt()}: {error}"
            raise NotJson(message) from None

    def raise_for_status(self) -> Response:
        """Raise an HttpError for a status from 400 on, else return the response.

        A 429 or 503 with a Retry-After is a Retry, too: unless the script catches it, its message
        is delivered again after that time, and its queue slows down.
        """
        if self.ok:
            return self
        message, excerpt = self._said(), self._excerpt()
        if self.retry_after is None:
            raise HttpError(message + excerpt, response=self)
        later = f"{message}, to be tried again later{excerpt}"
        raise Throttled(later, self, self.retry_after)

    def _said(self) -> str:
        return f"{self._method} {self.url.partition('?')[0]} was answered with {self.status}"

    def _excerpt(self) -> str:
        """Return the beginning of the body for an error, in one line."""
        text = " ".join((self._text or "")[: 4 * _EXCERPT_LENGTH].split())
        if not text:
            return ""
        return f": {text[:_EXCERPT_LENGTH]}{'…' if len(text) > _EXCERPT_LENGTH else ''}"

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Http:
    """Makes requests, and waits for the answers."""

    Error = HttpError

    def __init__(self, send: Send, read: Read, numerals: Numerals | None = None) -> None:
        """Take what sends a request, what reads its reply, and the writing of numbers."""
        self._send = send
        self._read = read
        self._numerals: Numerals = {} if numerals is None else numerals

    def request(self, method: str, url: str, **options: Any) -> Response:
        """Make a request.

        The options: params, json, data, form, files, headers, auth, timeout, ca, cert. `data` is
        text, bytes, or fields, which are sent as a form. `auth` is a token, or a user and a
        password. `ca` and `cert` are names of secrets with PEM texts: the authority of the server,
        and the certificate of the script with its key. `timeout` is for the whole request, in
        seconds. Raises HttpError if no answer comes. An error status raises nothing here.
        """
        method = str(method).upper()
        return self._answer(method, self._send(self._prepared(method, url, **options)))

    def all(
        self, requests: Iterable[str | Mapping[str, Any]], *, return_errors: bool = False
    ) -> list[Response | HttpError]:
        """Make several requests at once, and return the answers in their order.

        Each is a URL, or url, method and the options of a request. When all have come to their
        end, the first HttpError is raised; with `return_errors` it stands in its place.
        """
        if isinstance(requests, str | Mapping):
            raise WrongArgument("http.all() takes a list")
        prepared = [self._request_of(each) for each in requests]
        sent = [(request["method"], self._send(request)) for request in prepared]
        answers: list[Response | HttpError] = []
        for method, number in sent:
            try:
                answers.append(self._answer(method, number))
            except HttpError as error:
                answers.append(error)
        failed = next((each for each in answers if isinstance(each, HttpError)), None)
        if failed is not None and not return_errors:
            raise failed
        return answers

    def _request_of(self, given: str | Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(given, str | Mapping):
            raise WrongArgument("each request of http.all() is a URL, or a dictionary with url")
        options: dict[str, Any] = {"url": given} if isinstance(given, str) else dict(given)
        if "url" not in options:
            raise WrongArgument("each request of http.all() has a url")
        method = str(options.pop("method", "GET")).upper()
        return self._prepared(method, **options)

    def _prepared(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """Return a request as the worker takes it. Raises TypeError for an unknown option."""
        if unknown := next((name for name in options if name not in _OPTIONS), None):
            raise WrongArgument(f"a request takes {', '.join(_OPTIONS)}, not {unknown}")
        return self._request(method, url, **options)

    def _request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        json: Any = None,
        data: Any = None,
        form: Any = None,
        files: Any = None,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> dict[str, Any]:
        if not isinstance(headers or {}, Mapping):
            raise WrongArgument("headers takes a dictionary")
        own_headers = {
            str(name): _plain(f"headers[{name!r}]", value)
            for name, value in (headers or {}).items()
            if value is not None
        }
        body, content_type = _body(json, data, form, files, self._numerals)
        if content_type and not any(name.lower() == "content-type" for name in own_headers):
            own_headers["Content-Type"] = content_type
        timeout = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        options = {"auth": auth, "ca": ca, "cert": cert, "timeout": timeout}
        return {
            "method": method,
            "url": _with_params(_url(url), params),
            "headers": own_headers,
            **{name: value for name, value in options.items() if value is not None},
            **body,
        }

    def _answer(self, method: str, number: int) -> Response:
        reply = self._read(number)
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


def _body(
    json: Any, data: Any, form: Any, files: Any, numerals: Numerals
) -> tuple[dict[str, Any], str]:
    """Return the body as members of a request, and its type where the worker does not know it."""
    is_form = form is not None or files is not None
    if (json is not None) + (data is not None) + is_form > 1:
        raise WrongArgument("a request has one of json, data, and form with files")
    if is_form:
        return {"form": _fields("form", form), "files": _files(files)}, ""
    if json is not None:
        return {"body": _json_text(json, numerals)}, "application/json"
    if data is None:
        return {"body": None}, ""
    if isinstance(data, str):
        return {"body": data}, "text/plain; charset=utf-8"
    if isinstance(data, bytes | bytearray | memoryview):
        return {"base64": b64encode(data).decode()}, "application/octet-stream"
    return {"body": urlencode(_fields("data", data))}, "application/x-www-form-urlencoded"


def _files(files: Any) -> list[list[Any]]:
    return [
        [str(name), *_file(str(name), file)] for name, file in _pairs(files) if file is not None
    ]


def _file(name: str, file: File | Any) -> list[Any]:
    """Return the name of a file, its type, and its content."""
    filename, content, kind = name, file, None
    if isinstance(file, tuple | list):
        if not 2 <= len(file) <= 3:
            raise WrongArgument(f"files[{name!r}] takes content, (name, content) or (…, type)")
        filename, content, kind = (*file, None)[:3]
    if hasattr(content, "read"):
        content = content.read()
    if isinstance(content, str):
        content = content.encode()
    if not isinstance(content, bytes | bytearray | memoryview):
        raise WrongArgument(f"files[{name!r}] has bytes or text, not {type(content).__name__}")
    return [str(filename), kind, b64encode(content).decode()]


def _fields(what: str, given: Any) -> list[tuple[str, str]]:
    """Return names and texts: one for each item of a list, None is left out."""
    found = []
    for name, value in _pairs(given, what):
        values = value if isinstance(value, list | tuple | set | frozenset) else [value]
        place = f"{what}[{name!r}]"
        found += [(str(name), _plain(place, each)) for each in values if each is not None]
    return found


def _pairs(given: Any, what: str = "files") -> list[tuple[Any, Any]]:
    if given is None:
        return []
    pairs: list[Any] = [None]
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        pairs = list(given.items() if isinstance(given, Mapping) else given)
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise WrongArgument(f"{what} takes a dictionary, or pairs of name and value")
    return [(name, value) for name, value in pairs]


def _plain(place: str, value: Any) -> str:
    """Return the text of a value that has one. Raises TypeError for the others."""
    if isinstance(value, bool):
        # As in JSON, and as JavaScript writes it.
        return "true" if value else "false"
    if isinstance(value, Mapping | list | tuple | set | frozenset | bytearray | memoryview) or (
        isinstance(value, float) and not isfinite(value)
    ):
        raise WrongArgument(f"{place} must be a text, a number or a boolean")
    return value.decode() if isinstance(value, bytes) else str(value)


def _url(url: Any) -> str:
    if url is None:
        raise WrongArgument("a request takes a url, not None")
    return str(url)


def _json_text(value: Any, numerals: Numerals) -> str:
    """Write JSON. Raises ValueError or TypeError with the place of what JSON cannot hold, and
    HttpError for what no request has room for.
    """
    if is_too_large(value):
        raise HttpError(TOO_LARGE["error"], TOO_LARGE["kind"])
    try:
        text = jsons.dumps(value, allow_nan=False, ensure_ascii=False)
        # Only then may there be a number that is written in another way.
        return encode(value, numerals).decode() if numerals else text
    except (TypeError, ValueError, RecursionError):
        try:
            encode(value)
        except OutputInvalid as invalid:
            raise WrongArgument(f"json: {invalid}") from None
        raise
    except OutputInvalid:
        # Python writes some keys that are no texts as texts, such as numbers.
        return text


def _with_params(url: str, params: Any) -> str:
    # As JavaScript writes it; a form has "+" for a blank.
    query = urlencode(_fields("params", params), safe="!'()*", quote_via=quote)
    if not query:
        return url
    url, hash_sign, fragment = url.partition("#")
    return f"{url}{'&' if '?' in url else '?'}{query}{hash_sign}{fragment}"
