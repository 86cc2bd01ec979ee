"""A system without a measure of the sandbox reports it, and runs no script unless told to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.checks import run_checks

from scripts.host import sandbox
from scripts.pool import sandbox_probe
from scripts.pool.host_pool import HostPool
from scripts.pool.sandbox_probe import missing_measures
from scripts.protocol.calls import Call, CallSite, Program
from tests.waiting import PATIENCE

# Behind a filter that refuses a call with this first argument, as on a kernel that lacks it. The
# numbers are those of x86-64 and aarch64. Each case has a fork of its own, with a log of its own.
WITHOUT_A_CALL = """
import ctypes, json, os, platform, struct, sys
from scripts.host import seccomp
from scripts.protocol.calls import Call, CallSite, Program
from scripts.pool.host_pool import HostPool
import django
django.setup()
from django.conf import settings
from scripts.pool.sandbox_probe import missing_measures, scripts_may_run

def run(numbers, option, is_allowed, log):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    settings.ASYNCENGINE_UNSEALED_SCRIPTS = is_allowed
    call = int(numbers.split(",")[platform.machine() != "x86_64"])
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    seccomp.install(b"".join(struct.pack("HBBI", *instruction) for instruction in [
        (0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, 16), (0x15, 0, 1, option),
        (0x06, 0, 0, 0x50016), (0x06, 0, 0, 0x7FFF0000),
    ]))
    pool = HostPool(allow_unsandboxed=is_allowed)
    program = Program(1, "echo", "python", "def run(m, c): return m", 60, 64)
    call = Call(1, "c", 1, "d", b'{"correlationId":"c","payload":1}')
    pool.submit(program, CallSite("f", "s", "q", False), [call], 1)
    (outcome,) = pool.collect(120)
    output = outcome.output and outcome.output.decode()
    beforehand = [missing_measures(), scripts_may_run()]
    told = [*beforehand, sorted(pool.missing_measures), output, str(outcome.error)]
    print(json.dumps(told), flush=True)
    pool.close()

for case in sys.stdin.readlines():
    if (pid := os.fork()) == 0:
        run(*json.loads(case))
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_nothing_is_missing_here() -> None:
    assert sandbox.missing_here() == missing_measures() == []
    assert "scripts.W001" not in {message.id for message in run_checks(databases=[])}


@pytest.mark.parametrize("machine", ["i686", "riscv64", ""])
def test_check_names_an_unknown_architecture(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)

    (warning,) = [message for message in run_checks(databases=[]) if message.id == "scripts.W001"]

    assert warning.msg.startswith("No script runs on this machine.")
    assert warning.msg.endswith("Missing: filter of system calls.")


def test_check_warns_of_scripts_that_run_without_the_sandbox(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    settings.ASYNCENGINE_UNSEALED_SCRIPTS = True

    (warning,) = [message for message in run_checks(databases=[]) if message.id == "scripts.W001"]

    assert warning.msg.startswith("Scripts run without the complete sandbox on")


def test_check_names_what_only_linux_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")

    assert sandbox.missing_here() == [
        "death with the worker",
        "no new privileges",
        "no tracing",
        "no writable code",
        "filter of system calls",
    ]


# The call that a measure needs, by its numbers, and its first argument.
MEASURES = {
    "filter of system calls": ("157,167", 22),
    "no new privileges": ("157,167", 38),
    "no tracing": ("157,167", 4),
    "death with the worker": ("157,167", 1),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], list[Any]]:
    """Return what each missing measure leads to, where scripts may run without it or not."""
    logs = tmp_path_factory.mktemp("logs")
    cases = {
        (measure, is_allowed): [*call, is_allowed, str(logs / f"{measure} {is_allowed}")]
        for measure, call in MEASURES.items()
        for is_allowed in (False, True)
    }
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_CALL],
        cwd=Path(__file__).parents[2],
        input="".join(f"{json.dumps(case)}\n" for case in cases.values()),
        capture_output=True,
        text=True,
        timeout=len(cases) * PATIENCE,
        check=True,
    )
    lines = map(json.loads, process.stdout.splitlines())
    return {
        case: [*line, Path(cases[case][-1]).read_text()]
        for case, line in zip(cases, lines, strict=True)
    }


@pytest.mark.sampled(3)
@pytest.mark.parametrize("measure", MEASURES)
def test_no_script_runs_where_a_measure_of_the_sandbox_is_missing(
    told: dict[tuple[str, bool], list[Any]], measure: str
) -> None:
    beforehand, may_run, by_pool, output, error, log = told[measure, False]

    assert measure in beforehand
    assert set(beforehand) <= set(by_pool)
    assert not may_run
    assert output is None
    assert "The script did not run: its process could not be sandboxed. Missing here:" in error
    assert measure in error
    assert "the sandbox of scripts is incomplete, missing: " in log


@pytest.mark.parametrize("measure", MEASURES)
def test_scripts_run_with_an_incomplete_sandbox_where_that_is_allowed(
    told: dict[tuple[str, bool], list[Any]], measure: str
) -> None:
    _, may_run, by_pool, output, _, _ = told[measure, True]

    assert may_run
    assert measure in by_pool
    assert json.loads(output)["payload"] == 1


def test_a_machine_that_had_no_process_to_spare_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sandbox_probe, "_probe", sandbox_probe._Probe())
    monkeypatch.setattr(sandbox_probe, "_AGAIN_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nowhere")
        assert not sandbox_probe.scripts_may_run()

    assert sandbox_probe.scripts_may_run()


def test_no_memory_of_a_host_can_be_written_and_executed() -> None:
    pool = HostPool()
    program = Program(1, "echo", "javascript", "setData(context.Data)", 5, 64)
    call = Call(1, "c", 1, "d", b'{"correlationId":"c","payload":1}')
    pool.submit(program, CallSite("f", "s", "q", False), [call], 1)
    (outcome,) = pool.collect(PATIENCE)
    (host,) = psutil.Process(zygote_of(pool)).children()

    rights = [line.split()[1] for line in Path(f"/proc/{host.pid}/maps").read_text().splitlines()]

    assert outcome.output is not None
    assert any("x" in each for each in rights)
    assert [each for each in rights if "w" in each and "x" in each] == []
    pool.close()


def zygote_of(pool: HostPool) -> int:
    assert pool._hosts.zygote is not None
    return pool._hosts.zygote._process.pid
