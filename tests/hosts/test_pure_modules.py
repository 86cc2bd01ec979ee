"""Modules that decide and store nothing need no model and no database."""

import subprocess
import sys


def test_the_rule_needs_no_model_and_no_database():
    code = "import sys, flows.worker.redelivery; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    ).stdout.split()

    assert "flows.worker.redelivery" in loaded
    assert not {"flows.models", "flows.store"} & set(loaded)
