"""What Python scripts may import of Async Engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import IO, Any, SupportsFloat, TypeAlias, TypeVar, overload

__all__ = [
    "Context",
    "Headers",
    "Http",
    "HttpError",
    "Message",
    "Reject",
    "Response",
    "Retry",
    "Secrets",
    "SignatureError",
    "State",
    "Table",
    "Wait",
]

_T = TypeVar("_T")

# With `correlationId`, `payload` and what earlier steps have put beside them.
Message: TypeAlias = dict[str, Any]

_After: TypeAlias = SupportsFloat | str | timedelta | datetime | None

class Retry(Exception):
    """Raised by a script to have its message delivered again."""

    after: float | None
    """Seconds; None: the back-off of the queue."""
    reason: str
    """Kept with the attempt."""
    def __init__(self, when: _After = None, /, reason: str = "", *, after: _After = None) -> None:
        """Take the time to wait, in seconds if it is a number or a text with one, or its end.

        The end is a time with its zone, also as an ISO text. The time stands first, or is named.
        """

class Wait(Exception):
    """Raised by a script whose message has to wait for something: that is no failure.

    It is delivered again, and no delivery is used up.
    """

    after: float | None
    """Seconds; None: the back-off of the queue."""
    reason: str
    """Shown while the message waits."""
    state: Any
    """What the next attempt finds as `Context.wait_state`."""
    def __init__(self, after: _After = None, reason: str = "", state: Any = None) -> None:
        """Take the time as `Retry` does, and any JSON value that the next attempt is to find."""

class Reject(Exception):
    """Raised by a script to send its message to the dead letters."""

    reason: str
    """Kept with the dead letter."""
    code: str | int | None
    """A short word that dead letters are found by."""
    details: Any
    """Any JSON value, kept with the dead letter."""
    def __init__(
        self, reason: str = "", code: str | int | None = None, details: Any = None
    ) -> None:
        """Take the reason, a short code that dead letters are found by, and any JSON value."""

_Data: TypeAlias = str | bytes | bytearray | memoryview

class Table(Mapping[str, Any]):
    """A reference table by key; a row of a CSV file is a dict of texts. See `Context.table`."""

    name: str
    """As the script lists it."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns of a CSV file; None for JSON."""

    def __getitem__(self, key: str | int) -> Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

class Context:
    """What a script knows about its call, besides the message."""

    correlation_id: str
    """The id of the run, in every log line and answer about it."""
    flow: str
    """The name of the flow."""
    step: str
    """The name of the step."""
    queue: str
    """The name of the queue that the message came from."""
    attempt: int
    """From 1 on; one more at each redelivery."""
    delivery_id: str
    """The same over redeliveries of a step: it makes effects outside idempotent."""

    def log(self, *values: object, level: str | None = None) -> None:
        """Keep a line with the attempt: debug, info, warning, error or critical.

        The last value may be the level.
        """

    def finish(self, output: object = None) -> Any:
        """End the run, or its branch, with this output as result, and return it.

        The last call counts.
        """

    def start(
        self,
        flow: str,
        payload: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        priority: int | None = None,
        start_at: datetime | str | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: datetime | timedelta | str | float | None = None,
    ) -> str:
        """Start a run of another flow with the output of this message; return its correlation id.

        The run is cancelled if it has not ended by the deadline, a time or seconds from now.
        Raises a ValueError for a flow that the own one may not start, or a wrong payload.
        """

    @overload
    def go(self, step: str) -> None:
        """Send what run() returns on at a later step, past those between.

        Raises a ValueError for a step that is not listed at its own. The last call counts.
        """

    @overload
    def go(self, step: str, output: _T) -> _T:
        """Send the output on at a later step, past those between, and return it."""

    def progress(
        self, done: SupportsFloat, total: SupportsFloat | None = None, text: object = ""
    ) -> None:
        """Tell how far the script is; seen while it runs, once a second. The last value counts."""

    @property
    def waits(self) -> int:
        """How often the script has waited with this message at this step."""

    @property
    def waited_seconds(self) -> float:
        """The time since it waited first; 0 if it has not."""

    @property
    def wait_state(self) -> Any:
        """The state that its last `Wait` has left, None for none; a copy each time."""

    @property
    def http(self) -> Http:
        """Requests to the outside, as far as the script may make them."""

    @property
    def config(self) -> Mapping[str, str]:
        """The values of the installation, by name. They are no secrets."""

    def table(self, name: str) -> Table:
        """Return a reference table that the script lists. Raises KeyError for another."""

    def cached(self, key: str, seconds: float | timedelta, make: Callable[[], _T]) -> _T:
        """Return the value that the hosts of this script share, made where there is none.

        It is any JSON value of up to 64 kB, kept in the worker's memory for so long. Two messages
        may make it at the same time. Raises ValueError for what cannot be kept.
        """

    @property
    def state(self) -> State:
        """What the messages of this flow leave for each other, stored with the step."""

    @property
    def secrets(self) -> Secrets:
        """The secrets that the script was given, by name."""

    def sign(self, algorithm: str, secret: str, data: _Data, *, der: bool = False) -> bytes:
        """Sign data with the private key in a secret, by RS256, PS256, ES256, EdDSA and the like.

        Those of curves are r and s, one after the other, or in DER. Raises SignatureError.
        """

    def verify(
        self,
        algorithm: str,
        secret: str | None,
        data: _Data,
        signature: _Data,
        *,
        public_key: str | Mapping[str, Any] | None = None,
    ) -> bool:
        """Return whether a signature fits, by the key in a secret or by a public key.

        A signature that is a text is in base64. Raises SignatureError for a wrong key.
        """

    def jwt(
        self,
        claims: Mapping[str, Any],
        secret: str,
        algorithm: str = "RS256",
        *,
        headers: Mapping[str, Any] | None = None,
        expires: float | timedelta = ...,
    ) -> str:
        """Return a signed token. With `expires`, in seconds from now, it gets iat and exp.

        Raises SignatureError.
        """

    def verify_jwt(
        self,
        token: str,
        secret: str | None = None,
        *,
        public_key: str | Mapping[str, Any] | None = None,
        algorithms: Sequence[str] = ...,
        audience: str | Sequence[str] = ...,
        issuer: str | Sequence[str] = ...,
        leeway: float = 0,
    ) -> dict[str, Any]:
        """Return the claims of a token that is valid now. `leeway` is in seconds.

        Without `algorithms` those count that the key is for. Raises SignatureError, and TypeError
        for a check that is None.
        """

