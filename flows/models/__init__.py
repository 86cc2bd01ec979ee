from flows.models.alert import (
    Alert,
    AlertLevel,
    AlertNotice,
    AlertsClock,
    AlertTarget,
    AlertTargetState,
)
from flows.models.alert_thresholds import AlertThresholds
from flows.models.audit_entry import AuditEntry
from flows.models.configuration_revision import ConfigurationRevision
from flows.models.consumer import Consumer
from flows.models.counts import (
    ConservationCheck,
    CountBlock,
    CountedTotals,
    CountsClock,
    RefusedStarts,
)
from flows.models.dead_letter import DeadLetter
from flows.models.external_identity import ExternalIdentity
from flows.models.flow import Flow, Step
from flows.models.flow_schedule import FlowSchedule, FlowScheduleState
from flows.models.flow_state import FlowState, FlowStateTotals
from flows.models.live_cluster import LiveCluster
from flows.models.logins import LoginCount
from flows.models.message import Message
from flows.models.queue import Queue, QueueState
from flows.models.quiet_end import QuietEnd
from flows.models.recent_starts import RecentStarts
from flows.models.reprocessing import ReprocessedLetter, Reprocessing
from flows.models.role import Right, RoleMapping
from flows.models.run import BranchEnd, IdempotencyKey, Run, StepRun
from flows.models.run_deadline import RunDeadline
from flows.models.run_label import RunLabel
from flows.models.run_text import RunText, RunTextMark
from flows.models.run_trace import RunTrace
from flows.models.running_attempt import RunningAttempt
from flows.models.task_cache import CachedValue
from flows.models.token_name import TokenName
from flows.models.token_use import TokenUse
from flows.models.totals import FlowTotals
from flows.models.version import FlowVersion, StepVersion
from flows.models.webhook import FlowWebhook, RunCallback, WebhookDelivery

__all__ = [
    "Alert",
    "AlertLevel",
    "AlertNotice",
    "AlertTarget",
    "AlertTargetState",
    "AlertThresholds",
    "AlertsClock",
    "AuditEntry",
    "BranchEnd",
    "CachedValue",
    "ConfigurationRevision",
    "ConservationCheck",
    "Consumer",
    "CountBlock",
    "CountedTotals",
    "CountsClock",
    "DeadLetter",
    "ExternalIdentity",
    "Flow",
    "FlowSchedule",
    "FlowScheduleState",
    "FlowState",
    "FlowStateTotals",
    "FlowTotals",
    "FlowVersion",
    "FlowWebhook",
    "IdempotencyKey",
    "LiveCluster",
    "LoginCount",
    "Message",
    "Queue",
    "QueueState",
    "QuietEnd",
    "RecentStarts",
    "RefusedStarts",
    "ReprocessedLetter",
    "Reprocessing",
    "Right",
    "RoleMapping",
    "Run",
    "RunCallback",
    "RunDeadline",
    "RunLabel",
    "RunText",
    "RunTextMark",
    "RunTrace",
    "RunningAttempt",
    "Step",
    "StepRun",
    "StepVersion",
    "TokenName",
    "TokenUse",
    "WebhookDelivery",
]
