"""What goes in and out of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.disposition import Decision, Disposition
from flows.encryption.payload_keys import MARK, decrypt
from flows.errors import PayloadUnreadable
from flows.models.message import DEFAULT_PRIORITY
from flows.plan import StepPlan, plan_of_way, step_plan
from flows.store.rate_limit import RateLimit
from flows.store.waiting import waits_at
from scripts.protocol.calls import Waits
from scripts.protocol.flow_state import StateChanges

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from flows.traces.spans import Attempt

# A batch is what the cores do in about this time: long enough that its transaction costs little,
# short enough that its results are soon visible.
BATCH_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StartRate:
    """At most `count` starts in any window of `seconds`; the key is that of its row."""

    name: str
    key: str
    count: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A row as it was read, with what compares it with the row of now."""

    statement: str
    params: Sequence[Any]
    row: Any


# One for each start: a frozen one would take thrice as long to make.
@dataclass(slots=True)
class NewRun:
    """A run to be stored with its first message. Nothing changes it."""

    correlation_id: UUID
    flow_name: str
    flow_version_id: int
    step_id: int
    queue_id: int
    body: str
    # A key of whatever type those of AUTH_USER_MODEL have.
    user_id: Any = None
    branch: str = ""
    priority: int = DEFAULT_PRIORITY
    start_at: datetime | None = None
    # Of a run that a script starts: the run of the script, how many are above it, and its key.
    parent: UUID | None = None
    depth: int = 0
    key: str = ""
    key_caller: str = ""
    key_digest: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    deadline: datetime | None = None
    callback_url: str = ""
    # Those that its start counts in.
    rates: tuple[StartRate, ...] = ()
    # The span that it is started in, where traces are on.
    called_by: SpanContext | None = None


@dataclass(slots=True)
class HeldMessage:
    """A message that a consumer holds. The ids are UUIDs as the database writes them."""

    id: str
    run_id: str
    step_id: int
    body: str
    deliveries: int
    branch: str = ""
    pending_outputs: bool = False
    # See `flows/store/waiting.py`; None: no script has waited with it.
    waiting: str | None = None
    # The start that the queue's rate limit has reserved, in epoch seconds of the database's clock.
    reserved_at: float = field(default=0.0, compare=False)
    # The hash of the log with which it was noted as running for long; None: it is not noted.
    noted: int | None = field(default=None, compare=False)
    # Where it stands in the trace of its run; None: traces are off.
    trace: Attempt | None = field(default=None, compare=False)
    # Why what it needs cannot be decrypted, its body for one, which is as the database has it then;
    # "": all can.
    unreadable: str = field(default="", compare=False)

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> HeldMessage:
        """Return a message as the database has it, decrypted."""
        held = cls(*row)
        # Each of the two may have been written before payloads were encrypted.
        if held.waiting is not None or held.body.startswith(MARK):
            held._decrypt()
        return held

    def _decrypt(self) -> None:
        try:
            body = decrypt(self.body)
            self.waiting = self.waiting and decrypt(self.waiting)
            self.body = body
        except PayloadUnreadable as error:
            self.unreadable, self.waiting = str(error), None

    @property
    def waits(self) -> Waits | None:
        """How the script of its step has waited with it."""
        return None if self.waiting is None else waits_at(self.waiting, self.step_id)

    @property
    def correlation_id(self) -> str:
        h = self.run_id
        return h if len(h) == 36 else f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


@dataclass(slots=True)
class DeliveryResult:
    """A delivery that has ended, and what becomes of its message. Times are epoch seconds."""

    held: HeldMessage
    decision: Decision
    started_at: float
    finished_at: float
    output: str = ""
    # Where the output is a list that fans out: its messages, and the number of the first one.
    branches: list[str] | None = None
    first_branch: int = 0
    # Its run, or its branch, ends with the output, whatever steps follow.
    finishes: bool = False
    # The step that the output goes to in place of the next one; 0: it does not.
    goes_to: int = 0
    # Runs that its script has started, to be stored with the output.
    starts: tuple[NewRun, ...] = ()
    logs: str = ""
    warning: bool = False
    # What its script has changed in the state of the flow, stored where it goes on or waits.
    state: StateChanges | None = None
    # It ran within the transaction that is to store it.
    ran_in_commit: bool = False
    # So it did, and does not go on: what it has written there must not stay.
    takes_back: bool = False
    # Its attempt was seen by others, and stored when its worker was found dead.
    has_attempt: bool = False
    # False: its run was cancelled before its script began, which counts for no rate limit.
    has_begun: bool = True
    # Its script ran and is to run again: nothing of it is stored, but it counts for a rate limit.
    runs_again: bool = False
    # Called in the transaction that is to store it, at each try: returns what there is to store.
    run_in_transaction: Callable[[], DeliveryResult] | None = None
    # Its row in the history of the run. `replace` leaves it out: it goes with the decision.
    attempt: dict[str, object] | None = field(default=None, init=False, compare=False)

    @property
    def disposition(self) -> Disposition:
        return self.decision.disposition

    @property
    def plan(self) -> StepPlan:
        """The plan of its step, with the step that its output goes to as the next one."""
        step_id = self.held.step_id
        return plan_of_way(step_id, self.goes_to) if self.goes_to else step_plan(step_id)

    @property
    def ran(self) -> bool:
        """Whether a script ran that the history of the run does not show yet."""
        return (
            not self.held.pending_outputs
            and not self.has_attempt
            and self.decision.disposition is not Disposition.RELEASED
        )

    @property
    def is_branched(self) -> bool:
        """Whether it is one of several messages of its run, or becomes several."""
        return bool(self.held.branch) or self.branches is not None


