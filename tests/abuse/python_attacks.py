"""Abusive scripts in Python."""

import platform

from tests.abuse.attack import (
    OUT_OF_MEMORY,
    PROTOCOL_BROKEN,
    REFUSED,
    SECONDS,
    TIMED_OUT,
    Attack,
    exited,
    killed_by,
    output,
)

FILES = {
    "open by its name": Attack(
        r"ScriptRaised: NameError: name 'open' is not defined", "return open(bait['file']).read()"
    ),
    "open by eval": Attack(
        r"ScriptRaised: NameError: name 'open' is not defined",
        "return eval(\"open('/etc/passwd')\", {'__builtins__': __builtins__})",
    ),
    "open by io": Attack(REFUSED, "import io\nreturn io.open(bait['file']).read()"),
    "open by the builtins of print": Attack(
        REFUSED, "return abs.__self__.open(bait['file']).read()"
    ),
    "open by a subclass of object": Attack(
        REFUSED,
        """
        kinds = object.__subclasses__()
        while not any(kind.__name__ == "FileIO" for kind in kinds):
            kinds = [child for kind in kinds for child in type.__subclasses__(kind)]
        FileIO = next(kind for kind in kinds if kind.__name__ == "FileIO")
        return FileIO(bait["file"]).read().decode()
        """,
    ),
    "open by an import loader": Attack(
        REFUSED,
        """
        loader = modules["_frozen_importlib_external"].SourceFileLoader("secret", bait["file"])
        return loader.get_data(bait["file"]).decode()
        """,
    ),
    "import of a file by importlib": Attack(
        r"ScriptRaised: ModuleNotFoundError: .*",
        """
        sys.path.append(bait["folder"])
        return modules["importlib"].import_module("secret")
        """,
    ),
    "os.open to read": Attack(REFUSED, "return os.read(os.open(bait['file'], 0), 99).decode()"),
    "os.open to write": Attack(
        REFUSED, "return os.write(os.open(bait['file'], os.O_WRONLY | os.O_TRUNC), b'')"
    ),
    "a new file": Attack(
        REFUSED, "return os.open(bait['folder'] + '/new', os.O_CREAT | os.O_WRONLY, 0o666)"
    ),
    "a listing": Attack(REFUSED, "return os.listdir(bait['folder'])"),
    "stat": Attack(REFUSED, "return list(os.stat(bait['file']))"),
    "unlink": Attack(REFUSED, "os.unlink(bait['file'])"),
    "rename": Attack(REFUSED, "os.rename(bait['file'], bait['file'] + '2')"),
    "mkdir": Attack(REFUSED, "os.mkdir(bait['folder'] + '/new')"),
    "symlink": Attack(REFUSED, "os.symlink('/etc/passwd', bait['folder'] + '/new')"),
    "chmod": Attack(REFUSED, "os.chmod(bait['folder'], 0o000)"),
    "chdir": Attack(REFUSED, "os.chdir('/')"),
    "own memory by proc": Attack(REFUSED, "return os.open('/proc/self/mem', os.O_RDWR)"),
    "environment of the worker by proc": Attack(
        REFUSED, "return os.open(f'/proc/{bait[\"worker\"]}/environ', 0)"
    ),
    "memory of a neighbour by proc": Attack(
        REFUSED, "return os.open(f'/proc/{bait[\"neighbour\"]}/mem', os.O_RDWR)"
    ),
    "descriptors of the zygote by proc": Attack(
        REFUSED, "return os.listdir(f'/proc/{bait[\"zygote\"]}/fd')"
    ),
}

