"""Runs the scripts of a test in script hosts or in this process, and callables in this process."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.conf import settings

from flows.starts.by_scripts import StartService
from flows.testing.transactions import as_if_alone
from scripts.callables.calls import CallableCall, Output, contract_of
from scripts.callables.service_client import use_start_service
from scripts.callables.watchdog import TimeIsUp
from scripts.host.languages import compiled
from scripts.pool.host_pool import HostPool
from scripts.pool.sandbox_probe import missing_measures, scripts_may_run
from scripts.pool.thread_pool import SameThread
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.envelope import complete
from scripts.protocol.errors import ScriptError
from scripts.protocol.outputs import fault_of
from scripts.protocol.services import (
    CACHE_SERVICE,
    CONFIG_SERVICE,
    SECRET_SERVICE,
    SIGN_SERVICE,
    START_SERVICE,
    STATE_SERVICE,
    TABLE_SERVICE,
    Deadline,
    Service,
)
from scripts.services.engine import ConfigService, SecretService
from scripts.services.flow_states import FlowStates
from scripts.services.shared_values import SharedValues
from scripts.services.signatures import Signatures
from scripts.services.tables import TableFiles

if TYPE_CHECKING:
    from flows.testing.clock import Clock
    from flows.testing.outside import OutsideCalls


class KitPool(HostPool):
    """The script hosts of a thread. They stay warm from test to test, one host for a step.

    What scripts ask for is served in this thread, on the test's connection.
    """

    def __init__(self) -> None:
        self.cached = SharedValues()
        self.tables = TableFiles(threaded=False)
        services: dict[str, Service] = {
            "http": self._call_outside,
            SECRET_SERVICE: SecretService(),
            CONFIG_SERVICE: ConfigService(),
            CACHE_SERVICE: self.cached,
            SIGN_SERVICE: Signatures(SecretService(for_scripts=False)),
            STATE_SERVICE: FlowStates(),
            TABLE_SERVICE: self.tables,
            START_SERVICE: StartService(),
        }
        self.allow_unsandboxed = settings.ASYNCENGINE_UNSEALED_SCRIPTS
        super().__init__(
            services=lambda: services,
            allow_unsandboxed=self.allow_unsandboxed,
            request_threads=SameThread,
        )
        use_start_service(StartService(lets_go=False))
        self.owner = owner()
        self.outside: OutsideCalls | None = None
        self.clock: Clock | None = None
        self.is_in_process = False

    def submit(self, program: Program, site: CallSite, calls: list[Call], hosts: int) -> None:
        for call in calls:
            # By the machine's clock: the test may have its own.
            call.start_by = 0.0
        if not program.is_callable and not self.is_in_process:
            require_hosts()
            super().submit(program, site, calls, 1)
            return
        kind = CallableHere if program.is_callable else ScriptHere
        self._unfinished += len(calls)
        self._report([kind(program, site, call).run() for call in calls])

    def collect(self, timeout: float) -> list[Outcome]:
        assert self.clock is not None
        return [self.clock.stamped(outcome) for outcome in super().collect(timeout)]

    def _call_outside(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        assert self.outside is not None
        return self.outside(program, request, deadline)


def require_hosts() -> None:
    """Raise RuntimeError if the sandbox is incomplete: no script would ever run."""
    if not scripts_may_run():
        raise RuntimeError(
            "Scripts cannot run in hosts on this machine, because its sandbox is incomplete;"
            f" missing: {', '.join(missing_measures())}. Run them in the test's process"
            " (flow_kit_in_process, flows_in_process), or set ASYNCENGINE_UNSEALED_SCRIPTS=1."
        )


class CallableHere(CallableCall):
    """A call of a callable in the test's thread, connection and transaction."""

    _stopped_by: BaseException | None = None

    def run(self) -> Outcome:
        """Raise only exceptions that end the test: Ctrl+C, and those of pytest itself."""
        outcome = self.outcome(around=self._around)
        if self._stopped_by is not None:
            raise self._stopped_by
        return outcome

    def _around(self, run: Callable[[], Output]) -> Output:
        try:
            return as_if_alone(run)
        except (Exception, SystemExit, TimeIsUp):
            raise
        except BaseException as error:
            self._stopped_by = error
            raise


class ScriptHere(CallableHere):
    """A call of a script in this process: no sandbox, no limits on time and memory."""

    def _run(self) -> Output:
        program, call, site = self.program, self.call, self._site
        contract = contract_of(program.input_schema, program.output_schema)
        contract.check_input(call.body)
        libraries = [(library.name, library.code) for library in program.libraries]
        script = compiled(program.language, program.name, program.code, libraries)
        context, warning = self._context(), None
        try:
            output, is_last = context._ending(script.run(call.body, context), site.is_last)
            if not is_last:
                output, warning = complete(output, call.correlation_id)
            text = context._encoded(output)
        except ScriptError:
            raise
        except Exception as error:
            raise script.explain(error) from error
        finally:
            script.forget()
        if fault := fault_of(text, call.body, call.correlation_id, is_last):
            raise fault
        contract.check_output(text, is_last)
        self._finishes, self._goes_to = bool(context._finish), context._goes_to
        return text, warning


def owner() -> tuple[int, int]:
    """Return the key of a pool. Its processes end with the thread that made it."""
    return os.getpid(), threading.get_ident()


_pool: KitPool | None = None


def pool() -> KitPool:
    """Return the pool of this thread."""
    global _pool
    if _pool is not None and _pool.allow_unsandboxed != settings.ASYNCENGINE_UNSEALED_SCRIPTS:
        close_pool()
    if _pool is None or _pool.owner != owner():
        _pool = KitPool()
    return _pool


@atexit.register
def close_pool() -> None:
    """Stop the script hosts that tests have used."""
    global _pool
    if _pool is not None and _pool.owner == owner():
        _pool.close()
    _pool = None
