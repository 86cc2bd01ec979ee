"""A cluster without the key of payloads leaves them to one with it, and goes on with the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.installation import Installation, installation_in
from tests.acceptance.processes import step
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

RUNS = 400
CODE = "def run(message, context):\n    return message\n"
CONFIGURATION = {
    "scripts": [{"name": "echo", "code": CODE}],
    # A delivery that counts would leave none.
    "queues": [{"name": name, "maxDeliveries": 1} for name in ("encrypted", "plain")],
    "flows": [
        {"name": name, "steps": [step("s", "echo", name, threads=4)]}
        for name in ("encrypted", "plain")
    ],
}
COMPLETED = """
    SELECT flow_name, count(*) FROM flows_run r JOIN flows_flowversion v ON v.id = flow_version_id
    WHERE r.status = 'COMPLETED' GROUP BY flow_name
"""
ATTEMPTS = "SELECT delivery, outcome, count(*) FROM flows_steprun GROUP BY delivery, outcome"


@contextmanager
def cluster(installation: Installation, keys: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a cluster with these keys of payloads, and end it well."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "qcluster"],
        cwd=installation.project,
        env=installation.environment | {"ASYNCENGINE_PAYLOAD_KEYS": keys},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def alarm(installation: Installation) -> str:
    """Return what doctor says of messages that cannot be read."""
    told = json.loads(installation.manage("doctor", "--json", check=False).stdout)
    found = {each["name"]: each for each in told["findings"]}["messages-unreadable"]
    return found["seen"] if found["state"] == "error" else ""


def start(installation: Installation, flow: str, payloads: Path, keys: str) -> None:
    environment = installation.environment
    installation.environment = environment | {"ASYNCENGINE_PAYLOAD_KEYS": keys}
    installation.manage("start", flow, "--payload", f"@{payloads}")
    installation.environment = environment


def test_messages_wait_for_a_cluster_with_their_key_and_others_go_on(tmp_path: Path) -> None:
    key, other = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    payloads = tmp_path / "payloads.json"
    payloads.write_text(json.dumps([{}] * RUNS))
    with installation_in(tmp_path) as installation:
        installation.configure(CONFIGURATION)
        start(installation, "encrypted", payloads, key)
        with cluster(installation, other) as keyless:
            said = wait_for(lambda: alarm(installation), what="the alarm")
            assert "encrypted" in said
            assert "ASYNCENGINE_PAYLOAD_KEYS does not have" in said
            start(installation, "plain", payloads, other)
            wait_for(
                lambda: installation.rows(COMPLETED) == [("plain", RUNS)], what="the other flow"
            )
            with cluster(installation, f"{other},{key}"):
                wait_for(
                    lambda: (
                        dict(installation.rows(COMPLETED)) == {"plain": RUNS, "encrypted": RUNS}
                    ),
                    what="the end of all runs",
                )
            assert keyless.poll() is None
            wait_for(lambda: not alarm(installation), what="the end of the alarm")
        assert installation.rows(ATTEMPTS) == [(1, "COMPLETED", 2 * RUNS)]
