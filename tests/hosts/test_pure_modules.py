"""Modules that decide and store nothing need no model and no database."""

import subprocess
import sys


def test_the_rule_needs_no_model_and_no_database():
    code = (
        "import sys, flows.worker.redelivery;"
        "assert 'flows.models' not in sys.modules and 'flows.store' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
