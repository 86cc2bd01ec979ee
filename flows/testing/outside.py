"""Outside calls of scripts in tests: stubs answer them, and nothing reaches the network."""

from __future__ import annotations

import json as jsons
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import httpcore
import httpx

from flows.testing.arguments import (
    check_choice,
    check_function,
    check_json,
    check_number,
    check_options,
    check_text,
    check_type,
    listed,
)
from scripts.protocol.calls import Program
from scripts.protocol.services import Deadline, RequestFailed
from scripts.services import outside_calls
from scripts.services.outside_calls import METHODS, Hop, reply_to

# A body may be null, so None is no default.
NO_JSON = object()
# The errors of a call without an answer.
ERRORS = ("timeout", "connect", "dns", "tls", "protocol", "redirects", "too-large", "busy")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(slots=True)
class OutsideCall:
    """A call of a script, and the status of its answer.

    The headers' names are in lower case. `script` is the name of the script, not of the step.
    """

    script: str
    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    status: int | None = None

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return jsons.loads(self.body)

    @property
    def params(self) -> dict[str, str]:
        """The query: the first value of each name."""
        return dict(reversed(httpx.URL(self.url).params.multi_items()))

    def __str__(self) -> str:
        answer = "no answer" if self.status is None else str(self.status)
        return f"{self.method} {self.url} by {self.script!r}: {answer}"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a stub: a status with headers and a body, given as JSON, text or bytes.

    With `error` there is no answer, but an error of that kind: "timeout", "connect", "dns", "tls",
    "protocol", "redirects", "too-large" or "busy". Raises TypeError and ValueError.
    """

    status: int = 200
    json: Any = field(default=NO_JSON, kw_only=True)
    text: str | None = field(default=None, kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    error: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        bodies = (self.json is not NO_JSON) + (self.text is not None) + (self.body is not None)
        if bodies > 1:
            raise TypeError("A reply has one of json, text and body.")
        check_type("error", self.error, str, f"one of {listed(ERRORS)}")
        if self.error:
            check_choice("error", self.error, ERRORS)
            if bodies or self.headers or self.status != 200:
                raise TypeError("A reply with an error has no status, headers, json, text or body.")
        check_number("status", self.status, 200, 599)
        self._check_body()
        check_type("headers", self.headers, Mapping, "a mapping of strings")
        for name, value in self.headers.items():
            _check_header(name, value)

    def _check_body(self) -> None:
        if self.json is not NO_JSON:
            check_json("json", self.json)
        if self.text is not None:
            check_text("text", self.text)
        if self.body is not None:
            check_type("body", self.body, bytes, "bytes")

    def content(self) -> tuple[bytes, str]:
        """Return the body and its type."""
        if self.json is not NO_JSON:
            return jsons.dumps(self.json).encode(), "application/json"
        if self.text is not None:
            return self.text.encode(), "text/plain; charset=utf-8"
        return self.body or b"", "application/octet-stream" if self.body else ""


Answer = Reply | Callable[[OutsideCall], Reply]
Address = str | re.Pattern[str]


class ReplyOptions(TypedDict, total=False):
    """The parts of a reply."""

    status: int
    json: Any
    text: str
    body: bytes
    headers: Mapping[str, str]
    error: str


class StubOptions(ReplyOptions, total=False):
    """A reply, and the number of calls that it answers."""

    times: int


@dataclass(slots=True, eq=False)
class Stub:
    """The answer to calls of a method and a URL, at most `times`, and the answered calls.

    A URL without a query stands for itself with any query; one that is a compiled pattern is
    searched for in the whole URL.
    """

    method: str
    url: Address
    answer: Answer
    times: int | None = None
    calls: list[OutsideCall] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_type("method", self.method, str, "a string")
        self.method = self.method.upper()
        if self.method not in (*METHODS, "*"):
            raise ValueError(f"The method must be one of {', '.join(METHODS)} and *.")
        _check_address(self.url)
        if not isinstance(self.answer, Reply):
            if not callable(self.answer):
                raise TypeError(f"reply must be a Reply or a function, not {self.answer!r}.")
            check_function("reply", self.answer, "the call", 1)
        if self.times is not None:
            check_number("times", self.times, 1)

    def answers(self, call: OutsideCall) -> bool:
        is_left = self.times is None or len(self.calls) < self.times
        return is_left and self.method in (call.method, "*") and self._is_at(call.url)

    def _is_at(self, url: str) -> bool:
        if isinstance(self.url, re.Pattern):
            return self.url.search(url) is not None
        stubbed, called = httpx.URL(self.url), httpx.URL(url)
        if not stubbed.query:
            return _without_query(called) == _without_query(stubbed)
        is_same_place = _without_query(called) == _without_query(stubbed)
        return is_same_place and _sorted_query(called) == _sorted_query(stubbed)

    def __str__(self) -> str:
        url = self.url if isinstance(self.url, str) else f"/{self.url.pattern}/"
        left = "" if self.times is None else f", {len(self.calls)} of {self.times} times"
        return f"{self.method} {url}{left}"


class NotStubbed(AssertionError):
    """A script has made a call that no stub answers."""


class OutsideCalls(outside_calls.OutsideCalls):
    """The stubs of a test. The first one that matches answers, in the order of adding.

    The rights of scripts are checked as in a worker: whether their network is on, which hosts
    they may call, where redirects lead. Names are not resolved, so a name with a private address
    is not refused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stubs: list[Stub] = []
        self.calls: list[OutsideCall] = []
        # Errors of stubs. They fail the test, but were raised while a script waited for its answer.
        self.faults: list[BaseException] = []

    def add(
        self,
        method: str,
        url: Address,
        reply: Answer | None = None,
        *,
        times: int | None = None,
        **options: Unpack[ReplyOptions],
    ) -> Stub:
        """Answer these calls with the reply, or with the result of a function of the call.

        Instead of a reply its parts can be given: status, json, text, body, headers, error. With
        `times` the stub answers that number of calls, and later stubs the others. The method "*"
        stands for all methods. Raises TypeError and ValueError for arguments that are not possible.
        """
        check_options(options, ReplyOptions, "times")
        if reply is not None and options:
            raise TypeError(f"Give a reply or {', '.join(options)}.")
        stub = Stub(method, url, Reply(**options) if reply is None else reply, times)
        self.stubs.append(stub)
        return stub

    def get(
        self, url: Address, reply: Answer | None = None, **options: Unpack[StubOptions]
    ) -> Stub:
        return self.add("GET", url, reply, **options)

    def head(
        self, url: Address, reply: Answer | None = None, **options: Unpack[StubOptions]
    ) -> Stub:
        return self.add("HEAD", url, reply, **options)

    def post(
        self, url: Address, reply: Answer | None = None, **options: Unpack[StubOptions]
    ) -> Stub:
        return self.add("POST", url, reply, **options)

    def put(
        self, url: Address, reply: Answer | None = None, **options: Unpack[StubOptions]
    ) -> Stub:
        return self.add("PUT", url, reply, **options)

    def patch(
        self, url: Address, reply: Answer | None = None, **options: Unpack[StubOptions]
    ) -> Stub:
        return self.add("PATCH", url, reply, **options)

    def delete(
        self, url: Address, reply: Answer | None = None, **options: Unpack[StubOptions]
    ) -> Stub:
        return self.add("DELETE", url, reply, **options)

    def exchange(
        self, program: Program, hop: Hop, deadline: Deadline
    ) -> tuple[dict[str, Any], str | None]:
        __tracebackhide__ = True
        call = OutsideCall(program.name, hop.method, str(hop.url), dict(hop.headers), hop.body)
        self.calls.append(call)
        try:
            reply = self._reply(call)
        except Exception as fault:
            # The test fails even if the script catches the error.
            self.faults.append(fault)
            raise RequestFailed(str(fault), "not-stubbed") from fault
        if reply.error:
            raise RequestFailed(f"{hop.place}: {reply.error}, as its stub says.", reply.error)
        call.status = reply.status
        return reply_to(hop, _response(reply))

    def _reply(self, call: OutsideCall) -> Reply:
        __tracebackhide__ = True
        stub = next((stub for stub in self.stubs if stub.answers(call)), None)
        if stub is None:
            stubs = "".join(f"\n  {stub}" for stub in self.stubs) or " none"
            raise NotStubbed(
                f"The script {call.script!r} has made a call for which there is no stub:"
                f" {call.method} {call.url}\nThe stubs are:{stubs}"
            )
        stub.calls.append(call)
        reply = stub.answer if isinstance(stub.answer, Reply) else stub.answer(call)
        if not isinstance(reply, Reply):
            raise TypeError(f"The stub {stub} must return a Reply, not {reply!r}.")
        return reply


