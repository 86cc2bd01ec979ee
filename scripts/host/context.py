"""The second argument of every script: `run(message, context)`."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import Any, Protocol, SupportsFloat

from scripts.host.config_values import ConfigValues
from scripts.host.flow_state import State
from scripts.host.http import Http
from scripts.host.log import CallLog, level_named, required_level
from scripts.host.secret_values import Secrets
from scripts.host.signatures import NOT_GIVEN, Data, Signatures
from scripts.host.tables import NO_TABLES, Table, Tables
from scripts.protocol.envelope import decode, encode
from scripts.protocol.errors import INVALID, NEVER_ALLOWED, OutputInvalid, WrongArgument
from scripts.protocol.flow_state import Change
from scripts.protocol.numerals import Numerals
from scripts.protocol.progress import Progress, checked
from scripts.protocol.services import MAX_CACHED_LENGTH
from scripts.protocol.starts import StartRefused
from scripts.protocol.ways import required_step
from scripts.protocol.wire import MAX_REQUEST_BYTES

NOTHING_GIVEN = "The output is None: return it, or give it to context.go({!r}, output)."


class Services(Protocol):
    """Sends requests of the script to its worker and waits for replies."""

    secret_names: tuple[str, ...]

    def send_request(self, call: int, service: str, request: dict[str, Any]) -> int: ...

    def read_reply(self, call: int, number: int | None = None) -> tuple[int, dict[str, Any]]: ...


class Context:
    """What a script knows about its call, besides the message."""

    __slots__ = (
        "_config",
        "_finish",
        "_given",
        "_goes_to",
        "_log",
        "_number",
        "_numerals",
        "_outside_failed",
        "_progress",
        "_read_from",
        "_secrets",
        "_services",
        "_started",
        "_state",
        "_steps",
        "_tables",
        "_waits",
        "attempt",
        "correlation_id",
        "delivery_id",
        "flow",
        "queue",
        "step",
    )

    def __init__(
        self,
        correlation_id: str,
        flow: str,
        step: str,
        queue: str,
        attempt: int,
        delivery_id: str,
        log: CallLog,
        services: Services,
        number: int,
        progress: Callable[[int, Progress], None],
        waits: dict[str, Any] | None = None,
        steps: Sequence[str] | None = (),
        tables: Tables = NO_TABLES,
    ) -> None:
        self.correlation_id = correlation_id
        self.flow = flow
        self.step = step
        self.queue = queue
        self.attempt = attempt
        self.delivery_id = delivery_id
        self._log = log
        self._services = services
        self._number = number
        self._progress = progress
        # Whether the run ends with this call, and the output where `finish` was given it.
        self._finish: tuple[Any, ...] = ()
        # The step that its message goes to, "" for the next one; the output where `go` got it.
        self._goes_to = ""
        self._given: tuple[Any, ...] = ()
        # Those that it may go to.
        self._steps = steps
        # How many runs it has asked to start.
        self._started = 0
        self._waits = waits
        self._state: State | None = None
        self._tables = tables
        # Whether a request of it has failed, an outside call or what the worker does for it.
        self._outside_failed = False
        # How the numbers of its input were written.
        self._numerals: Numerals = {}
        # An output that was read from a text, and this text, which `encode` would write again.
        self._read_from: tuple[Any, bytes] | None = None

    def log(self, *values: Any, level: str | None = None) -> None:
        """Keep a line with these values, with blanks between them.

        The last value may be the level, where it is the name of one. Raises ValueError for a
        `level` that is none.
        """
        if level is None and len(values) > 1 and (found := level_named(values[-1])):
            values, level = values[:-1], found
        level = "info" if level is None else required_level(level)
        self._log.add(" ".join(map(str, values)), level)

    def progress(
        self, done: SupportsFloat, total: SupportsFloat | None = None, text: object = ""
    ) -> None:
        """Tell how much is done of a total, where it is known, and in words. The last value counts.

        It is seen while the script runs. Where more is done than the total, that is the total.
        Raises WrongArgument, a ValueError, for what are no numbers from 0 on.
        """
        self._progress(self._number, checked(done, total, text))

    def finish(self, output: Any = None) -> Any:
        """End the run, or its branch, with this output as its result, and return the output.

        The script goes on to its end. What it returns then counts no more; the last call does.
        """
        self._finish, self._goes_to = (output,), ""
        return output

    def go(self, step: str, *output: Any) -> Any:
        """Send the message on at a later step, and return the output, which is that of run() where
        none is given.

        The script goes on to its end; the last call of `go` and `finish` counts. Raises
        StepNotAllowed, a ValueError, for a step that it may not go to.
        """
        if len(output) > 1:
            raise WrongArgument("context.go() takes a step and an output")
        self._goes_to = required_step(step, self._steps)
        self._finish, self._given = (), output
        return output[0] if output else None

    def start(
        self,
        flow: str,
        payload: Any = None,
        *,
        key: str | None = None,
        priority: int | None = None,
        start_at: datetime | str | None = None,
        labels: dict[str, str] | None = None,
        deadline: datetime | timedelta | str | float | None = None,
    ) -> str:
        """Start a run of another flow, and return its correlation id, the same over redeliveries.

        It is stored with the output of this message, or not at all. A key starts one run of the
        flow a day. A deadline is a time, or a duration from now in seconds. Raises StartRefused, a
        ValueError.
        """
        request = {
            "flow": flow,
            "payload": self._text({} if payload is None else payload),
            "key": key,
            "priority": priority,
            "startAt": _written(start_at),
            "deadline": _written(deadline),
            "labels": None if labels is None else self._text(labels),
            "ordinal": self._started,
        }
        self._started += 1
        reply = self._reply("start", request)
        if "error" in reply:
            raise StartRefused(reply["error"], reply["kind"])
        started: str = reply["id"]
        return started

    def _text(self, value: Any) -> str:
        return encode(value, self._numerals, MAX_REQUEST_BYTES).decode()

    def _ending(self, output: Any, is_last: bool) -> tuple[Any, bool]:
        """Return what is the output of the call, and whether the run ends with it."""
        if self._finish:
            return self._finish[0], True
        if not self._goes_to:
            return output, is_last
        if not self._given and output is None:
            raise OutputInvalid(NOTHING_GIVEN.format(self._goes_to), place="$")
        return (self._given[0] if self._given else output), False

    def _encoded(self, output: Any) -> bytes:
        """Return the output as JSON text. Raises OutputInvalid."""
        read, self._read_from = self._read_from, None
        if read is not None and read[0] is output:
            return read[1]
        del read
        return encode(output, self._numerals)

    @property
    def waits(self) -> int:
        """How often the script has waited with this message at this step."""
        return self._waits["times"] if self._waits else 0

    @property
    def waited_seconds(self) -> float:
        """The time since it waited first; 0 if it has not."""
        return max(time.time() - self._waits["since"], 0.0) if self._waits else 0.0

    @property
    def wait_state(self) -> Any:
        """The state that its last `Wait` has left, None for none; a copy each time."""
        if not self._waits or not self._waits["state"]:
            return None
        return decode(self._waits["state"].encode(), self._numerals)

    @property
    def http(self) -> Http:
        """HTTP requests, as far as the script may make them."""
        return Http(
            lambda request: self.send_request("http", request),
            lambda number: self._read(number)[1],
            self._numerals,
        )

    @property
    def secrets(self) -> Secrets:
        """The secrets that the script was given, by name."""
        if not hasattr(self, "_secrets"):
            self._secrets = Secrets(
                self._services.secret_names, lambda request: self._reply("secret", request)
            )
        return self._secrets

    @property
    def config(self) -> ConfigValues:
        """The values of the installation, by name."""
        if not hasattr(self, "_config"):
            self._config = ConfigValues(lambda request: self._reply("config", request))
        return self._config

    @property
    def state(self) -> State:
        """What the messages of this flow leave for each other."""
        if self._state is None:
            self._state = State(lambda request: self._reply("state", request), self._numerals)
        return self._state

    def _state_changes(self) -> list[Change]:
        """Return what the script has changed in the state."""
        return self._state._all_changes() if self._state else []

    def table(self, name: str) -> Table:
        """Return a reference table that the script lists. All look-ups of a message are in one
        version of it. Raises KeyError for a table that is not there, and NotListed, a KeyError,
        for one that the script does not list.
        """
        return Table(name, self._tables.file(name), self._numerals)

    def cached(self, key: str, seconds: float | timedelta, make: Callable[[], Any]) -> Any:
        """Return the value that the hosts of this script share, made where there is none.

        It is any JSON value of up to 64 kB, kept in the worker's memory for so long, a day at most.
        Two messages may make it at the same time. Raises WrongArgument, a ValueError, for what
        cannot be kept.
        """
        kept = _kept_seconds(seconds)
        found = self._cache({"what": "get", "key": key})
        if "text" not in found:
            text = self._cacheable(make())
            self._cache({"what": "put", "key": key, "seconds": kept, "text": text})
            found = {"text": text}
        return decode(found["text"].encode(), self._numerals)

    def _cacheable(self, value: Any) -> str:
        try:
            return encode(value, self._numerals, MAX_CACHED_LENGTH).decode()
        except OutputInvalid as error:
            raise WrongArgument(f"The cached value: {error}") from None

    def _cache(self, request: dict[str, Any]) -> dict[str, Any]:
        reply = self._reply("cache", request)
        if "error" in reply:
            kind = WrongArgument if reply["kind"] == INVALID else ValueError
            raise kind(reply["error"])
        return reply

    def sign(self, algorithm: str, secret: str, data: Data, *, der: bool = False) -> bytes:
        """Sign data with the private key in a secret, by RS256, PS256, ES256, EdDSA and the like.

        Those of curves are r and s, one after the other, or in DER. Raises SignatureError.
        """
        return self._signatures().sign(algorithm, secret, data, der)

    def verify(
        self,
        algorithm: str,
        secret: str | None,
        data: Data,
        signature: Data,
        *,
        public_key: str | Mapping[str, Any] | None = None,
    ) -> bool:
        """Return whether a signature fits, by the key in a secret or by a public key.

        A signature that is a text is in base64. Raises SignatureError for a wrong key.
        """
        return self._signatures().verify(algorithm, secret, data, signature, public_key)

    def jwt(
        self,
        claims: Mapping[str, Any],
        secret: str,
        algorithm: str = "RS256",
        *,
        headers: Mapping[str, Any] | None = None,
        expires: float | timedelta = NOT_GIVEN,
    ) -> str:
        """Return a signed token. With `expires`, in seconds from now, it gets iat and exp.

        Raises SignatureError.
        """
        return self._signatures().jwt(claims, secret, algorithm, headers, expires)

    def verify_jwt(
        self,
        token: str,
        secret: str | None = None,
        *,
        public_key: str | Mapping[str, Any] | None = None,
        algorithms: Sequence[str] = NOT_GIVEN,
        audience: str | Sequence[str] = NOT_GIVEN,
        issuer: str | Sequence[str] = NOT_GIVEN,
        leeway: float = 0,
    ) -> dict[str, Any]:
        """Return the claims of a token that is valid now. `leeway` is in seconds.

        Without `algorithms` those count that the key is for. Raises SignatureError, and TypeError
        for a check that is None.
        """
        checks = {"algorithms": algorithms, "audience": audience, "issuer": issuer}
        return self._signatures().verify_jwt(token, secret, public_key, leeway, **checks)

    def _signatures(self) -> Signatures:
        return Signatures(lambda request: self._reply("sign", request), self._numerals)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of the secrets that the script may read, whether they have a value or not."""
        return self._services.secret_names

    def send_request(self, service: str, request: dict[str, Any]) -> int:
        """Send a request to a service of the worker, and return its number at once.

        A failure is in the reply. Raises RuntimeError when the call has ended.
        """
        return self._services.send_request(self._number, service, request)

    def read_reply(self) -> tuple[int, dict[str, Any]]:
        """Wait for the next reply to any request. That of a failed one has error and kind.

        Raises RuntimeError where every request has its reply.
        """
        return self._read()

    def _reply(self, service: str, request: dict[str, Any]) -> dict[str, Any]:
        number = self._services.send_request(self._number, service, request)
        return self._read(number)[1]

    def _read(self, number: int | None = None) -> tuple[int, dict[str, Any]]:
        number, reply = self._services.read_reply(self._number, number)
        if "error" in reply:
            self._outside_failed |= reply.get("kind") not in (*NEVER_ALLOWED, INVALID)
        elif reply.get("status", 0) >= 400:
            self._outside_failed = True
        return number, reply


def _kept_seconds(seconds: Any) -> float:
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < inf:
        told = f"cached() keeps a value for more than 0 seconds, not {repr(seconds)[:100]}"
        raise WrongArgument(told)
    return float(seconds)


def _written(moment: Any) -> Any:
    """Return a time or a duration as a request has it; what is none of both stays as it is."""
    if isinstance(moment, datetime):
        return moment.isoformat()
    return moment.total_seconds() if isinstance(moment, timedelta) else moment
