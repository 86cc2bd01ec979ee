"""Calls that schemathesis makes of our document: right ones, wrong ones, and odd ones.

Each is answered as the document says, and none with a 5xx. The seed is fixed, so that a run finds
what the run before has found.
"""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import PASSWORD, Installation, serving

pytestmark = pytest.mark.long

ECHO = "def run(message, context):\n    return message\n"
FAILS = "def run(message, context):\n    raise Reject('never')\n"
SCHEMA = {"properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
CONFIGURATION = {
    "scripts": [
        {"name": "echo", "code": ECHO, "inputSchema": SCHEMA},
        {"name": "fails", "code": FAILS},
    ],
    "queues": [{"name": "echo"}, {"name": "fails"}],
    "flows": [
        {"name": "echo", "steps": [{"script": "echo", "queue": "echo"}]},
        {"name": "fails", "steps": [{"script": "fails", "queue": "fails"}]},
    ],
}
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,allow_header_conformance"
)
# A stream goes on, and what ends the login of the calls would leave nothing to call.
LEFT_OUT = ("streamEvents", "streamRunEvents", "revokeToken")
MINUTES = 300


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with serving(tmp_path_factory.mktemp("calls"), CONFIGURATION) as installation:
        installation.start("fails", {})
        yield installation


@pytest.mark.parametrize(
    ("login", "examples"), [(f"admin:{PASSWORD}", 6), ("", 2)], ids=["admin", "anonymous"]
)
def test_generated_calls_are_answered_as_the_document_says(
    called: Installation, tmp_path: Path, login: str, examples: int
) -> None:
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not on the path")
    address = f"http://127.0.0.1:{called.port}"
    header = f"Authorization: Basic {b64encode(login.encode()).decode()}"

    said = subprocess.run(
        [
            *(program, "run", f"{address}/async/specifications/openapi.json"),
            *("--url", address, "--checks", CHECKS, "--phases", "examples,fuzzing"),
            *("--seed", "1", "--generation-deterministic", "--max-examples", str(examples)),
            *("--request-timeout", "70", "--no-color", "--continue-on-failure"),
            *(part for name in LEFT_OUT for part in ("--exclude-operation-id", name)),
            *(("--header", header) if login else ()),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=MINUTES,
    )

    assert said.returncode == 0, said.stdout[-8_000:] + said.stderr
