"""That a system which lacks a measure of the seal is told so, and runs scripts without it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks

from scripts.host import seal

# Behind a filter that knows no filters, as on a kernel built without them. The numbers of prctl are
# those of x86-64 and aarch64.
WITHOUT_FILTERS = """
import ctypes, json, platform, struct
from scripts.host import seccomp
from scripts.calls import Call, CallSite, Program
from scripts.pool.runner import HostPool
from scripts.host.seal import missing_here

prctl = {"x86_64": 157, "aarch64": 167}[platform.machine()]
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
seccomp.install(b"".join(struct.pack("HBBI", *instruction) for instruction in [
    (0x20, 0, 0, 0), (0x15, 0, 3, prctl), (0x20, 0, 0, 16), (0x15, 0, 1, 22),
    (0x06, 0, 0, 0x50016), (0x06, 0, 0, 0x7FFF0000),
]))
pool = HostPool()
program = Program(1, "echo", "python", "def run(m, c): return m", 5, 64)
call = Call(1, "c", 1, "d", b'{"correlationId":"c","payload":1}')
pool.submit(program, CallSite("f", "s", "q", False), [call], 1)
(outcome,) = pool.collect(20)
print(json.dumps([missing_here(), sorted(pool.missing_measures), outcome.output.decode()]))
pool.close()
"""


def test_nothing_is_missing_here() -> None:
    assert seal.missing_here() == []
    assert "scripts.W001" not in {message.id for message in run_checks()}


@pytest.mark.parametrize("machine", ["i686", "riscv64", ""])
def test_check_names_an_architecture_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)

    (warning,) = [message for message in run_checks() if message.id == "scripts.W001"]

    assert warning.msg.endswith("Missing: filter of system calls.")


def test_check_names_what_only_linux_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")

    assert seal.missing_here() == [
        "death with the worker",
        "no new privileges",
        "no tracing",
        "filter of system calls",
    ]


def test_kernel_without_filters_is_told_and_scripts_run() -> None:
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_FILTERS],
        cwd=Path(__file__).parents[2],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    beforehand, told, output = json.loads(process.stdout)
    assert beforehand == told == ["filter of system calls"]
    assert json.loads(output)["payload"] == 1
    assert "scripts are sealed incompletely, missing: filter of system calls" in process.stderr
