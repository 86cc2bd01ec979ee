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
from flows.models.runtime import (
    Consumer,
    DeadLetter,
    IdempotencyKey,
    Message,
    QueueState,
    Run,
    StepRun,
    Tally,
)

__all__ = [
    "ConfigurationRevision",
    "Consumer",
    "DeadLetter",
    "Flow",
    "FlowVersion",
    "IdempotencyKey",
    "Message",
    "Queue",
    "QueueState",
    "Right",
    "RoleMapping",
    "Run",
    "Step",
    "StepRun",
    "StepVersion",
    "Tally",
]