SECRETS = {
    "the environment": Attack(
        output(r'"payload":\[\{\},\[\]\]'), "return [dict(os.environ), sys.path]"
    ),
    "the environment of C": Attack(
        output(r'"payload":\[\]'),
        """
        environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
        found = []
        while environ and environ[len(found)]:
            found.append(environ[len(found)].decode())
        return found
        """,
    ),
    "the arguments of the zygote": Attack(
        output(r'"payload":false'),
        "return any('Django' in part or 'BAIT' in part for part in sys.argv)",
    ),
    "every object there is": Attack(
        output(r'"payload":\[\]'),
        """
        texts = [text for thing in gc.get_objects() if type(thing) is dict
                 for text in thing.values() if type(text) is str]
        digits = set("0123456789abcdef")
        return [text for text in texts if len(text) == 32 and not set(text) - digits]
        """,
    ),
    "settings and models": Attack(
        output(r'"payload":\[\]'),
        """
        ours = {"django", "flows", "asyncengine", "psycopg", "sqlite3"}
        return [name for name in modules if name.split(".")[0] in ours]
        """,
    ),
    "the messages of others": Attack(
        output(r'"payload":0'),
        """
        bodies = [thing for thing in gc.get_objects() if type(thing) is dict
                  and "correlationId" in thing and thing is not message]
        return len(bodies)
        """,
    ),
}

NETWORK = {
    "socket": Attack(REFUSED, "_socket.socket().connect(('127.0.0.1', bait['tcp']))"),
    "unix socket": Attack(REFUSED, "_socket.socket(_socket.AF_UNIX).connect(bait['unix'])"),
    "datagram": Attack(
        REFUSED, "_socket.socket(2, _socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', bait['udp']))"
    ),
    "raw socket": Attack(REFUSED, "_socket.socket(2, _socket.SOCK_RAW, 1)"),
    "netlink": Attack(REFUSED, "_socket.socket(16, _socket.SOCK_RAW, 0)"),
    "name look-up": Attack(
        r"ScriptRaised: gaierror: .*", "return _socket.gethostbyname('localhost.example')"
    ),
    "socket pair": Attack(REFUSED, "_socket.socketpair()"),
    "socket of the channel": Attack(
        REFUSED, "_socket.socket(fileno=channel()).sendmsg([b'x'], [(1, 1, bytes(4))])"
    ),
    "copy of the channel": Attack(REFUSED, "return os.dup2(channel(), 9)"),
    "pipe": Attack(REFUSED, "return os.pipe()"),
}

PROCESSES = {
    "fork": Attack(REFUSED, "return os.fork()"),
    "exec": Attack(REFUSED, "os.execv('/bin/true', ['true'])"),
    "spawn": Attack(REFUSED, "return os.posix_spawn('/bin/true', ['true'], {})"),
    "system": Attack(
        output(r'"payload":(-1|32512)\b'),
        "return ctypes.CDLL(None).system(b'touch ' + bait['file'].encode())",
    ),
    "popen by a subclass of object": Attack(
        r"ScriptRaised: (PermissionError|IndexError|OSError).*",
        """
        [Popen] = [k for k in object.__subclasses__() if k.__name__ == "Popen"] or [None]
        if Popen is None:
            raise IndexError("subprocess is not loaded")
        return Popen(["/bin/true"]).wait()
        """,
    ),
    "thread": Attack(
        r"ScriptRaised: RuntimeError: can't start new thread",
        "modules['_thread'].start_new_thread(time.sleep, (9,))",
    ),
    "thread of C": Attack(
        output(r'"payload":1\b'),
        """
        libc = ctypes.CDLL(None)
        return libc.pthread_create(ctypes.create_string_buffer(64), None, libc.pause, None)
        """,
    ),
    "kill the worker": Attack(REFUSED, "os.kill(bait['worker'], signal.SIGTERM)"),
    "kill the zygote": Attack(REFUSED, "os.kill(bait['zygote'], signal.SIGKILL)"),
    "kill a neighbour": Attack(REFUSED, "os.kill(bait['neighbour'], signal.SIGKILL)"),
    "probe the worker": Attack(REFUSED, "os.kill(bait['worker'], 0)"),
    "kill everyone": Attack(REFUSED, "os.kill(-1, signal.SIGKILL)"),
    "kill the group": Attack(REFUSED, "os.killpg(0, signal.SIGKILL)"),
    "become root": Attack(REFUSED, "os.setuid(0)"),
    "more descriptors": Attack(
        r"ScriptRaised: (ValueError|PermissionError): .*",
        "modules['resource'].setrlimit(modules['resource'].RLIMIT_NOFILE, (99, 99))",
    ),
    "more memory": Attack(
        r"ScriptRaised: (ValueError|PermissionError): .*",
        "modules['resource'].setrlimit(modules['resource'].RLIMIT_AS, (-1, -1))",
    ),
    "limits of the worker": Attack(
        REFUSED,
        "modules['resource'].prlimit(bait['worker'], modules['resource'].RLIMIT_NOFILE, (0, 0))",
    ),
}

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

