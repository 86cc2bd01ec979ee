"""Home: what needs an operator, then flows, queues and workers. It refreshes itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, get_script_prefix, path, reverse

from flows.access.rights import SEES_EVERY_RUN
from flows.admin.by_role import configures, has_right_somewhere, watched_flow_ids
from flows.admin.display import list_of, page_of
from flows.admin.finding import find
from flows.admin.first_run import guide
from flows.admin.schedules import next_starts
from flows.admin.sparkline import sparkline
from flows.front.documentation import documentation
from flows.models import DeadLetter, Flow, FlowSchedule, Queue, Run
from flows.models.alert import AlertLevel
from flows.monitoring.curves import PERIODS, Curve
from flows.monitoring.health import Alarm, Target, alarms
from flows.monitoring.kept import Kept
from flows.monitoring.overview import FlowState, Overview, QueueState, overview
from flows.monitoring.refused_starts import in_words
from flows.tasks import clusters

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

_shared = Kept(1.0)
# Addresses by what they show and its name.
Pages = dict[tuple[Target, str], str]

MOST_FLOWS = 25
MOST_QUEUES = 10
MOST_ALARMS = 12
MOST_SESSIONS = 6
MOST_SCHEDULES = 5
# By the period: how it is called, and the unit of the curve.
TEXTS = {
    "hour": ("Last hour", "a minute"),
    "day": ("Last day", "in ten minutes"),
    "week": ("Last week", "an hour"),
}


class HomeUrls(Base):
    """Gives an admin class the address of the part of home that refreshes itself."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(home_live)
        find_view = self.admin_site.admin_view(find)
        return [
            path("home/", view, name="flows_home"),
            path("find/", find_view, name="flows_find"),
            *super().get_urls(),
        ]


def home_live(request: HttpRequest) -> HttpResponse:
    """Return the live part. All that watch the same flows, and configure, see the same.

    Its links begin with the path below which this request came.
    """
    seen = (watched_flow_ids(request), configures(request, None))
    key = (*_asked(request), *seen, get_script_prefix())
    template = "admin/flows/home/live.html"
    shown = _shared.read(key, lambda: render_to_string(template, home(request), request))
    return HttpResponse(shown)


def _asked(request: HttpRequest) -> tuple[str, bool]:
    """Return the period that the address names, and whether it asks for all flows."""
    period = request.GET.get("period", "")
    return period if period in PERIODS else "hour", request.GET.get("all") == "1"


def home(request: HttpRequest) -> dict[str, Any]:
    """Return what home shows the user: of flows that the user watches or operates alone."""
    period, shows_all = _asked(request)
    context: dict[str, Any] = {
        "period": period,
        "shows_all": shows_all,
        "live_url": _home_url(period, shows_all),
        "watches": has_right_somewhere(request, SEES_EVERY_RUN),
    }
    if context["watches"]:
        context |= _watched(request, period, shows_all)
    return context


def _home_url(period: str, shows_all: bool) -> str:
    return f"{reverse('admin:flows_home')}?{_query(period, shows_all)}"


def _query(period: str, shows_all: bool) -> str:
    return urlencode({"period": period} | ({"all": "1"} if shows_all else {}))


def _watched(request: HttpRequest, period: str, shows_all: bool) -> dict[str, Any]:
    flow_ids = watched_flow_ids(request)
    live = clusters.live_clusters()
    flows, queues = Flow.objects.all(), Queue.objects.all()
    if flow_ids is not None:
        flows, queues = flows.filter(pk__in=flow_ids), queues.filter(step__flow__in=flow_ids)
    seen = overview(
        flows,
        queues,
        PERIODS[period],
        clusters=clusters.known_number(live),
        missing_measures=clusters.missing_measures(live),
        unreadable=clusters.unreadable(live),
        is_whole=flow_ids is None,
    )
    found = alarms(seen.health)
    troubled = {alarm.flow for alarm in found if alarm.flow}
    rows = sorted(seen.flows, key=lambda flow: _urgency(flow, troubled))
    shown = rows if shows_all else rows[:MOST_FLOWS]
    pages = _pages(seen)
    return {
        "now": seen.now,
        "alarms": [_alarm(alarm, pages) for alarm in found[:MOST_ALARMS]],
        "more_alarms": max(len(found) - MOST_ALARMS, 0),
        "figures": _figures(seen, len(live)),
        "periods": _periods(period, shows_all),
        "unit": TEXTS[period][1],
        "flows": [
            _flow(flow, pages[Target.FLOW, flow.name], flow.name in troubled) for flow in shown
        ],
        "more_flows": len(rows) - len(shown),
        "all_url": f"{reverse('admin:index')}?{_query(period, True)}",
        "queues": _queues(seen.queues, pages),
        "queues_url": list_of(Queue),
        "clusters": _clusters(live, seen),
        "next_starts": _next_starts(flow_ids),
        "schedules_url": list_of(FlowSchedule),
        "guide": guide(request, seen),
        "is_empty": not seen.flows,
        "flows_url": list_of(Flow),
        "add_flow_url": configures(request, None) and reverse("admin:flows_flow_add"),
        "check_url": flow_ids is None and reverse("admin:flows_run_conservation"),
    }


