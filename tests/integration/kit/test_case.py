"""The kit in test cases of Django: in the transaction of TestCase, and without one."""

from __future__ import annotations

from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from flows import public
from flows.models import Flow, Message, Run
from flows.testing import FlowTestMixin
from tests.integration.kit.documents import ECHO, flow_of

WRITE = "tests.integration.kit.steps.write"
REJECT = "def run(message, context):\n    raise Reject('no')\n"
callables = override_settings(ASYNCENGINE_CALLABLE_MODULES=["tests.integration.kit.steps"])


class Heard:
    """What signals say while a test runs."""

    def __init__(self, test: TestCase | TransactionTestCase) -> None:
        self.ends: list[dict[str, Any]] = []
        self.letters: list[dict[str, Any]] = []
        for signal, receive in (
            (public.run_finished, self.hear_end),
            (public.dead_letter_made, self.hear_letter),
        ):
            signal.connect(receive)
            test.addCleanup(signal.disconnect, receive)

    def hear_end(self, sender: Any, signal: Any, **values: Any) -> None:
        self.ends.append(values)

    def hear_letter(self, sender: Any, signal: Any, **values: Any) -> None:
        self.letters.append(values)


class InATransaction(FlowTestMixin, TestCase):
    flow_configuration: ClassVar = flow_of(ECHO)

    def test_a_flow_of_the_configuration_runs(self) -> None:
        run = self.flow_kit.run("flow", {"n": 1})

        run.assert_completed()
        assert Run.objects.count() == 1

    def test_nothing_is_left_of_other_tests(self) -> None:
        """Whichever comes first, each finds the flow as it was configured."""
        assert Run.objects.count() == 0
        assert self.leave_another_flow() == ("COMPLETED", "another")

    def test_nothing_is_left_of_this_one(self) -> None:
        assert Run.objects.count() == 0
        assert self.leave_another_flow() == ("COMPLETED", "another")

    def leave_another_flow(self) -> tuple[str, Any]:
        self.flow_kit.configure(flow_of("def run(m, c):\n    return 'another'\n"))
        run = self.flow_kit.run("flow", {})
        return run.status, run.result

    def test_a_rolled_back_start_and_edit_leave_nothing_behind(self) -> None:
        try:
            with transaction.atomic():
                self.flow_kit.configure(flow_of("def run(m, c):\n    return 'never'\n"))
                public.start("flow", {})
                raise ValueError
        except ValueError:
            pass

        run = self.flow_kit.run("flow", {"n": 1})

        assert run.payload == {"n": 1}
        assert len(self.flow_kit.runs()) == 1

    def test_the_end_of_runs_is_told_within_the_test(self) -> None:
        heard = Heard(self)
        self.flow_kit.configure(flow_of(REJECT, name="bad"))

        good, bad = self.flow_kit.run("flow", {}), self.flow_kit.run("bad", {})
        cancelled = self.flow_kit.start("flow", {}).cancel()

        ends = [(end["correlation_id"], end["status"]) for end in heard.ends]
        assert ends == [(good.id, "COMPLETED"), (bad.id, "FAILED"), (cancelled.id, "CANCELLED")]
        assert [letter["dead_letter_id"] for letter in heard.letters] == [bad.dead_letters[0].id]

    def test_hooks_of_the_test_are_captured_and_those_of_workers_are_not(self) -> None:
        heard, called = Heard(self), []

        with self.captureOnCommitCallbacks(execute=True) as hooks:
            run = self.flow_kit.start("flow", {})
            transaction.on_commit(lambda: called.append("hook"))
            run.finish()
            assert (called, len(heard.ends)) == ([], 1)

        assert (called, len(hooks), len(heard.ends)) == (["hook"], 1, 1)

    def test_a_view_that_starts_a_flow_at_its_commit_is_followed(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(lambda: public.start("flow", {"of": "view"}))
        self.flow_kit.work()

        (run,) = self.flow_kit.runs("flow")
        run.assert_completed()

    def test_starts_are_counted_before_the_commit_that_never_comes(self) -> None:
        with transaction.atomic():
            public.start("flow", {})

        assert self.flow_kit.work() == 1

    @callables
    def test_a_callable_sees_and_writes_what_the_test_does(self) -> None:
        self.flow_kit.configure(flow_of(WRITE))

        self.flow_kit.run("flow", {"name": "a"}).assert_completed()

        assert Group.objects.filter(name="a 1").exists()


class Asynchronous(FlowTestMixin, TestCase):
    flow_configuration: ClassVar = flow_of(ECHO)

    async def test_a_flow_runs_beside_an_event_loop(self) -> None:
        id = await public.astart("flow", {"n": 1})

        await sync_to_async(self.flow_kit.work)()

        run = await sync_to_async(self.flow_kit.find)(id)
        await sync_to_async(run.assert_completed)()
        assert await sync_to_async(lambda: run.payload)() == {"n": 1}


class InProcess(FlowTestMixin, TestCase):
    flow_configuration: ClassVar = flow_of(ECHO, "setData(context.Data)")
    flows_in_process = True

    def test_a_flow_runs_without_script_hosts(self) -> None:
        self.flow_kit.run("flow", {"n": 1}).assert_completed()


class WithoutATransaction(FlowTestMixin, TransactionTestCase):
    flow_configuration: ClassVar = flow_of(ECHO)

    def test_a_flow_runs_and_its_commits_are_real(self) -> None:
        heard = Heard(self)
        called: list[str] = []

        run = self.flow_kit.run("flow", {"n": 1})
        transaction.on_commit(lambda: called.append("at once"))

        run.assert_completed()
        assert not connection.in_atomic_block
        assert (len(heard.ends), called) == (1, ["at once"])
        assert not Message.objects.exists()

    @callables
    def test_what_a_callable_swallows_harms_nothing_where_each_statement_is_committed(self) -> None:
        self.flow_kit.configure(flow_of(WRITE))

        run = self.flow_kit.run("flow", {"name": "a", "do": "swallow"})

        run.assert_completed()
        assert Group.objects.get().name == "a 1"

    @callables
    def test_a_transaction_that_a_callable_leaves_open_is_its_error(self) -> None:
        self.flow_kit.configure(flow_of(WRITE, queues={"one": {"maxDeliveries": 1}}))

        run = self.flow_kit.run("flow", {"name": "a", "do": "leave open"})

        run.assert_failed("left a transaction open")
        assert not connection.in_atomic_block

    def test_a_flow_is_configured_for_each_test(self) -> None:
        assert Flow.objects.count() == 1
