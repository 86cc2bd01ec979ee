"""Tests of a project that use everything in flows.testing. mypy --strict must accept them."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, assert_type
from uuid import UUID

from django.test import TestCase

from flows.testing import (
    FlowKit,
    FlowRun,
    FlowTestMixin,
    Letter,
    NotStubbed,
    OutsideCall,
    OutsideCalls,
    Reply,
    Stub,
    configure,
)

CONFIGURATION = Path(__file__).parent / "configuration"


def answer(call: OutsideCall) -> Reply:
    assert_type(call.json(), Any)
    assert_type((call.script, call.method, call.url), tuple[str, str, str])
    assert_type(call.params, dict[str, str])
    return Reply(201, json={"id": call.headers["x-id"]}, headers={"X": "y"})


def test_an_order(flow_kit: FlowKit) -> None:
    flow_kit.configure(CONFIGURATION, prune=True)
    flow_kit.secrets["key"] = "swordfish"
    assert_type(flow_kit.outside, OutsideCalls)
    stub = flow_kit.outside.post("https://a.example.org/", status=503, times=2)
    assert_type(stub, Stub)
    flow_kit.outside.get(re.compile("list"), answer)
    flow_kit.outside.add("*", "https://a.example.org/", error="timeout")
    flow_kit.advance(timedelta(hours=1))
    assert_type(flow_kit.now(), datetime)

    run = flow_kit.run("order", {"amount": 5}, priority=9, start_at=flow_kit.now())

    assert_type(run, FlowRun)
    assert_type(run.id, UUID)
    assert_type(run.status, str)
    assert_type(run.path, list[str])
    assert_type(run.logs("one"), list[str])
    assert_type(run.attempts("one"), list[str])
    assert_type(run.dead_letters, list[Letter])
    assert_type(run.trace, dict[str, Any])
    run.assert_completed({"amount": 5})
    run.assert_attempts("one", "RETRY", "COMPLETED")
    run.assert_path("one")
    run.assert_logged("text", step="one")
    assert_type([call.status for call in flow_kit.outside.calls], list[int | None])


def test_a_batch(flow_kit_in_process: FlowKit) -> None:
    kit = flow_kit_in_process
    runs = kit.start_many("order", [{"n": n} for n in range(3)], priority=1)
    assert_type(kit.work(deliveries=1, moves_time=False), int)
    assert_type(runs[0].cancel(), FlowRun)
    runs[0].assert_cancelled()
    assert_type(kit.find(runs[1].id), FlowRun)
    assert_type(kit.runs("order"), list[FlowRun])


class Orders(FlowTestMixin, TestCase):
    flow_configuration: ClassVar = CONFIGURATION
    flows_in_process = True

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        configure({"flows": []})

    def test_a_dead_letter(self) -> None:
        try:
            run = self.flow_kit.start("order", {}, idempotency_key="k").finish()
        except NotStubbed:
            return
        letter = run.assert_dead_letter("one", reason="rejected", error="no")
        assert_type(letter.id, int)
        run.reprocess({"amount": 1}, letter=letter, newest_script=True).finish()
        run.discard(letter)
        run.assert_failed("no")
        assert_type(run.story, str)