def _next_starts(flow_ids: tuple[int, ...] | None) -> list[dict[str, Any]]:
    page = page_of(FlowSchedule(pk=0))
    return [
        {
            "name": state.schedule.name,
            "flow": state.schedule.flow.name,
            "at": state.at,
            "problem": state.problem,
            "url": page.replace("/0/", f"/{state.pk}/"),
        }
        for state in next_starts(flow_ids, MOST_SCHEDULES)
    ]


def _pages(seen: Overview) -> Pages:
    """Return the addresses of flows and queues.

    One of each is resolved, for there may be hundreds.
    """
    flow, queue = page_of(Flow(pk=0)), page_of(Queue(pk=0))
    flows = {(Target.FLOW, each.name): flow.replace("/0/", f"/{each.pk}/") for each in seen.flows}
    return flows | {
        (Target.QUEUE, each.name): queue.replace("/0/", f"/{each.pk}/") for each in seen.queues
    }


def _urgency(flow: FlowState, troubled: set[str]) -> tuple[bool, int, str]:
    busy = flow.curve.total("accepted") + flow.curve.total("completed") + flow.waiting
    return flow.name not in troubled, -busy, flow.name


# --- alarms ------------------------------------------------------------------------------------

VERBS = {
    Target.FLOW: "Open the flow",
    Target.QUEUE: "Open the queue",
    Target.DEAD_LETTERS: "See the dead letters",
    Target.FAILED_RUNS: "See the failed runs",
    Target.CONSERVATION: "Check conservation",
    Target.HELP: "Read how",
}
# By the rule of an alarm that leads to no page of its own: the part of the documentation.
HELP = {
    "workers-gone": ("asyncengine", "workers"),
    "sandbox-incomplete": ("flows/access", "what-a-script-can-reach"),
}


def _alarm(alarm: Alarm, pages: Pages) -> dict[str, Any]:
    return {
        "alarm": alarm,
        "is_critical": alarm.level is AlertLevel.CRITICAL,
        "url": _target(alarm, pages),
        "verb": VERBS[alarm.target],
    }


def _target(alarm: Alarm, pages: Pages) -> str:
    if alarm.target is Target.DEAD_LETTERS:
        return list_of(DeadLetter, state="open", flow=alarm.flow)
    if alarm.target is Target.FAILED_RUNS:
        return list_of(Run, status="FAILED", flow=alarm.flow, age="1h")
    if alarm.target is Target.CONSERVATION:
        return reverse("admin:flows_run_conservation")
    if alarm.target is Target.HELP:
        page, part = HELP.get(alarm.rule, ("", ""))
        return f"{reverse('documentation:page', args=[page])}#{part}" if documentation() else ""
    name = alarm.queue if alarm.target is Target.QUEUE else alarm.flow
    return pages.get((alarm.target, name), "")


# --- figures and flows -------------------------------------------------------------------------


def _figures(seen: Overview, live_clusters: int) -> list[dict[str, Any]]:
    def total(event: str) -> int:
        return sum(flow.curve.total(event) for flow in seen.flows)

    letters = seen.open_letters
    failed = total("failed")
    return [
        {"name": "Started", "value": number(total("accepted")), "key": "started"},
        {"name": "Completed", "value": number(total("completed")), "key": "completed"},
        {"name": "Failed", "value": number(failed), "key": "failed", "is_bad": bool(failed)},
        {"name": "Waiting", "value": number(sum(queue.waiting for queue in seen.queues))},
        {"name": "Running", "value": number(sum(queue.running for queue in seen.queues))},
        {
            "name": "Dead letters",
            "value": number(letters),
            "is_bad": bool(letters),
            "url": list_of(DeadLetter, state="open"),
        },
    ]


def _periods(period: str, shows_all: bool) -> list[dict[str, Any]]:
    return [
        {
            "text": text,
            "is_current": name == period,
            "url": f"{reverse('admin:index')}?{_query(name, shows_all)}",
        }
        for name, (text, _) in TEXTS.items()
    ]


