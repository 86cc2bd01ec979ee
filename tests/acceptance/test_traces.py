"""Traces of a real installation, as a collector of OpenTelemetry gets them when it has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.installation import Installation, installation_in
from tests.loopback import Loopback
from tests.loopback import serving as receiving
from tests.waiting import wait_for

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

# An installation of its own.
pytestmark = pytest.mark.long

ECHO = "def run(message, context):\n    return message\n"
CALLS = """
def run(message, context):
    if context.attempt == 1:
        raise ValueError("a text with a payload: 4711")
    context.http.get(message["payload"]["url"] + "/outside?key=confidential")
    context.start("small", {})
    return message
"""
REJECTS = "def run(message, context):\n    raise Reject('Customer: unknown')\n"
CALLER, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{CALLER}-{CALLERS_SPAN}-01", "tracestate": "shop=north"}
UNSAMPLED = {"traceparent": f"00-{'5' * 32}-{CALLERS_SPAN}-00"}
MALFORMED = {"traceparent": f"00-{CALLER.upper()}-{CALLERS_SPAN}-01"}


class Traced(NamedTuple):
    """The runs that were started, what the collector has, and what the other servers got."""

    runs: dict[str, str]
    spans: list[Span]
    requests: dict[str, list[dict[str, str]]]
    log: list[dict[str, Any]]

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace_id]


def start(installation: Installation, flow: str, url: str, headers: dict[str, str]) -> str:
    answer = installation.http.post(
        "/api/start", params={"flowName": flow}, json={"url": url}, headers=headers
    )
    assert answer.status_code == 202, answer.text
    run: str = answer.json()["correlationId"]
    return run


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Run some flows, and look at what has come when all processes have ended.

    Until then they send nothing by themselves.
    """
    with receiving() as servers, installation_in(tmp_path_factory.mktemp("traces")) as served:
        for path in ("/v1/traces", "/outside", "/hook"):
            servers.answers(path)
        served.environment |= {
            "ASYNCENGINE_TRACES": "1",
            "ASYNCENGINE_LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": servers.url("").rstrip("/"),
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        served.up("--no-demo")
        served.configure(configuration(servers))
        token = served.http.post("/api/auth/token").json()["accessToken"]
        bearer = {"Authorization": f"Bearer {token}"}
        runs = {
            "own": start(served, "order", servers.url(""), {}),
            # The second one is answered without the view.
            "given": start(served, "order", servers.url(""), {**bearer, **GIVEN}),
            "given-again": start(served, "small", "", {**bearer, **GIVEN}),
            "given-quickly": start(served, "small", "", {**bearer, **GIVEN}),
            "unsampled": start(served, "order", servers.url(""), UNSAMPLED),
            "malformed": start(served, "small", "", MALFORMED),
            "rejected": start(served, "rejected", "", {}),
            "batch": batch(served),
        }
        for run in runs.values():
            served.run(run, wait=60)
        wait_for(lambda: len(headers_at(servers, "/hook")) == 3, what="the webhooks")
        children = wait_for(lambda: finished_children(served), what="the child runs")
        served.stop()
        yield Traced(
            runs | children,
            collected(servers),
            {path: headers_at(servers, path) for path in ("/outside", "/hook")},
            log_of(served.output),
        )


def configuration(servers: Loopback) -> dict[str, Any]:
    echo, calls = {"script": "echo"}, {"script": "calls"}
    return {
        "scripts": [
            {"name": "echo", "code": ECHO},
            {"name": "calls", "code": CALLS, "network": True, "privateAddresses": True},
            {"name": "rejects", "code": REJECTS},
        ],
        "queues": [
            {"name": name, "backoff": {"initialSeconds": 0.1}}
            for name in ("one", "two", "three", "small", "rejected")
        ],
        "flows": [
            {
                "name": "order",
                "starts": ["small"],
                "privateWebhooks": True,
                "webhookUrl": servers.url("/hook?secret"),
                "steps": [
                    echo | {"name": "first", "queue": "one"},
                    calls | {"name": "second", "queue": "two"},
                    echo | {"name": "third", "queue": "three"},
                ],
            },
            {"name": "small", "steps": [echo | {"name": "only", "queue": "small"}]},
            {"name": "rejected", "steps": [{"script": "rejects", "queue": "rejected"}]},
        ],
    }


def batch(served: Installation) -> str:
    query = {"flowName": "small", "correlationIds": "all"}
    answer = served.http.post("/api/start/batch", params=query, json=[{}], headers=GIVEN)
    [run] = answer.json()["correlationIds"]
    return str(run)


def finished_children(served: Installation) -> dict[str, str]:
    rows = served.rows(
        "SELECT correlation_id, parent, status FROM flows_run WHERE parent IS NOT NULL"
    )
    if len(rows) < 3 or any(status != "COMPLETED" for *_, status in rows):
        return {}
    return {f"child of {hexadecimal(parent)}": hexadecimal(child) for child, parent, _ in rows}


def hexadecimal(run_id: object) -> str:
    return str(run_id).replace("-", "")


def headers_at(servers: Loopback, path: str) -> list[dict[str, str]]:
    return [each.headers for each in servers.received if each.path.partition("?")[0] == path]


def collected(servers: Loopback) -> list[Span]:
    bodies = [each.body for each in servers.received if each.path == "/v1/traces"]
    exported = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    resources = [resource for each in exported for resource in each.resource_spans]
    names = {
        each.value.string_value
        for resource in resources
        for each in resource.resource.attributes
        if each.key == "service.name"
    }
    assert names == {"asyncengine"}
    return [span for each in resources for scope in each.scope_spans for span in scope.spans]


def log_of(output: Path) -> list[dict[str, Any]]:
    lines = output.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def attributes_of(span: Span) -> dict[str, Any]:
    found = {each.key: each.value for each in span.attributes}
    return {key: getattr(value, str(value.WhichOneof("value"))) for key, value in found.items()}


def tree(spans: list[Span]) -> Any:
    """Return the names by their places, in the order of their beginnings: [name, [children]]."""
    ids = {span.span_id for span in spans}
    by_time = sorted(spans, key=lambda span: span.start_time_unix_nano)

    def below(parent: bytes) -> Any:
        inner = [span for span in by_time if span.parent_span_id == parent]
        return [[span.name, below(span.span_id)] if ids else [] for span in inner]

    roots = [span for span in by_time if span.parent_span_id not in ids]
    return [[root.name, below(root.span_id)] for root in roots]


ORDER = [
    "start order",
    [
        ["process first", []],
        ["process second", []],
        ["process second", [["GET", []], ["start small", [["process only", []]]]]],
        ["process third", []],
        ["POST", []],
    ],
]
SMALL = ["start small", [["process only", []]]]


def test_a_run_is_a_trace_whose_id_is_its_correlation_id(traced: Traced):
    spans = traced.of(hexadecimal(traced.runs["own"]))

    assert tree(spans) == [ORDER]
    [root] = [span for span in spans if span.name == "start order"]
    assert root.parent_span_id == b""
    assert root.kind == Span.SPAN_KIND_PRODUCER
    assert attributes_of(root) == {
        "messaging.system": "asyncengine",
        "messaging.operation.type": "send",
        "messaging.operation.name": "start",
        "messaging.destination.name": "one",
        "messaging.message.conversation_id": traced.runs["own"],
        "asyncengine.flow.name": "order",
    }


def test_an_attempt_that_fails_has_the_class_of_its_error_and_no_text(traced: Traced):
    spans = traced.of(hexadecimal(traced.runs["own"]))
    failed, went = [span for span in spans if span.name == "process second"]
    [rejected] = [
        span
        for span in traced.of(hexadecimal(traced.runs["rejected"]))
        if span.name.startswith("process")
    ]

    assert {span.status.code for span in (failed, rejected)} == {Status.STATUS_CODE_ERROR}
    assert went.status.code == Status.STATUS_CODE_UNSET
    assert attributes_of(failed)["error.type"] == "ValueError"
    assert attributes_of(rejected)["error.type"] == "rejected"
    outcomes = [attributes_of(span)["asyncengine.outcome"] for span in (failed, went, rejected)]
    assert outcomes == ["retry", "accepted", "dead_lettered"]
    assert [attributes_of(span)["asyncengine.step.attempt"] for span in (failed, went)] == [1, 2]
    told = "".join(map(str, traced.spans))
    assert not [text for text in ("4711", "confidential", "secret", "Customer") if text in told]


def test_runs_belong_to_the_trace_of_a_caller(traced: Traced):
    spans = traced.of(CALLER)

    assert sorted(map(str, tree(spans))) == sorted(map(str, [ORDER, SMALL, SMALL, SMALL]))
    starts = [span for span in spans if span.parent_span_id.hex() == CALLERS_SPAN]
    assert {attributes_of(span)["messaging.message.conversation_id"] for span in starts} == {
        traced.runs[name] for name in ("given", "given-again", "given-quickly", "batch")
    }
    assert {span.trace_state for span in spans} == {"shop=north"}


def test_malformed_headers_are_ignored(traced: Traced):
    assert tree(traced.of(hexadecimal(traced.runs["malformed"]))) == [SMALL]


def test_the_servers_that_are_called_learn_of_the_span(traced: Traced):
    calls = [span for span in traced.spans if span.kind == Span.SPAN_KIND_CLIENT]
    known = {f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" for span in calls}
    told = [headers["traceparent"] for each in traced.requests.values() for headers in each]

    # What a caller does not sample is passed on, and not recorded.
    unsampled = [each for each in told if each.endswith("-00")]
    assert [each.split("-")[1] for each in unsampled] == ["5" * 32] * 2
    assert {*told} - {*unsampled} == known
    assert len(known) == 4
    assert not traced.of("5" * 32)
    of_the_caller = [h for each in traced.requests.values() for h in each if CALLER in str(h)]
    assert [headers["tracestate"] for headers in of_the_caller] == ["shop=north"] * 2
    assert {attributes_of(span)["http.response.status_code"] for span in calls} == {200}


def test_lines_of_the_log_have_the_ids(traced: Traced):
    [line] = [each for each in traced.log if each.get("outcome") == "dead_lettered"]
    spans = traced.of(hexadecimal(traced.runs["rejected"]))

    [attempt] = [span for span in spans if span.name.startswith("process")]
    assert (line["trace_id"], line["span_id"]) == (attempt.trace_id.hex(), attempt.span_id.hex())
