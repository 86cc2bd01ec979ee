"""What a worker gives to a script host, and what comes of it.

`Program` and `CallSite` are the same for all messages of a step. A `Call` is one message for its
script, an `Outcome` the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scripts.protocol.errors import ScriptError
from scripts.protocol.flow_state import StateChanges


@dataclass(frozen=True, slots=True)
class LibraryCode:
    """Code that a script uses: in Python a module, in JavaScript evaluated before the script."""

    name: str
    code: str


@dataclass(frozen=True, slots=True)
class Program:
    """One script version: what a host runs.

    `memory_mb` is the memory that it may take beyond Python's own. The schemas are JSON text, ""
    accepts any value. With `network` and no `allowed_hosts` it may call any public host. `secrets`
    are the names of the secrets that it may read, `tables` those of reference tables.
    `in_transaction`: the callable runs in the transaction that stores its output.
    """

    version_id: int
    name: str
    language: str
    code: str
    timeout_seconds: float
    memory_mb: int
    libraries: tuple[LibraryCode, ...] = ()
    input_schema: str = ""
    output_schema: str = ""
    network: bool = False
    allowed_hosts: tuple[str, ...] = ()
    private_addresses: bool = False
    secrets: tuple[str, ...] = ()
    in_transaction: bool = False
    tables: tuple[str, ...] = ()

    @property
    def is_callable(self) -> bool:
        """Whether the program is a function of the project's own code, see `callables`."""
        return self.language == "callable"

    def __hash__(self) -> int:
        # It is a key for every group of calls, and its code may be long.
        return hash(self.version_id)


@dataclass(frozen=True, slots=True)
class CallSite:
    """What the calls of a step have in common. `flow_id`: whose state they have, 0 for none."""

    flow: str
    step: str
    queue: str
    is_last: bool
    # The steps that a script may go to: the next one, and those that its step names; None: any.
    goes_to: tuple[str, ...] | None = ()
    flow_id: int = 0
    # The flows that a script may start; None: any.
    starts: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Waits:
    """How often a script has waited with a message, since when in epoch seconds, and its state.

    The state is JSON text, "" for none.
    """

    times: int
    since: float
    state: str = ""


@dataclass(slots=True)
class Call:
    """One message handed to a script.

    `key` is the caller's name for it, `body` the envelope as JSON text in UTF-8. With
    `start_by`, in epoch seconds, the script begins by that time or not at all. So a rate limit
    counts the times at which scripts really begin. `waits` says how often the script has waited
    with this message, since when, and the state that it left.
    """

    key: Any
    correlation_id: str
    attempt: int
    delivery_id: str
    body: bytes
    start_by: float = 0.0
    waits: Waits | None = None
    # What its script has started in this turn, by the ordinals.
    starts: dict[int, Any] = field(default_factory=dict, compare=False)
    turn: object = field(default=None, compare=False)
    # Why something that it has asked for cannot be decrypted here; "": all can.
    unreadable: str = field(default="", compare=False)
    # The span of this attempt, where traces are on: a SpanContext of OpenTelemetry.
    trace: Any = field(default=None, compare=False)

    def starts_in(self, turn: object) -> dict[int, Any]:
        """Return what the script has started in this turn; starts of earlier turns are forgotten.

        For the thread of the pool alone, which knows what turn is the latest.
        """
        if self.turn != turn:
            self.turn, self.starts = turn, {}
        return self.starts


@dataclass(slots=True)
class Outcome:
    """The result of a call: an output, which is JSON text in UTF-8, or an error.

    The times are epoch seconds, measured in the host. `finishes`: the run, or its branch, ends with
    this output, whatever steps follow. `goes_to`: the step that it goes to, "" for the next one.
    `state`: what changes in the state of the flow with it. `progress`: how far the script has said
    last that it is, where the pool keeps that.
    """

    call: Call
    output: bytes | None
    error: ScriptError | None
    warning: str | None
    logs: list[dict[str, Any]]
    started_at: float
    finished_at: float
    finishes: bool = False
    goes_to: str = ""
    state: StateChanges | None = None
    progress: dict[str, Any] | None = None