def _check_address(url: Any) -> None:
    if isinstance(url, re.Pattern):
        check_type("The pattern of url", url.pattern, str, "a string")
        return
    check_type("url", url, str, "a string or a compiled pattern")
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"url must begin with https:// or http://, not {url!r}.")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"url is not valid: {url!r}: {error}") from None
    if not parsed.host or parsed.userinfo:
        raise ValueError(f"url must have a host, and no user and password: {url!r}.")


def _check_header(name: Any, value: Any) -> None:
    check_type("The name of a header", name, str, "a string")
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f"No header can have the name {name!r}.")
    check_text(f"headers[{name!r}]", value)
    if re.search(r"[\r\n\0]", value):
        raise ValueError(f"headers[{name!r}] must be one line, not {value!r}.")


def _response(reply: Reply) -> httpcore.Response:
    content, content_type = reply.content()
    headers = {"content-type": content_type} if content_type else {}
    headers |= {name.lower(): value for name, value in reply.headers.items()}
    raw = [(name.encode("ascii"), value.encode()) for name, value in headers.items()]
    return httpcore.Response(reply.status, headers=raw, content=content)


def _without_query(url: httpx.URL) -> httpx.URL:
    return url.copy_with(query=None, fragment=None)


def _sorted_query(url: httpx.URL) -> list[tuple[str, str]]:
    return sorted(url.params.multi_items())