CRASHES = {
    "a null pointer": Attack(killed_by("SIGSEGV"), "ctypes.string_at(0)"),
    "broken byte code": Attack(
        rf"{killed_by('SIG(SEGV|ABRT|BUS|ILL)')}|ScriptRaised: SystemError: .*",
        """
        def f(): pass
        f.__code__ = f.__code__.replace(co_code=bytes([124, 250]) * 40, co_stacksize=1)
        for _ in range(100):
            f()
        ctypes.string_at(0)
        """,
    ),
    "abort": Attack(killed_by("SIGABRT"), "os.abort()"),
    "exit": Attack(exited(0), "os._exit(0)"),
    "exit with the code of full memory": Attack(
        r"ScriptKilled: The script ran out of memory after .*: exit code 71\.", "os._exit(71)"
    ),
    "exit by the interpreter": Attack(exited(3), "ctypes.pythonapi.Py_Exit(3)"),
    "its own SIGKILL": Attack(killed_by("SIGKILL"), "os.kill(os.getpid(), 9)"),
    "its own SIGSTOP": Attack(TIMED_OUT, "os.kill(os.getpid(), 19)", timeout_seconds=SECONDS),
    "SystemExit": Attack(r"ScriptRaised: SystemExit: 0", "sys.exit(0)"),
    "no channel": Attack(
        # The worker kills it, unless it is done by then.
        rf"{killed_by('SIGKILL')}|{output('null')}",
        "os.close(channel())",
    ),
    "overwritten types": Attack(
        killed_by("SIG(SEGV|ABRT|BUS)"), "ctypes.memset(id(dict) + 16, 255, 256)\nreturn {}"
    ),
    "unmapped shared page": Attack(
        killed_by("SIG(SEGV|BUS)"),
        """
        at = ctypes.addressof(ctypes.c_char.from_buffer(host()._shared))
        ctypes.CDLL(None).munmap(ctypes.c_void_p(at), 4096)
        """,
    ),
}

LOOPS = {
    "endless": "while True: pass",
    "endless in C": "sum(iter(int, 1))",
    "a power": "return 10 ** 10 ** 9",
    "a regular expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "sleep": "time.sleep(1e6)",
    "swallowed exceptions": """
        while True:
            try:
                while True: pass
            except BaseException:
                continue
        """,
    "a finaliser": """
        class Undying:
            def __del__(self):
                while True: pass
        Undying()
        """,
    "an exception that never tells": """
        class Silent(Exception):
            def __str__(self):
                while True: pass
        raise Silent
        """,
    "an output that never ends": """
        class Endless(dict):
            def items(self):
                while True: pass
        return Endless()
        """,
    "time set back": "while True: host()._times[0] = time.monotonic()",
    "no call begun": "while True: host()._numbers[1] = 0",
    "a clock that stands still": """
        modules["time"].__dict__["monotonic"] = lambda: 0.0
        while True: pass
        """,
    "waiting for itself": """
        lock = modules["_thread"].allocate_lock()
        lock.acquire()
        lock.acquire()
        """,
    "reading the channel": "while True: os.read(channel(), 1)",
    "a trace function": """
        def trace(*args):
            while True: pass
        sys.settrace(trace)
        (lambda: None)()
        """,
}

