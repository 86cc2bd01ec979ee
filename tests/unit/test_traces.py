"""Traces: the headers of W3C Trace Context, the ids and sampling of runs, and errors in spans."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest
from asyncengine_client import calls
from uuid_utils.compat import uuid7

from flows.disposition import DeadLetterReason, Decision, Disposition, StepOutcome
from tests.loopback import serving

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from flows.traces.contexts import read, row_of, start_of
from flows.traces.spans import error_type
from scripts.traces import recording
from scripts.traces.context import child_of, of_headers, to_headers, within

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nothing",
        GIVEN.upper(),
        GIVEN[:-1],
        f"{GIVEN}-more",
        f"{GIVEN},{GIVEN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-zz",
        "00_" + GIVEN[3:],
        "\u0660\u0660-" + GIVEN[3:],
        GIVEN + "-" + "x" * 10_000,
    ],
)
def test_a_malformed_header_gives_no_trace(header):
    assert of_headers(header, "shop=north") is None


@pytest.mark.parametrize(
    ("header", "state", "passed_on"),
    [
        (GIVEN, None, {"traceparent": GIVEN}),
        (GIVEN, "shop=north,a=b", {"traceparent": GIVEN, "tracestate": "shop=north,a=b"}),
        (GIVEN, "no member", {"traceparent": GIVEN}),
        (GIVEN, f"a={'x' * 600}", {"traceparent": GIVEN}),
        # A later version may have more at its end.
        (f"01-{GIVEN[3:]}-more", None, {"traceparent": GIVEN}),
        (f"00-{TRACE}-{SPAN}-00", None, {"traceparent": f"00-{TRACE}-{SPAN}-00"}),
    ],
)
def test_what_a_header_gives_is_kept_with_the_run_and_passed_on(header, state, passed_on):
    span = of_headers(header, state)

    row = row_of(uuid7(), span)

    assert to_headers(span) == passed_on
    assert read(row) == span
    start = start_of(row.pk, span)
    assert (start.trace_id, start.trace_flags) == (span.trace_id, span.trace_flags)
    assert start.span_id not in (0, span.span_id)
    assert child_of(start).trace_state == span.trace_state


def test_a_run_that_no_trace_has_started_has_its_correlation_id_as_trace():
    run = uuid7()

    start = start_of(run, None)

    assert to_headers(start)["traceparent"] == f"00-{run.hex}-{run.hex[16:]}-01"
    assert start_of(run, None) == start
    child = child_of(start)
    assert child.trace_id == start.trace_id
    assert child.span_id not in (0, start.span_id)


def test_a_start_of_the_client_goes_with_the_current_span():
    with within(of_headers(GIVEN, "shop=north")):
        traced = calls.start("loan", {}, key="a")
    untraced = calls.start("loan", {}, key="a")

    own = {"Idempotency-Key": "a"}
    assert traced.headers == {**own, "traceparent": GIVEN, "tracestate": "shop=north"}
    assert untraced.headers == own


@pytest.fixture
def sampler(monkeypatch):
    """Set the variables of the sampler, which processes read once."""

    def use(name: str, argument: str) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
        recording.sampler.cache_clear()

    yield use
    recording.sampler.cache_clear()


def test_a_share_of_the_runs_is_sampled_although_their_ids_have_fixed_bits(sampler):
    sampler("parentbased_traceidratio", "0.25")

    runs = [UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0000 | n << 20) for n in range(2_000)]
    sampled = [run for run in runs if start_of(run, None).trace_flags.sampled]

    assert 0.15 < len(sampled) / len(runs) < 0.35
    # The caller has decided about its own trace.
    assert all(start_of(run, of_headers(GIVEN)).trace_flags.sampled for run in runs[:100])


@pytest.mark.parametrize(
    ("disposition", "outcome", "text", "reason", "found"),
    [
        ("ACCEPTED", "COMPLETED", "", None, ""),
        ("WAITING", "WAITING", "", None, ""),
        ("RETRY", "FAILED", "ValueError: the payload", None, "ValueError"),
        ("RETRY", "FAILED", "shop.errors.OutOfStock:", None, "shop.errors.OutOfStock"),
        ("RETRY", "FAILED", "it took longer than 30 s: more", None, "failed"),
        ("RETRY", "RETRY", "Customer: closed", None, "retry"),
        ("DEAD_LETTERED", "FAILED", "KeyError: 'x'", "EXHAUSTED", "KeyError"),
        ("DEAD_LETTERED", "FAILED", "no class", "EXHAUSTED", "exhausted"),
        ("DEAD_LETTERED", "REJECTED", "Customer: unknown", "REJECTED", "rejected"),
    ],
)
def test_a_span_has_the_class_of_an_error_and_never_its_text(
    disposition, outcome, text, reason, found
):
    decision = Decision(
        Disposition[disposition],
        StepOutcome[outcome],
        text,
        reason and DeadLetterReason[reason],
    )

    assert error_type(decision) == found


def test_a_collector_that_is_away_is_one_line_of_the_log_and_its_return_another(caplog):
    with serving() as collector:
        collector.answers("/v1/traces", 400)
        exporter = recording._Telling(OTLPSpanExporter(collector.url("/v1/traces")))
        recording.watch_loud_logs()
        exporter.export([])
        exporter.export([])
        collector.answers("/v1/traces")
        exporter.export([])
        exporter.export([])
        exporter.shutdown()

    lines = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert [each.name for each in lines] == [recording.__name__] * 2
    assert ["takes no spans" in each.getMessage() for each in lines] == [True, False]