def _flow(flow: FlowState, url: str, is_troubled: bool) -> dict[str, Any]:
    curve = flow.curve
    failed = curve.total("failed")
    return {
        "name": flow.name,
        "url": url,
        "state": _state(flow),
        "is_troubled": is_troubled,
        "curve": sparkline(curve.of("accepted"), curve.of("completed"), curve.of("failed")),
        "started": number(curve.total("accepted")),
        "refused": number(sum(flow.refused.values())),
        "refused_by": in_words(flow.refused),
        "completed": number(curve.total("completed")),
        "failed": number(failed),
        "failed_url": failed and list_of(Run, status="FAILED", flow=flow.name),
        "waiting": number(flow.waiting),
        "running": number(flow.running),
        "delayed": number(flow.delayed),
        "dead": number(flow.open_letters),
        "dead_url": flow.open_letters and list_of(DeadLetter, state="open", flow=flow.name),
        "oldest": short(flow.ready_for.total_seconds()) if flow.ready_for else "",
        "median": seconds_of(curve, 0.5),
        "slowest": seconds_of(curve, 0.95),
    }


def _state(flow: FlowState) -> str:
    if not flow.steps:
        return "no steps"
    if not flow.active:
        return "inactive"
    return "paused" if flow.paused else ""


def seconds_of(curve: Curve, share: float) -> str:
    seconds = curve.quantile(share)
    return "" if seconds is None else short(seconds)


# --- queues and workers ------------------------------------------------------------------------


def _queues(queues: Iterable[QueueState], pages: Pages) -> list[dict[str, Any]]:
    used = (queue for queue in queues if queue.taken or queue.busy or queue.is_paused)
    fullest = sorted(used, key=lambda queue: (-queue.fullness, -queue.busy, queue.name))
    return [
        {
            "name": queue.name,
            "url": pages[Target.QUEUE, queue.name],
            "feeds": f"{queue.flow} / {queue.step}" if queue.flow else "",
            "is_paused": queue.is_paused,
            "taken": number(queue.taken),
            "size": number(queue.size),
            "percent": percent(queue.taken, queue.size),
            "level": level(queue.fullness),
            "busy": number(min(queue.busy, queue.threads)),
            "threads": number(queue.threads),
            "busy_percent": percent(queue.busy, queue.threads),
            "rate": queue.rate_count
            and f"{queue.rate_used:,} of {queue.rate_count:,} in {short(queue.rate_seconds)}",
            "rate_percent": percent(queue.rate_used, queue.rate_count or 0),
            "oldest": short(queue.ready_for.total_seconds()) if queue.ready_for else "",
        }
        for queue in fullest[:MOST_QUEUES]
    ]


def level(fullness: float) -> str:
    return "full" if fullness >= 0.9 else "filling" if fullness >= 0.6 else ""


def percent(part: int, whole: int) -> int:
    return min(100, -(-100 * part // whole)) if whole else 0


def _clusters(live: list[clusters.ClusterStatus], seen: Overview) -> list[dict[str, Any]]:
    """Return each cluster with what its workers are at; of flows that the user sees."""
    queues = {queue.pk: queue for queue in seen.queues}
    sessions: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    busy: defaultdict[str, set[int | None]] = defaultdict(set)
    machines: dict[str, str] = {}
    for consumer in seen.consumers:
        busy[consumer.cluster].add(consumer.pid)
        machines[consumer.cluster] = consumer.machine
        queue = queues.get(consumer.queue_id)
        if queue and queue.step:
            text = f"{queue.flow} / {queue.step}"
            sessions[consumer.cluster].append(
                {"text": text, "threads": consumer.threads, "pid": consumer.pid}
            )
    known = {each.name: each for each in live}
    return [
        {
            "machine": known[name].machine if name in known else machines[name],
            "pid": known[name].pid if name in known else "",
            "workers": known[name].workers if name in known else "",
            "busy": len(busy[name]),
            "since": known[name].begun_at if name in known else None,
            "sessions": sessions[name][:MOST_SESSIONS],
            "more_sessions": max(len(sessions[name]) - MOST_SESSIONS, 0),
        }
        for name in sorted({*known, *machines})
    ]


# --- numbers -----------------------------------------------------------------------------------


def number(value: int) -> str:
    """Write a count: in full up to 99,999, then in thousands or millions."""
    if value < 100_000:
        return f"{value:,}"
    if value < 1_000_000:
        return f"{value / 1000:.0f}k"
    return f"{value / 1_000_000:.1f}M"


def short(seconds: float) -> str:
    """Write a time with two or three digits and its unit."""
    for unit, size, most in UNITS:
        if seconds < most:
            value = seconds / size
            digits = 1 if value < 10 and unit == "s" else 0
            return f"{value:.{digits}f}".removesuffix(".0") + f" {unit}"
    return f"{seconds / 86_400:.0f} d"


# The unit, its seconds, and up to where it is used.
UNITS = (("ms", 0.001, 1.0), ("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 172_800.0))
