"""Serves `context.http` and `context.secrets` of a callable, in the thread of the callable."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from scripts.pool.mask import mask_of
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.envelope import plain_text
from scripts.protocol.flow_state import StateChanges
from scripts.protocol.services import (
    CACHE_SERVICE,
    CONFIG_SERVICE,
    SECRET_SERVICE,
    SIGN_SERVICE,
    START_SERVICE,
    STATE_SERVICE,
    UNREADABLE,
    CallService,
    RequestFailed,
    Service,
)

if TYPE_CHECKING:
    from scripts.services.outside_calls import OutsideCalls
    from scripts.services.shared_values import SharedValues
    from scripts.services.signatures import Signatures


class CallableServices:
    """Replies to the requests of a callable, in its own thread and on its own connection."""

    def __init__(
        self,
        program: Program,
        seconds: float,
        site: CallSite,
        call: Call,
        state: Service | None = None,
        starter: CallService | None = None,
    ) -> None:
        """`state`: where the state of its flow is read, None for what is stored. `starter`: the
        service that starts runs, None for that of this process.
        """
        self.secret_names = program.secrets
        self._given: list[str] = []
        self._program, self._site, self._call = program, site, call
        # The starts of an earlier try are forgotten, even if this one starts none.
        self._starts: dict[int, Any] = {}
        call.starts = self._starts
        self._deadline = time.monotonic() + seconds
        self._flow_id = site.flow_id
        self._state = state
        self._starter = starter
        self._sent = 0
        self._replies: dict[int, dict[str, Any]] = {}

    def clean(self, text: str, length: int) -> str:
        """Mask every secret that the callable may read in a text of it."""
        if not self._program.secrets:
            return plain_text(text, length)
        from scripts.models.secret_values import known_values

        values = dict.fromkeys([*known_values(self._program.secrets), *self._given])
        return mask_of(tuple(values)).clean(text, length)

    def send_request(self, call: int, service: str, request: dict[str, Any]) -> int:
        self._sent += 1
        try:
            self._replies[self._sent] = self._serve(service, request)
        except RequestFailed as failed:
            self._replies[self._sent] = {"error": str(failed), "kind": failed.kind}
            if failed.kind == UNREADABLE:
                self._call.unreadable = str(failed)
        return self._sent

    def read_reply(self, call: int, number: int | None = None) -> tuple[int, dict[str, Any]]:
        if not self._replies or (number is not None and number not in self._replies):
            raise RuntimeError("There is no reply to wait for.")
        number = next(iter(self._replies)) if number is None else number
        return number, self._replies.pop(number)

    def note_state(self, site: CallSite, state: StateChanges) -> None:
        """Let later calls read what the callable leaves."""
        if note := getattr(self._state, "note", None):
            note(site, state)
        elif self._state is None:
            from scripts.services.flow_states import pending_states

            pending_states.note(site.flow_id, state)

    def _serve(self, service: str, request: dict[str, Any]) -> dict[str, Any]:
        if service == SECRET_SERVICE:
            return {"value": self._secret(request["name"])}
        if service == CONFIG_SERVICE:
            return _config(self._program, request, self._deadline)
        if service == CACHE_SERVICE:
            return shared_values()(self._program, request, self._deadline)
        if service == STATE_SERVICE:
            read_state = self._state or _flow_states
            return read_state(self._program, {**request, "flow": self._flow_id}, self._deadline)
        if service == SIGN_SERVICE:
            return _signatures()(self._program, request, self._deadline)
        if service == START_SERVICE:
            starter = self._starter or start_service()
            return starter.serve_call(self._site, self._call, self._starts, request, self._deadline)
        if service != "http":
            raise RequestFailed(f"There is no service {service!r}.", "unknown")
        if self._program.in_transaction:
            raise RequestFailed(
                "An outside call is not possible within a transaction: it would hold locks.",
                "in-transaction",
            )
        return _outside_calls()(self._program, request, self._deadline)

    def _secret(self, name: str) -> str:
        value = _secret(self._program, name, for_script=True)
        self._given.append(value)
        return value


class NoStarts:
    """The service `start` where nothing can be started."""

    def serve_call(
        self,
        site: CallSite,
        call: Call,
        starts: dict[int, Any],
        request: dict[str, Any],
        deadline: float,
    ) -> dict[str, Any]:
        raise RequestFailed("There is no service 'start'.", "unknown")


_start_service: list[CallService] = [NoStarts()]


def start_service() -> CallService:
    """Return the service with which callables start runs."""
    return _start_service[0]


def use_start_service(service: CallService) -> None:
    """Have callables of this process start runs by a service, which knows the flows."""
    _start_service[0] = service


def _secret(program: Program, name: str, *, for_script: bool = False) -> str:
    # Imported late: reads the database, which a callable without secrets does not need.
    from scripts.models.encryption import NotDecryptable
    from scripts.models.secret_values import (
        SecretNotReadable,
        SecretUnavailable,
        readable_value,
        secret_value,
    )

    if name not in program.secrets:
        raise RequestFailed(f"The callable was not given a secret {name!r}.", "not-granted")
    try:
        return readable_value(name) if for_script else secret_value(name)
    except SecretNotReadable as error:
        raise RequestFailed(str(error), "not-readable") from error
    except SecretUnavailable as error:
        is_there = isinstance(error.__cause__, NotDecryptable)
        raise RequestFailed(str(error), "unavailable" if is_there else "unknown") from error


def _config(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    # Imported late: reads the database, which a callable without values does not need.
    # Not by the service of scripts: that closes the connection, which the callable may use.
    from scripts.models.configuration_values import age_for, configuration_values

    return {"values": configuration_values(age_for(request))}


def _flow_states(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    # Imported late: reads the database, which a callable without a state does not need.
    from scripts.services.flow_states import state_of

    return state_of(request["flow"], request["key"])


@cache
def shared_values() -> SharedValues:
    """Return the cached values of the callables of this process."""
    from scripts.services.shared_values import SharedValues

    return SharedValues()


@cache
def _signatures() -> Signatures:
    from scripts.services.signatures import Signatures

    return Signatures(lambda program, request, _: {"value": _secret(program, request["name"])})


@cache
def _outside_calls() -> OutsideCalls:
    from scripts.services.outside_calls import OutsideCalls

    return OutsideCalls(
        config=_config,
        secrets=lambda program, request, _: {"value": _secret(program, request["name"])},
    )
