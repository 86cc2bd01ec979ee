from flows.models.configuration import (
    ConfigurationRevision,
    Flow,
    FlowVersion,
    Queue,
    Right,
    RoleMapping,
    Step,
    StepVersion,
)
from flows.models.logins import LoginCount
from flows.models.reprocessing import ReprocessedLetter, Reprocessing
from flows.models.runtime import (
    BranchEnd,
    Consumer,
    DeadLetter,
    IdempotencyKey,
    Message,
    QueueState,
    Run,
    StepRun,
    Tally,
)
from flows.models.task_cache import CachedValue

__all__ = [
    "BranchEnd",
    "CachedValue",
    "ConfigurationRevision",
    "Consumer",
    "DeadLetter",
    "Flow",
    "FlowVersion",
    "IdempotencyKey",
    "LoginCount",
    "Message",
    "Queue",
    "QueueState",
    "ReprocessedLetter",
    "Reprocessing",
    "Right",
    "RoleMapping",
    "Run",
    "Step",
    "StepRun",
    "StepVersion",
    "Tally",
]
