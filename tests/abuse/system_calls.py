"""Abusive scripts in Python that make system calls themselves."""

import platform

from tests.abuse.attack import REFUSED, Attack, killed_by

# Arguments with which the calls would do something, with their numbers on x86-64 and aarch64.
_CALLS: dict[str, tuple[int | None, int, str]] = {
    "openat": (257, 56, "-100, bait['file'].encode(), 0"),
    "openat2": (437, 437, "-100, bait['file'].encode(), bytes(24), 24"),
    "open_by_handle_at": (304, 265, "-100, bytes(128), 0"),
    "name_to_handle_at": (303, 264, "-100, bait['file'].encode(), bytes(128), bytes(8), 0"),
    "memfd_create": (319, 279, "b'x', 0"),
    "execveat": (322, 281, "-100, b'/bin/true', 0, 0, 0"),
    "clone": (56, 220, "17, 0, 0, 0, 0"),
    "clone3": (435, 435, "bytes(88), 88"),
    "vfork": (58, 220, ""),
    "ptrace": (101, 117, "16, bait['neighbour'], 0, 0"),
    "ptrace of itself": (101, 117, "0, 0, 0, 0"),
    "process_vm_readv": (310, 270, "bait['neighbour'], bytes(16), 1, bytes(16), 1, 0"),
    "process_vm_writev": (311, 271, "bait['neighbour'], bytes(16), 1, bytes(16), 1, 0"),
    "process_madvise": (440, 440, "3, bytes(16), 1, 20, 0"),
    "pidfd_open": (434, 434, "bait['neighbour'], 0"),
    "pidfd_getfd": (438, 438, "channel(), 0, 0"),
    "pidfd_send_signal": (424, 424, "channel(), 9, 0, 0"),
    "kcmp": (312, 272, "os.getpid(), bait['neighbour'], 0, 0, 0"),
    "tkill": (200, 130, "bait['neighbour'], 9"),
    "tgkill": (234, 131, "bait['neighbour'], bait['neighbour'], 9"),
    "rt_sigqueueinfo": (129, 138, "bait['worker'], 10, bytes(128)"),
    "io_uring_setup": (425, 425, "8, bytes(120)"),
    "io_uring_enter": (426, 426, "channel(), 1, 1, 0, 0, 0"),
    "io_uring_register": (427, 427, "-1, 17, bytes(64), 1"),
    "bpf": (321, 280, "0, bytes(128), 128"),
    "userfaultfd": (323, 282, "1"),
    "perf_event_open": (298, 241, "bytes(128), 0, -1, -1, 0"),
    "keyctl": (250, 219, "0, -3, 1"),
    "add_key": (248, 217, "b'user', b'x', b'y', 1, -3"),
    "mount": (165, 40, "b'none', b'/tmp', b'tmpfs', 0, 0"),
    "fsopen": (430, 430, "b'tmpfs', 0"),
    "unshare": (272, 97, "0x10000000"),
    "setns": (308, 268, "channel(), 0"),
    "pivot_root": (155, 41, "b'/', b'/'"),
    "chroot": (161, 51, "b'/tmp'"),
    "landlock_create_ruleset": (444, 444, "0, 0, 1"),
    "seccomp listener": (317, 277, "1, 8, bytes(16)"),
    "prctl to be dumped": (157, 167, "4, 1, 0, 0, 0"),
    "prctl to outlive the worker": (157, 167, "1, 0, 0, 0, 0"),
    "prctl for a filter": (157, 167, "22, 2, bytes(16), 0, 0"),
    "personality": (135, 92, "0x400000"),
    "shmget": (29, 194, "0, 4096, 0o1666"),
    "msgget": (68, 186, "0, 0o1666"),
    "mq_open": (240, 180, "b'x', 66, 0o666, 0"),
    "shared huge pages": (9, 222, "0, 1 << 21, 3, 0x40021, -1, 0"),
    "mmap of the channel": (9, 222, "0, 4096, 1, 1, channel(), 0"),
    "mmap to be executed": (9, 222, "0, 4096, 7, 0x22, -1, 0"),
    "mprotect to be executed": (10, 226, "id(bait) & ~4095, 4096, 7"),
    "pkey_mprotect": (329, 288, "id(bait) & ~4095, 4096, 7, -1"),
    "remap_file_pages": (216, 234, "id(bait) & ~4095, 4096, 0, 0, 0"),
    "priority inheriting futex": (202, 98, "ctypes.create_string_buffer(64), 6, 1, 0, 0, 0"),
    "setitimer": (38, 103, "0, bytes(32), 0"),
    "timer_create": (222, 107, "0, 0, bytes(8)"),
    "rt_sigaction": (13, 134, "11, bytes(152), 0, 8"),
    "sched_setaffinity": (203, 122, "bait['worker'], 128, bytes([1]) + bytes(127)"),
    "setpriority": (141, 140, "0, bait['worker'], 19"),
    "ioctl of the channel": (16, 29, "channel(), 0x541B, bytes(8)"),
    "fcntl of the channel": (72, 25, "channel(), 0, 9"),
    "shutdown of the channel": (48, 210, "channel(), 2"),
    "sendmsg": (46, 211, "channel(), bytes(56), 0"),
    "recvfrom": (45, 207, "channel(), ctypes.create_string_buffer(9), 9, 0x40, 0, 0"),
    "kexec_load": (246, 104, "0, 0, 0, 0"),
    "init_module": (175, 105, "b'x', 1, b''"),
    "reboot": (169, 142, "0xfee1dead, 672274793, 0x89abcdef, 0"),
    "clock_gettime of the worker": (
        228,
        113,
        "(~bait['worker'] << 3) | 2, ctypes.create_string_buffer(16)",
    ),
    "clock_getres of a neighbour": (
        229,
        114,
        "(~bait['neighbour'] << 3) | 2, ctypes.create_string_buffer(16)",
    ),
    "clock_settime": (227, 112, "0, bytes(16)"),
    "sethostname": (170, 161, "b'x', 1"),
    "syslog": (103, 116, "3, ctypes.create_string_buffer(99), 99"),
    "getppid": (110, 173, ""),
    "a call of the year after next": (999, 999, "0"),
}

SYSTEM_CALLS = {
    name: Attack(REFUSED, f"return syscall({number}, {arguments})")
    for name, (of_x86_64, of_aarch64, arguments) in _CALLS.items()
    for number in [of_x86_64 if platform.machine() == "x86_64" else of_aarch64]
}

# Ways into the kernel that only x86-64 has.
DOORS = {
    "x32 getpid": Attack(killed_by("SIGSYS"), "return syscall(0x40000000 + 39)"),
    "x32 open": Attack(
        killed_by("SIGSYS"), "return syscall(0x40000000 + 2, bait['file'].encode(), 0)"
    ),
    "x32 execve": Attack(
        killed_by("SIGSYS"), "return syscall(0x40000000 + 520, b'/bin/true', 0, 0)"
    ),
    "call number -1": Attack(killed_by("SIGSYS"), "return syscall(-1)"),
    "32-bit call": Attack(
        killed_by("SIGSYS"),
        """
        # The two bytes of int 0x80 occur in libc by chance.
        start = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
        at = ctypes.string_at(start, 512 * 1024).index(b"\\xcd\\x80")
        return ctypes.CFUNCTYPE(ctypes.c_int, use_errno=True)(start + at)()
        """,
    ),
}
