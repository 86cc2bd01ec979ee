"""The system calls that a script host in its sandbox may make, and their numbers.

All others are refused. CPython and the allowed modules need these once everything is imported:
memory, clocks, random numbers, the one descriptor that leads to the worker, the way back from a
signal, and the end of the process.
"""

import errno
import mmap
from collections.abc import Mapping

from scripts.host.seccomp import Architecture, Condition, Rule

# A refused call fails as if the user had no right to it: Python raises PermissionError at the
# script's line, and libraries go on without. A killed process would show the author only a signal.
REFUSAL = errno.EPERM

# linux/mman.h has it, Python's mmap does not.
_MAP_HUGETLB = 0x40000
# linux/futex.h: wait, wake, and both with a bit set. The other operations need a second thread, and
# had faults in kernels. Two flags choose a private futex and the clock.
_FUTEX_OPERATIONS = (0, 1, 9, 10)
_FUTEX_FLAGS = 0x180
# linux/time.h: the clocks of the system, and those of the own process and thread. Numbers below
# zero are the CPU clocks of other processes.
_CLOCKS = (0, 1, 2, 3, 4, 5, 6, 7, 11)

_NUMBERS_X86_64 = {
    "read": 0,
    "write": 1,
    "close": 3,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "nanosleep": 35,
    "getpid": 39,
    "exit": 60,
    "kill": 62,
    "gettimeofday": 96,
    "getrusage": 98,
    "times": 100,
    "getuid": 102,
    "getgid": 104,
    "geteuid": 107,
    "getegid": 108,
    "getgroups": 115,
    "getresuid": 118,
    "getresgid": 120,
    "gettid": 186,
    "time": 201,
    "futex": 202,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "tgkill": 234,
    "getrandom": 318,
}
# "time" is no system call of its own here.
_NUMBERS_AARCH64 = {
    "close": 57,
    "read": 63,
    "write": 64,
    "exit": 93,
    "exit_group": 94,
    "futex": 98,
    "nanosleep": 101,
    "clock_gettime": 113,
    "clock_getres": 114,
    "clock_nanosleep": 115,
    "sched_yield": 124,
    "restart_syscall": 128,
    "kill": 129,
    "tgkill": 131,
    "rt_sigprocmask": 135,
    "rt_sigreturn": 139,
    "getresuid": 148,
    "getresgid": 150,
    "times": 153,
    "getgroups": 158,
    "getrusage": 165,
    "gettimeofday": 169,
    "getpid": 172,
    "getuid": 174,
    "geteuid": 175,
    "getgid": 176,
    "getegid": 177,
    "gettid": 178,
    "brk": 214,
    "munmap": 215,
    "mremap": 216,
    "mmap": 222,
    "mprotect": 226,
    "madvise": 233,
    "getrandom": 278,
}

# By the machine name of uname. The tokens are AUDIT_ARCH_* of linux/audit.h.
ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(0xC000003E, _NUMBERS_X86_64),
    "aarch64": Architecture(0xC00000B7, _NUMBERS_AARCH64),
}


def rules(channel: int, pid: int) -> dict[str, Rule]:
    """Return the calls that a host may make, and the arguments that they may have."""
    on_channel = (Condition(0, equals=(channel,)),)
    to_itself = (Condition(0, equals=(pid,)),)
    not_executable = Condition(2, mask=mmap.PROT_EXEC, equals=(0,))
    anonymous = Condition(3, mask=mmap.MAP_ANONYMOUS | _MAP_HUGETLB, equals=(mmap.MAP_ANONYMOUS,))
    known_clock = (Condition(0, equals=_CLOCKS),)
    known_futex = Condition(1, mask=0xFFFFFFFF ^ _FUTEX_FLAGS, equals=_FUTEX_OPERATIONS)
    conditions: dict[str, Rule] = {
        "read": on_channel,
        "write": on_channel,
        "mmap": (not_executable, anonymous),
        "mprotect": (not_executable,),
        "futex": (known_futex,),
        "clock_gettime": known_clock,
        "clock_getres": known_clock,
        "clock_nanosleep": known_clock,
        # What abort() does.
        "kill": to_itself,
        "tgkill": to_itself,
    }
    return {name: conditions.get(name, ()) for name in _NUMBERS_X86_64}
