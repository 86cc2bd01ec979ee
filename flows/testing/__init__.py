"""Tests of flows: run one to its end in the test's thread, connection and transaction.

    from flows.testing import FlowTestMixin

    class OrderTests(FlowTestMixin, TestCase):
        flow_configuration = BASE_DIR / "configuration"

        def test_an_order_is_charged(self):
            self.flow_kit.outside.post("https://pay.example.org/charges", json={"id": 7})

            run = self.flow_kit.run("order", {"amount": 5})

            run.assert_completed()

pytest has the same kit as the fixture `flow_kit`. No worker runs and no time passes: where a
message waits, for its back-off, a rate limit or a delayed start, the kit moves the engine's clock
on. No call leaves the machine: those that scripts make are answered by stubs.

The public names, all of them here:

    FlowKit        the kit: configure, start, start_many, run, work, advance, now, find, runs,
                   outside, secrets; also a context manager of its own
    FlowTestMixin  gives a test case of Django its `flow_kit`
    FlowRun        a run: its status, result, trace, logs, attempts, dead letters, assertions,
                   finish, cancel, reprocess, discard
    Letter         a dead letter of a run
    OutsideCalls   the stubs of outside calls, and the calls that were made
    Stub, Reply    one of them, and what it answers
    OutsideCall    a call of a script
    NotStubbed     a script has made a call for which there is no stub
    configure      import a configuration document or directory, without a kit
"""

from flows.testing.case import FlowTestMixin
from flows.testing.kit import FlowKit, configure
from flows.testing.outside import NotStubbed, OutsideCall, OutsideCalls, Reply, Stub
from flows.testing.run import FlowRun, Letter

__all__ = [
    "FlowKit",
    "FlowRun",
    "FlowTestMixin",
    "Letter",
    "NotStubbed",
    "OutsideCall",
    "OutsideCalls",
    "Reply",
    "Stub",
    "configure",
]


def __dir__() -> list[str]:
    """Offer the public names alone, not the modules that have them."""
    return __all__