class SignatureError(Exception):
    """A signature that was not made or a token that is not valid; `kind` says why in a word."""

    kind: str
    """A word for programs."""

class State:
    """Values by key, any JSON of up to 64 kB; a script sees its own changes.

    They are stored where the message goes on, waits or is to be retried, and not where the script
    fails. Raises ValueError for what cannot be kept.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, a copy, or the default where there is none or it has expired."""

    def set(self, key: str, value: Any, expires: float | timedelta | None = None) -> None:
        """Keep the value, for `expires` seconds or until it is deleted."""

    def increment(
        self, key: str, by: float | Decimal = 1, expires: float | timedelta | None = None
    ) -> None:
        """Add to a number, from 0 on where there is none.

        What others add at the same time is added, too. `expires` counts where the key is new.
        """

    def delete(self, key: str) -> None:
        """Delete the value, if there is one."""

class Secrets(Mapping[str, str]):
    def __getitem__(self, name: str) -> str: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

_Fields: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]

_Content: TypeAlias = str | bytes | bytearray | memoryview | IO[bytes] | IO[str]
_File: TypeAlias = _Content | tuple[str, _Content] | tuple[str, _Content, str] | None
_Files: TypeAlias = Mapping[str, _File] | Sequence[tuple[str, _File]]

class Http:
    """Makes requests. `timeout` is in seconds, for the whole of one.

    `auth` is a token, or a user and a password. `ca` and `cert` are names of secrets. Each raises
    HttpError where nothing is answered.
    """

    Error: type[HttpError]
    def request(
        self,
        method: str,
        url: str,
        *,
        params: _Fields | None = None,
        json: Any = None,
        data: str | bytes | bytearray | _Fields | None = None,
        form: _Fields | None = None,
        files: _Files | None = None,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    def get(
        self,
        url: str,
        params: _Fields | None = None,
        *,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    def head(
        self,
        url: str,
        params: _Fields | None = None,
        *,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    def delete(
        self,
        url: str,
        params: _Fields | None = None,
        *,
        json: Any = None,
        data: str | bytes | bytearray | _Fields | None = None,
        form: _Fields | None = None,
        files: _Files | None = None,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    def post(
        self,
        url: str,
        json: Any = None,
        data: str | bytes | bytearray | _Fields | None = None,
        *,
        params: _Fields | None = None,
        form: _Fields | None = None,
        files: _Files | None = None,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    def put(
        self,
        url: str,
        json: Any = None,
        data: str | bytes | bytearray | _Fields | None = None,
        *,
        params: _Fields | None = None,
        form: _Fields | None = None,
        files: _Files | None = None,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    def patch(
        self,
        url: str,
        json: Any = None,
        data: str | bytes | bytearray | _Fields | None = None,
        *,
        params: _Fields | None = None,
        form: _Fields | None = None,
        files: _Files | None = None,
        headers: Mapping[str, Any] | None = None,
        auth: str | tuple[str, str] | None = None,
        timeout: float | timedelta | None = 10,
        ca: str | None = None,
        cert: str | None = None,
    ) -> Response: ...
    @overload
    def all(self, requests: Iterable[str | Mapping[str, Any]]) -> list[Response]: ...
    @overload
    def all(
        self, requests: Iterable[str | Mapping[str, Any]], *, return_errors: bool
    ) -> list[Response | HttpError]:
        """Make several requests at once: each is a URL, or url, method and options."""

class Headers(Mapping[str, str]):
    """The headers of a response, whatever the case of their names."""

    def __getitem__(self, name: str) -> str: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def get_list(self, name: str) -> list[str]:
        """Return the values of a header that may come more than once, such as Set-Cookie."""

class Response:
    """What a server answered, after redirects. `url` is where these led to."""

    status: int
    """Such as 200."""
    headers: Headers
    """By name, in any case."""
    url: str
    """Where redirects have led to."""
    retry_after: float | None
    """In seconds, where the server says so."""

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""

    @property
    def text(self) -> str:
        """Raises HttpError of the kind "encoding" where the body is no text."""

    @property
    def content(self) -> bytes:
        """The body as it came."""

    def json(self) -> Any:
        """Read the body as JSON. Raises ValueError if it is none."""

    def raise_for_status(self) -> Response:
        """Raise an HttpError for a status from 400 on, else return the response.

        A 429 or 503 with a Retry-After is a Retry, too.
        """

class HttpError(Exception):
    """A request that came to nothing, or a status that is an error; `kind` says which in a word."""

    kind: str
    """A word, such as `timeout`, `connection` or `status`."""
    response: Response | None
    """What was answered, if something was."""

    @property
    def status(self) -> int | None:
        """The status of the response, None without one."""