def without_output(done: DeliveryResult) -> DeliveryResult:
    """Return a delivery without what its script gave, started and changed."""
    return replace(done, output="", branches=None, starts=(), state=None)


def without_writes(done: DeliveryResult) -> DeliveryResult:
    """Return the delivery of a callable that ran within the transaction and does not go on."""
    return replace(without_output(done), takes_back=True)


class WritesTakenBack(Exception):
    """Of some callables nothing that they have written in this transaction stays, so it is rolled
    back.

    `instead`: what is stored of their messages in the next try, without calling them.
    """

    def __init__(self, instead: Sequence[DeliveryResult]) -> None:
        super().__init__("What callables have written in this transaction does not stay.")
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Reach:
    """The queues whose messages a cluster takes, by its name; None stands for any name.

    It takes those of queues that are bound to its name and, unless it keeps to these, of queues
    that are bound to none.
    """

    name: str | None = None
    bound_only: bool = False

    def takes(self, cluster: str) -> bool:
        if not cluster:
            return not self.bound_only
        return self.name is None or cluster == self.name


EVERY_QUEUE = Reach()


@dataclass(frozen=True, slots=True)
class Owner:
    """The worker process that a consumer belongs to."""

    cluster: str
    machine: str
    pid: int


@dataclass(slots=True)
class Lease:
    """A consumer's right to work: where it is now, where it began, and its threads."""

    # 0: it has no consumer yet.
    consumer_id: int
    queue_id: int
    home_queue_id: int
    threads: int
    # How long it takes from a claim to the start of a script, at the most; for rate limits.
    start_margin_seconds: float = 0.05
    has_rate: bool = False
    renewed_at: float = 0.0
    # By how much the database's clock is ahead of this machine's, at the most.
    clock_skew_seconds: float = 0.0
    # Seconds until its queue's rate limit allows the next start; 0 where that is not what it lacks.
    next_start_seconds: float = 0.0
    cancel_requested: bool = False
    # It takes nothing new: another cluster is to have its threads.
    leaves: bool = False
    # Until then it takes one message at a time: their scripts change the same state of their flow.
    one_at_a_time_until: datetime | None = None
    # What it holds is suspected: it takes nothing beside it.
    suspects: bool = False
    # Nothing but what it holds was in its queues when it asked last.
    is_alone: bool = False
    closed: bool = False
    # What the last commit has stored, as it was decided there.
    stored: Sequence[DeliveryResult] = ()
    reach: Reach = EVERY_QUEUE


@dataclass(frozen=True, slots=True)
class Ready:
    """A queue as the broker sees it; `head_step_id` is None where no message is ready."""

    queue_id: int
    depth: int
    room: int
    paused: bool
    threads: int
    granted_threads: int
    consumers: int
    head_step_id: int | None
    asked_at: datetime
    rate_limit: RateLimit | None = None
    slow_until: datetime | None = None
    cluster: str = ""


@dataclass(slots=True)
class QueueCounters:
    """A queue's locked counters, and what this transaction adds to them."""

    depth: int
    reserved: int
    size: int
    paused: bool
    threads: int
    rate_limit: RateLimit | None = None
    slow_until: datetime | None = None
    cluster: str = ""
    depth_change: int = 0
    reserved_change: int = 0
    delayed_change: int = 0

    @property
    def room(self) -> int:
        """How many more messages the queue may get in this transaction."""
        used = self.depth + self.depth_change + self.reserved + self.reserved_change
        return max(self.size - used, 0)


@dataclass(slots=True)
class HandedOver:
    """Messages with their new bodies, on their way to a step and its queue."""

    step_id: int
    queue_id: int
    held: list[HeldMessage] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def cut(self, count: int) -> HandedOver:
        """Take off the first ones and return them."""
        cut = HandedOver(self.step_id, self.queue_id, self.held[:count], self.bodies[:count])
        self.held, self.bodies = self.held[count:], self.bodies[count:]
        return cut


@dataclass(frozen=True, slots=True)
class Head:
    """The message of a queue that is claimed next, with the SQL condition for those like it."""

    plan: StepPlan
    which: str
    # How many suspects are taken together, with no other message beside them; 0: it is no suspect.
    suspects: int = 0
    # It is a delayed start, which needs room in its queue.
    delayed: bool = False
