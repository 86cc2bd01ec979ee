"""Abusive scripts in Python."""

import platform

from tests.abuse import (
    giant_values,
    module_attacks,
    signature_attacks,
    start_attacks,
    state_attacks,
    table_attacks,
)
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
from tests.abuse.system_calls import DOORS, SYSTEM_CALLS

NO_FILES = r"ScriptInvalid: WrongArgument: open\(\) opens a file, and a script has no files: .*"
FILES = {
    "open by its name": Attack(NO_FILES, "return open(bait['file']).read()"),
    "open by eval": Attack(
        NO_FILES,
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
        r"Script(Raised|Invalid): ModuleNotFoundError: .*",
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
        r"Script(Raised|Invalid): (PermissionError|IndexError|OSError).*",
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
        r"Script(Raised|Invalid): (ValueError|PermissionError): .*",
        "modules['resource'].setrlimit(modules['resource'].RLIMIT_NOFILE, (99, 99))",
    ),
    "more memory": Attack(
        r"Script(Raised|Invalid): (ValueError|PermissionError): .*",
        "modules['resource'].setrlimit(modules['resource'].RLIMIT_AS, (-1, -1))",
    ),
    "limits of the worker": Attack(
        REFUSED,
        "modules['resource'].prlimit(bait['worker'], modules['resource'].RLIMIT_NOFILE, (0, 0))",
    ),
}

CRASHES = {
    "a null pointer": Attack(killed_by("SIGSEGV"), "ctypes.string_at(0)"),
    "broken byte code": Attack(
        # An empty local has no name either.
        rf"{killed_by('SIG(SEGV|ABRT|BUS|ILL)')}|ScriptRaised: (System|Index)Error: .*",
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
        r"OutputInvalid: \$ has too many bytes as JSON; at most 8388608 are allowed\.",
        "return ['x' * 1000] * 9_000",
    ),
    "an output of all its memory": Attack(
        r"OutputInvalid: \$ has too many bytes as JSON; at most 8388608 are allowed\.",
        "return 'x' * 100_000_000",
    ),
    "an output whose escapes take all its memory": Attack(
        rf"({OUT_OF_MEMORY}|OutputInvalid: The output has \d+ bytes; .*)",
        "return chr(1) * 8_000_000",
        memory_mb=64,
    ),
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
    "a log line that is none": Attack(exited(70), "context._log._first.append(object())\nreturn 1"),
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
    "a forged log": Attack(
        TIMED_OUT,
        """
        page, numbers = host()._shared, host()._numbers
        numbers[16], numbers[17], numbers[18] = host()._number, 2 ** 64 - 1, 2 ** 64 - 1
        numbers[19] = numbers[20] = numbers[21] = 2 ** 63
        page[-3 * 131072:] = bytes(range(256)) * (3 * 512)
        while True: pass
        """,
        timeout_seconds=SECONDS,
    ),
    "a forged stack": Attack(
        PROTOCOL_BROKEN,
        r"""
        os.write(channel(), b'Stack (most recent call first):\n  File "script", line 9 in x\n')
        os.write(channel(), b'  File "<string>", line 1 in <module>\n' * 99999)
        while True: pass
        """,
    ),
    "its own question": Attack(
        PROTOCOL_BROKEN,
        "os.kill(os.getpid(), signal.SIGUSR1)\nwhile True: pass",
    ),
    "a blocked question": Attack(
        TIMED_OUT,
        "signal.pthread_sigmask(0, [signal.SIGUSR1, signal.SIGUSR2])\nwhile True: pass",
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
        "bombs": module_attacks.BOMBS,
        "shelf": module_attacks.SHELF,
        "documents": module_attacks.DOCUMENTS,
        "files by modules": module_attacks.FILES,
        "forgeries": FORGERIES,
        "giant": giant_values.PYTHON,
        "signatures": signature_attacks.SIGNATURES,
        "starts": start_attacks.PYTHON,
        "states": state_attacks.STATES,
        "tables": table_attacks.TABLES,
    }.items()
    for name, attack in attacks.items()
}
