from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from django.urls import path

from flows.api.batch import BatchView
from flows.api.cancelling import CancelRunsView
from flows.api.dead_letters import DeadLettersView, DeadLetterView, ReprocessView
from flows.api.erasing import ErasePayloadsView
from flows.api.events import EventsView, RunEventsView
from flows.api.flows import FlowsView, FlowView, PauseFlowView, ResumeFlowView
from flows.api.health import LiveView, ReadyView
from flows.api.metrics import MetricsView
from flows.api.openapi.views import JsonView, SwaggerView, YamlView
from flows.api.own_tokens import OwnTokenView, TokensView, WhoAmIView
from flows.api.problems import ProblemTypeView
from flows.api.queues import PauseQueueView, QueuesView, QueueView, ResumeQueueView
from flows.api.reprocessings import (
    ReprocessDeadLettersView,
    ReprocessingsView,
    ReprocessingView,
    StopReprocessingView,
)
from flows.api.run_again import RunAgainView
from flows.api.run_payloads import RunInputView, RunLogsView, RunResultView
from flows.api.runs import CancelRunView, CountRunsView, RunsView, RunView
from flows.api.schedules import (
    PauseScheduleView,
    ResumeScheduleView,
    SchedulesView,
    ScheduleView,
)
from flows.api.start import FlowStartView, StartView
from flows.api.tokens import TokenView
from flows.api.view import ApiView
from flows.api.webhooks import ReplayView, WebhookDeliveriesView

app_name = "api"


def or_read(acting: type[ApiView], reading: type[ApiView], ending: str) -> Callable[..., Any]:
    """Return a view that reads what has a stored name with the ending, as no new name may."""
    act, read = acting.as_view(), reading.as_view()

    @wraps(act)
    def view(request: HttpRequest, name: str, **rest: str) -> Any:
        answer = act(request, name=name, **rest)
        if request.method not in ("GET", "HEAD") or answer.status_code not in (404, 405):
            return answer
        found = read(request, name=name + ending.format(**rest))
        return answer if found.status_code == 404 else found

    return view


urlpatterns = [
    path("api/auth/token", TokenView.as_view(), name="token"),
    path("api/auth/tokens", TokensView.as_view(), name="tokens"),
    path("api/auth/tokens/<str:id>", OwnTokenView.as_view(), name="own-token"),
    path("api/auth/whoami", WhoAmIView.as_view(), name="who-am-i"),
    path("api/start", StartView.as_view(), name="start"),
    path("api/start/batch", BatchView.as_view(), name="start-batch"),
    path("api/flows", FlowsView.as_view(), name="flows"),
    # A name may have a slash in it.
    path(
        "api/flows/<path:name>/start",
        or_read(FlowStartView, FlowView, "/start"),
        name="flow-start",
    ),
    path(
        "api/flows/<path:name>/schedules/<path:schedule>/pause",
        PauseScheduleView.as_view(),
        name="pause-schedule",
    ),
    path(
        "api/flows/<path:name>/schedules/<path:schedule>/resume",
        ResumeScheduleView.as_view(),
        name="resume-schedule",
    ),
    path(
        "api/flows/<path:name>/schedules/<path:schedule>",
        or_read(ScheduleView, FlowView, "/schedules/{schedule}"),
        name="schedule",
    ),
    path(
        "api/flows/<path:name>/schedules",
        or_read(SchedulesView, FlowView, "/schedules"),
        name="schedules",
    ),
    path(
        "api/flows/<path:name>/pause",
        or_read(PauseFlowView, FlowView, "/pause"),
        name="pause-flow",
    ),
    path(
        "api/flows/<path:name>/resume",
        or_read(ResumeFlowView, FlowView, "/resume"),
        name="resume-flow",
    ),
    path("api/flows/<path:name>", FlowView.as_view(), name="flow"),
    path("api/events", EventsView.as_view(), name="events"),
    path("api/runs", RunsView.as_view(), name="runs"),
    path("api/runs/counts", CountRunsView.as_view(), name="count-runs"),
    path("api/runs/cancel", CancelRunsView.as_view(), name="cancel-runs"),
    path("api/runs/erase", ErasePayloadsView.as_view(), name="erase-payloads"),
    path("api/runs/<str:id>", RunView.as_view(), name="run"),
    path("api/runs/<str:id>/input", RunInputView.as_view(), name="run-input"),
    path("api/runs/<str:id>/result", RunResultView.as_view(), name="run-result"),
    path("api/runs/<str:id>/logs", RunLogsView.as_view(), name="run-logs"),
    path("api/runs/<str:id>/again", RunAgainView.as_view(), name="run-again"),
    path("api/runs/<str:id>/events", RunEventsView.as_view(), name="run-events"),
    path("api/runs/<str:id>/cancel", CancelRunView.as_view(), name="cancel-run"),
    path("api/runs/<str:id>/webhooks", WebhookDeliveriesView.as_view(), name="webhooks"),
    path("api/webhooks/<str:id>/replay", ReplayView.as_view(), name="replay-webhook"),
    path("api/queues", QueuesView.as_view(), name="queues"),
    path(
        "api/queues/<path:name>/pause",
        or_read(PauseQueueView, QueueView, "/pause"),
        name="pause-queue",
    ),
    path(
        "api/queues/<path:name>/resume",
        or_read(ResumeQueueView, QueueView, "/resume"),
        name="resume-queue",
    ),
    path("api/queues/<path:name>", QueueView.as_view(), name="queue"),
    path("api/dead-letters", DeadLettersView.as_view(), name="dead-letters"),
    path("api/dead-letters/reprocess", ReprocessDeadLettersView.as_view(), name="reprocess-many"),
    path("api/dead-letters/<int:id>", DeadLetterView.as_view(), name="dead-letter"),
    path("api/dead-letters/<int:id>/reprocess", ReprocessView.as_view(), name="reprocess"),
    path("api/reprocessings", ReprocessingsView.as_view(), name="reprocessings"),
    path("api/reprocessings/<int:id>", ReprocessingView.as_view(), name="reprocessing"),
    path(
        "api/reprocessings/<int:id>/stop", StopReprocessingView.as_view(), name="stop-reprocessing"
    ),
    path("problems/<str:name>", ProblemTypeView.as_view(), name="problem-type"),
    path("health/live", LiveView.as_view(), name="live"),
    path("health/ready", ReadyView.as_view(), name="ready"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("specifications/openapi.json", JsonView.as_view(), name="openapi-json"),
    path("specifications/openapi.yaml", YamlView.as_view(), name="openapi-yaml"),
    path("specifications/swagger-ui/index.html", SwaggerView.as_view(), name="swagger-ui"),
]
