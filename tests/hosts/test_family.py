"""A process with its descendants."""

import os
import subprocess
import sys

from flows.benchmark.family import family
from tests.waiting import wait_for


def test_a_family_has_the_children_of_children():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        wait_for(lambda: len(family(child.pid)) == 2, what="a child of the child")
        assert set(family(child.pid)) < set(family(os.getpid()))
    finally:
        child.communicate(b"\n")
