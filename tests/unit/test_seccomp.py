"""Which system calls the filter of a script host lets through, on each architecture.

The filter is run by a small interpreter of the kernel's packet filter, so that the one for another
machine than this is tested, too. That the kernel takes it, tests/hosts and tests/abuse see.
"""

import errno
import mmap
import struct
from collections.abc import Callable

import pytest

from scripts.host import seccomp, system_calls
from scripts.host.seccomp import ALLOW, KILL, REFUSE

CHANNEL, PID = 5, 4711
REFUSED = REFUSE | errno.EPERM
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
FUTEX_REQUEUE, FUTEX_LOCK_PI, PRIVATE_FUTEX, REALTIME = 3, 6, 128, 256

# What none of them may do, with the numbers on x86-64 and aarch64 (None: there is no such call).
DANGEROUS = {
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "open_by_handle_at": (304, 265),
    "socket": (41, 198),
    "connect": (42, 203),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_sigaction": (13, 134),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "remap_file_pages": (216, 234),
    "pkey_mprotect": (329, 288),
    "personality": (135, 92),
    "seccomp": (317, 277),
    "prctl": (157, 167),
    "arch_prctl": (158, None),
    "prlimit64": (302, 261),
    "setresuid": (117, 147),
    "capset": (126, 91),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "dup": (32, 23),
    "pipe2": (293, 59),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "modify_ldt": (154, None),
    "getppid": (110, 173),
    "sched_setaffinity": (203, 122),
    "setitimer": (38, 103),
    "landlock_create_ruleset": (444, 444),
}

Decision = Callable[..., int]


@pytest.fixture(params=sorted(system_calls.ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def decision(machine: str) -> Decision:
    """Tell what the filter says to a call by its name or number, with these arguments."""
    architecture = system_calls.ARCHITECTURES[machine]
    rules = system_calls.rules(CHANNEL, PID)
    program = seccomp.program(architecture, rules, system_calls.REFUSAL)

    def decision(call: str | int, *arguments: int, token: int = architecture.token) -> int:
        number = architecture.numbers[call] if isinstance(call, str) else call
        return run(program, number, token, arguments)

    return decision


def run(program: bytes, number: int, token: int, arguments: tuple[int, ...]) -> int:
    """Run a program of the kernel's packet filter, as far as filters of system calls need it."""
    padded = [argument % 2**64 for argument in (*arguments, *[0] * 6)][:6]
    call = struct.pack("<IIQ6Q", number, token, 0, *padded)
    instructions = list(struct.iter_unpack("HBBI", program))
    assert 0 < len(instructions) <= 4096  # BPF_MAXINSNS
    at = accumulator = 0
    while True:
        operation, if_true, if_false, value = instructions[at]
        at += 1
        match operation:
            case 0x20:
                assert value % 4 == 0
                (accumulator,) = struct.unpack_from("<I", call, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


@pytest.mark.parametrize("name", DANGEROUS)
def test_dangerous_calls_are_refused(machine: str, decision: Decision, name: str) -> None:
    number = dict(zip(("x86_64", "aarch64"), DANGEROUS[name], strict=True))[machine]

    if number is None:
        assert name not in system_calls.ARCHITECTURES[machine].numbers
    else:
        assert decision(number, CHANNEL) == REFUSED


def test_all_that_no_rule_names_is_refused(machine: str, decision: Decision) -> None:
    allowed = set(system_calls.ARCHITECTURES[machine].numbers.values())

    decisions = {decision(number) for number in range(2000) if number not in allowed}

    assert decisions == {REFUSED}


@pytest.mark.parametrize("name", ["clock_gettime", "clock_getres", "clock_nanosleep"])
def test_clocks_are_those_of_all_and_the_own_ones(decision: Decision, name: str) -> None:
    own = {clock: decision(name, clock) for clock in (0, 1, 2, 3, 4, 5, 6, 7, 11)}
    of_others = [(~PID << 3) | kind for kind in (0, 1, 2, 4, 6)] + [(~5 << 3) | 3, -6, -2]

    assert set(own.values()) == {ALLOW}
    assert {decision(name, clock) for clock in (*of_others, 8, 9, 10, 12, 2**31)} == {REFUSED}


@pytest.mark.parametrize("name", ["brk", "munmap", "gettimeofday", "getrandom", "exit_group"])
def test_harmless_calls_are_allowed(decision: Decision, name: str) -> None:
    assert decision(name, 1, 2, 3, 4, 5, 6) == ALLOW


@pytest.mark.parametrize("token", [0x40000003, 0xC00000F3, 0x40000028, 0])
def test_calls_of_another_architecture_end_the_process(decision: Decision, token: int) -> None:
    assert decision("getpid", token=token) == KILL


@pytest.mark.parametrize("number", [0x40000000, 0x40000000 + 39, 0x40000000 + 520, 2**32 - 1])
def test_x32_calls_end_the_process(decision: Decision, number: int) -> None:
    assert decision(number, CHANNEL) == KILL


@pytest.mark.parametrize("name", ["read", "write"])
def test_only_the_channel_is_read_and_written(decision: Decision, name: str) -> None:
    assert decision(name, CHANNEL, 0x7FFF_0000_0000, 100) == ALLOW
    assert {decision(name, fd) for fd in (0, 1, 2, CHANNEL + 1, -1)} == {REFUSED}


@pytest.mark.parametrize("name", ["kill", "tgkill"])
def test_signals_go_to_no_other_process(decision: Decision, name: str) -> None:
    assert decision(name, PID, 6) == ALLOW
    assert {decision(name, pid, 9) for pid in (PID - 1, 1, 0, -1, -PID)} == {REFUSED}


def test_memory_is_never_executable(decision: Decision) -> None:
    assert decision("mmap", 0, 4096, READ_WRITE, PRIVATE, -1, 0) == ALLOW
    assert decision("mmap", 0, 4096, READ_WRITE | mmap.PROT_EXEC, PRIVATE, -1, 0) == REFUSED
    assert decision("mprotect", 0x1000, 4096, READ_WRITE) == ALLOW
    assert decision("mprotect", 0x1000, 4096, mmap.PROT_EXEC) == REFUSED


def test_memory_is_of_no_file_and_takes_no_huge_pages(decision: Decision) -> None:
    assert decision("mmap", 0, 4096, READ_WRITE, mmap.MAP_PRIVATE, CHANNEL, 0) == REFUSED
    assert decision("mmap", 0, 4096, READ_WRITE, PRIVATE | 0x40000, -1, 0) == REFUSED


@pytest.mark.parametrize("operation", [0, 1, 9, 10])
@pytest.mark.parametrize("flags", [0, PRIVATE_FUTEX, PRIVATE_FUTEX | REALTIME])
def test_futexes_wait_and_wake(decision: Decision, operation: int, flags: int) -> None:
    assert decision("futex", 0x1000, operation | flags) == ALLOW


@pytest.mark.parametrize("operation", [FUTEX_REQUEUE, FUTEX_LOCK_PI, 11, 13, 0x8000_0000])
def test_futexes_do_nothing_else(decision: Decision, operation: int) -> None:
    assert decision("futex", 0x1000, operation) == REFUSED
    assert decision("futex", 0x1000, operation | PRIVATE_FUTEX) == REFUSED
