"""The services of a pool's scripts, and the mask for the secrets that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from scripts.pool.answers import Clean
from scripts.pool.mask import mask_of
from scripts.protocol.calls import CallSite, Program
from scripts.protocol.envelope import plain_text
from scripts.protocol.flow_state import StateChanges
from scripts.protocol.services import SECRET_SERVICE, STATE_SERVICE, TABLE_SERVICE, Service

if TYPE_CHECKING:
    from scripts.pool.host_client import HostClient

# Makes the services by name. They may read the database; most pools never need them.
MakeServices = Callable[[], Mapping[str, Service]]


class OpenFile(Protocol):
    """Something with a descriptor of a file."""

    def fileno(self) -> int: ...


class GivenTable(Protocol):
    """A table that a host is started with; two are equal where their content is."""

    @property
    def name(self) -> str: ...

    @property
    def problem(self) -> str:
        """Why there is none; "" where it has a file."""

    @property
    def is_passing(self) -> bool:
        """Whether the problem may be gone later."""

    @property
    def file(self) -> OpenFile | None: ...


class PoolServices:
    """The services of a pool, made when the first script needs one."""

    def __init__(self, make: MakeServices) -> None:
        self._make = make
        self._by_name: Mapping[str, Service] | None = None

    def by_name(self) -> Mapping[str, Service]:
        """Return the services, made at the first use."""
        if self._by_name is None:
            self._by_name = self._make()
        return self._by_name

    def clean(self, host: HostClient, call: int) -> Clean:
        """Return a function that masks secrets in the texts of a host's call.

        It masks every secret that the script may read, whether the call has read it or not. So the
        text does not depend on what its host has done before.
        """
        if not host.program.secrets:
            return plain_text

        def clean(text: str, length: int) -> str:
            values = (*self._readable_secrets(host.program), *host.secrets_of(call))
            return mask_of(tuple(dict.fromkeys(values))).clean(text, length)

        return clean

    def note_state(self, site: CallSite, state: StateChanges) -> None:
        """Let later calls read what a call leaves that has ended."""
        if (service := self.by_name().get(STATE_SERVICE)) and hasattr(service, "note"):
            service.note(site, state)

    def tables(self, program: Program) -> tuple[GivenTable, ...] | None:
        """Return the tables that a host of the program is to have; None: ask again in a moment."""
        if not program.tables:
            return ()
        given = getattr(self.by_name().get(TABLE_SERVICE), "given", None)
        found: tuple[GivenTable, ...] | None = () if given is None else given(program)
        return found

    def close(self) -> None:
        """Close those services that can be closed. The next use makes new ones."""
        services, self._by_name = self._by_name or {}, None
        for service in services.values():
            if hasattr(service, "close"):
                service.close()

    def _readable_secrets(self, program: Program) -> tuple[str, ...]:
        values = getattr(self.by_name().get(SECRET_SERVICE), "values", None)
        return () if values is None else values(program)