TIME = {
    **{name: Attack(TIMED_OUT, code, timeout_seconds=SECONDS) for name, code in LOOPS.items()},
    "a handler for SIGTERM": Attack(REFUSED, "signal.signal(signal.SIGTERM, signal.SIG_IGN)"),
    "an alarm": Attack(r"ScriptRaised: itimer_error: \[Errno 1\] .*", "signal.setitimer(0, 0.1)"),
    "something left for the exit": Attack(
        output(r'"payload":1'),
        """
        modules["importlib"].import_module("atexit").register(time.sleep, 1e6)
        return 1
        """,
    ),
}

MEMORY = {
    "one great block": Attack(OUT_OF_MEMORY, "bytearray(10 ** 10)"),
    "a growing list": Attack(OUT_OF_MEMORY, "x = []\nwhile True: x.append(str(len(x)) * 10)"),
    "a growing text": Attack(OUT_OF_MEMORY, "x = 'x'\nwhile True: x += x"),
    "a growing dictionary": Attack(OUT_OF_MEMORY, "return dict.fromkeys(range(10 ** 9))"),
    "mapped memory": Attack(
        r"ScriptRaised: OSError: \[Errno 12\] Cannot allocate memory",
        "return syscall(9, 0, 10 ** 9, 3, 0x22, -1, 0)",
    ),
    "a zip bomb": Attack(
        OUT_OF_MEMORY,
        """
        import zlib
        packer = zlib.compressobj(9)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
        return len(zlib.decompress(bomb))
        """,
    ),
    "a wide format": Attack(OUT_OF_MEMORY, "return '%*d' % (2 ** 30, 1)"),
    "deep recursion": Attack(
        r"ScriptRaised: RecursionError: maximum recursion depth exceeded.*",
        "return attack(message, context, bait)",
    ),
    "deep recursion without its limit": Attack(
        # It meets the time or the memory limit; CPython 3.11 raises a SystemError for it.
        rf"{TIMED_OUT}|{OUT_OF_MEMORY}|ScriptRaised: .*SystemError.*|{killed_by('SIGSEGV')}",
        "sys.setrecursionlimit(10 ** 9)\nreturn [attack(message, context, bait)]",
        timeout_seconds=SECONDS,
    ),
    "deep recursion in C": Attack(
        killed_by("SIGSEGV"),
        """
        deep = None
        for _ in range(10 ** 6):
            deep = (deep,)
        sys.setrecursionlimit(10 ** 9)
        return hash(deep)
        """,
    ),
    "deep JSON": Attack(
        r"ScriptRaised: RecursionError: .*", "return json.loads('[' * 10 ** 6 + ']' * 10 ** 6)"
    ),
    "deep exceptions": Attack(
        r"ScriptRaised: ValueError: 9999",
        """
        error = None
        for n in range(10_000):
            link = ValueError(n)
            link.__cause__, error = error, link
        raise error
        """,
    ),
}

OUTPUT = {
    "a huge output": Attack(
        r"OutputInvalid: The output has \d+ bytes; at most 8388608 are allowed\.",
        "return ['x' * 1000] * 9_000",
    ),
    "an output of all its memory": Attack(OUT_OF_MEMORY, "return 'x' * 100_000_000"),
    "a result 200,000 deep": Attack(
        r"OutputInvalid: .*nested more than 1000 deep\.",
        "deep = []\nfor _ in range(200_000): deep = [deep]\nreturn deep",
    ),
    "a result that contains itself": Attack(
        r"OutputInvalid: \$\.payload\[0\] contains itself\.", "x = []\nx.append(x)\nreturn x"
    ),
    "a generator": Attack(r"OutputInvalid: .*", "return (n for n in iter(int, 1))"),
    "a flood of logs": Attack(
        output(r'"payload":1.* 101 log lines'), "for n in range(200_000): print(n)\nreturn 1"
    ),
    "a long log line": Attack(
        output(r'"payload":1.* 1 log lines'), "context.log('x' * 20_000_000)\nreturn 1"
    ),
    "a log line that is none": Attack(exited(70), "context._logs.append(object())\nreturn 1"),
    "a long exception": Attack(
        r"ScriptRaised: ValueError: x{1900}.*", "raise ValueError('x' * 20_000_000)"
    ),
    "another correlation id that claims to be equal": Attack(
        r"OutputInvalid: The output has another correlationId: .*\.",
        """
        class Same(str):
            __ne__ = lambda self, other: False
            __eq__ = lambda self, other: True
            __hash__ = str.__hash__
        message["correlationId"] = Same("another")
        """,
    ),
    "a dictionary that lies": Attack(
        r"OutputInvalid: .*",
        """
        class Liar(dict):
            def __contains__(self, key): return True
            def __getitem__(self, key): return message["correlationId"]
        return Liar(x=object())
        """,
    ),
}

