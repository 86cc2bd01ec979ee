import subprocess
import sys

import pytest

# Leaves a gap of 96 bytes on each of 4,000 pages, and then counts the pages of 4,000 new blocks.
GAPS = """
import ctypes, os
from scripts.host.forks import prepare_for_forks
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = [(libc.malloc(96), libc.malloc(4000)) for _ in range(4000)]
for small, _ in blocks:
    libc.free(small)
prepare_for_forks()
if os.fork() == 0:
    print(len({libc.malloc(96) // 4096 for _ in range(4000)}), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone tells its gaps")
def test_what_a_forked_process_allocates_is_not_spread_over_shared_pages() -> None:
    ran = subprocess.run([sys.executable, "-c", GAPS], capture_output=True, text=True, check=True)

    assert int(ran.stdout) < 400


# Leaves an object free on each of 2,000 pages, and then counts the pages of 1,900 new ones.
POOLS = """
import os
from scripts.host.forks import prepare_for_forks
objects = [bytes(60) for _ in range(80_000)]
for number in range(0, 80_000, 40):
    objects[number] = None
prepare_for_forks()
if os.fork() == 0:
    print(len({id(each) // 4096 for each in [bytes(60) for _ in range(1_900)]}), flush=True)
    os._exit(0)
os.wait()
"""
# The name of an attribute that Python has looked up, which it keeps to find it again.
NAMES = """
import sys
from scripts.host.forks import prepare_for_forks
class Looked: pass
name = "".join(["looked", "_up"])
before = sys.getrefcount(name)
getattr(Looked, name, None)
assert sys.getrefcount(name) > before
prepare_for_forks()
print(sys.getrefcount(name) - before)
"""


def test_objects_of_a_forked_process_are_not_spread_over_shared_pages() -> None:
    ran = subprocess.run([sys.executable, "-c", POOLS], capture_output=True, text=True, check=True)

    assert int(ran.stdout) < 200


def test_names_that_were_looked_up_are_forgotten_before_forks() -> None:
    ran = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)

    assert int(ran.stdout) == 0
