"""Streams of events: who may see which. The front streams them, see `flows/front/streams.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from flows.access.rights import rights_by_flow, rights_of_users, sight_of
from flows.api import parameters
from flows.api.authentication import Login, login_of, users_logged_in
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.event_operations import STREAM_EVENTS, STREAM_RUN_EVENTS
from flows.api.runs import find_run
from flows.api.view import ApiView, no_content
from flows.errors import UnknownFlow
from flows.front.streams import STREAM, Stream
from flows.models import Flow, Run
from flows.monitoring.events.page import OVER, Position, is_ahead, is_over
from flows.monitoring.events.selection import Selection

# What to do about it depends on how the engine is served.
NO_STREAMS = (
    "A stream would hold a thread of this server for as long as it is open. Streams need an ASGI"
    " server with asyncengine.asgi, or with asyncengine.below in a project."
)


class EventStreamRenderer(BaseRenderer):
    """What the views accept: a stream is not rendered here."""

    media_type = "text/event-stream"
    format = "event-stream"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a caller has asked for. For a run it has its flow and its starter, too."""

    login: Login
    flow_id: int | None = None
    run_id: UUID | None = None
    started_by: Any = None


class EventStreamView(ApiView):
    """Base of the operations that stream."""

    renderer_classes = [EventStreamRenderer]

    def stream(self, request: Request, ticket: Ticket, after: Position | None) -> HttpResponse:
        """Have the front stream what the ticket is for. Raises Problem where there is none."""
        stream: Stream | None = request.META.get(STREAM)
        if stream is None:
            raise Problem("no-streams", NO_STREAMS)
        selection = _selection(ticket, request.user, rights_by_flow(request.user))
        if request.method == "GET" and selection:
            stream.open(selection, ticket, request.user.pk, after)
        return HttpResponse(content_type="text/event-stream")


class RunEventsView(EventStreamView):
    @extend_schema(**STREAM_RUN_EVENTS)
    def get(self, request: Request, id: str) -> HttpResponse:
        run = find_run(request, id)
        after = _last_event_id(request) or Position()
        if after.told == OVER:
            is_known = run.status in Run.FINISHED and not is_ahead(after)
            if is_known and is_over(run.pk, after):
                # A browser would connect again and again.
                return no_content()
            after = replace(after, told=0)
        flow_id = run.flow_version.flow_id
        ticket = Ticket(login_of(request), flow_id, run.pk, run.started_by_id)
        return self.stream(request, ticket, after)


class EventsView(EventStreamView):
    query_parameters = frozenset({"flowName"})

    @extend_schema(**STREAM_EVENTS)
    def get(self, request: Request) -> HttpResponse:
        name = parameters.text(self.query, "flowName")
        flow_id = None if name is None else _flow_seen(request, name).pk
        ticket = Ticket(login_of(request), flow_id=flow_id)
        return self.stream(request, ticket, _last_event_id(request))


def check(tickets: Sequence[Ticket]) -> list[Selection | None]:
    """Return what each ticket gives now; None: its login or its right has ended."""
    users = users_logged_in({ticket.login for ticket in tickets})
    rights = rights_of_users(users.values())
    return [
        _selection(ticket, user, rights[user.pk]) if (user := users.get(ticket.login)) else None
        for ticket in tickets
    ]


def _selection(ticket: Ticket, user: Any, rights: Any) -> Selection | None:
    sight = sight_of(user, rights)
    if ticket.run_id:
        may_see = sight.covers(ticket.flow_id, ticket.started_by)
        return Selection(sight, run_id=ticket.run_id) if may_see else None
    if ticket.flow_id is None:
        return Selection(sight)
    if not sight.reaches(ticket.flow_id):
        return None
    return Selection(sight.of_flow(ticket.flow_id), flow_id=ticket.flow_id)


def _flow_seen(request: Request, name: str) -> Flow:
    """Return the flow. Raises UnknownFlow where the caller sees no runs of it."""
    sight = sight_of(request.user, rights_by_flow(request.user))
    flow = Flow.objects.filter(name=name).first()
    if flow and sight.reaches(flow.pk):
        return flow
    raise UnknownFlow


def _last_event_id(request: Request) -> Position | None:
    """Return where the stream goes on. Raises Problem."""
    text = request.META.get("HTTP_LAST_EVENT_ID", "")
    if not text:
        return None
    if position := Position.read(text):
        return position
    raise Problem("header-invalid", "Last-Event-ID: must be the id of an event")