FORGERIES = {
    "garbage": Attack(PROTOCOL_BROKEN, "os.write(channel(), b'x' * 1000)\nwhile True: pass"),
    "zeros": Attack(PROTOCOL_BROKEN, "os.write(channel(), bytes(33 * 3))\nwhile True: pass"),
    "a second report that it is ready": Attack(
        PROTOCOL_BROKEN,
        """
        import struct
        os.write(channel(), struct.pack("<QBIIdd", 0, 0, 0, 2, 0.0, 0.0) + b"[]")
        while True: pass
        """,
    ),
    "the answer to another call": Attack(
        PROTOCOL_BROKEN,
        """
        import struct
        os.write(channel(), struct.pack("<QBIIdd", 77, 1, 2, 0, 0.0, 0.0) + b"{}")
        while True: pass
        """,
    ),
    "two answers": Attack(
        output("forged"),
        """
        import struct
        known = message["correlationId"]
        forged = b'{"correlationId":"' + known.encode() + b'","payload":"forged"}'
        head = struct.pack("<QBIIdd", host()._number, 1, len(forged), 0, 0.0, 0.0)
        os.write(channel(), head + forged)
        """,
    ),
    "an answer that is no JSON": Attack(
        PROTOCOL_BROKEN,
        """
        import struct
        os.write(channel(), struct.pack("<QBIIdd", host()._number, 1, 4, 0, 0.0, 0.0) + b"{NaN")
        while True: pass
        """,
    ),
    "an answer of four gigabytes": Attack(
        PROTOCOL_BROKEN,
        """
        import struct
        os.write(channel(), struct.pack("<QBIIdd", host()._number, 1, 2**32 - 1, 0, 0.0, 0.0))
        while True: pass
        """,
    ),
    "a call that was never begun": Attack(
        PROTOCOL_BROKEN,
        """
        import struct
        os.write(channel(), struct.pack("<QBIIdd", host()._number, 7, 0, 0, 0.0, 0.0))
        while True: pass
        """,
    ),
    "half an answer": Attack(
        TIMED_OUT, "os.write(channel(), b'x' * 5)\nwhile True: pass", timeout_seconds=SECONDS
    ),
    "a shared page of ones": Attack(
        r"ScriptTimedOut: .*|" + PROTOCOL_BROKEN,
        "host()._shared[:] = bytes([255]) * len(host()._shared)\nwhile True: pass",
        timeout_seconds=SECONDS,
    ),
    "unsent answers of others": Attack(
        r"ScriptTimedOut: .*|" + PROTOCOL_BROKEN,
        """
        host()._shared[4096:] = bytes([1]) * (len(host()._shared) - 4096)
        host()._numbers[2] = 2 ** 63
        while True: pass
        """,
        timeout_seconds=SECONDS,
    ),
    "a host with another number": Attack(PROTOCOL_BROKEN, "host()._number = 4711"),
    "a host without a channel": Attack(output(r'"payload":null'), "host()._channel = None"),
}

PYTHON = {
    f"{group}: {name}": attack
    for group, attacks in {
        "files": FILES,
        "secrets": SECRETS,
        "network": NETWORK,
        "processes": PROCESSES,
        "system calls": SYSTEM_CALLS,
        "doors": DOORS if platform.machine() == "x86_64" else {},
        "crashes": CRASHES,
        "time": TIME,
        "memory": MEMORY,
        "output": OUTPUT,
        "forgeries": FORGERIES,
    }.items()
    for name, attack in attacks.items()
}
