"""A PostgreSQL server of this machine with a replica that can be promoted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.databases import answers, free_port
from tests.waiting import wait_for

HERE = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")


class Replicated:
    """A primary and its replica, each with a port of its own. The servers refuse to run as root."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.directory = Path(tempfile.mkdtemp(prefix="asyncengine-replicated-"))
        self.primary, self.replica = free_port(), free_port()
        self.servers: list[subprocess.Popen[bytes]] = []
        self._as_user: dict[str, Any] = {"cwd": self.directory, "umask": 0o077}
        if os.geteuid() == 0:
            os.chown(self.directory, 65534, 65534)
            self._as_user |= {"user": 65534, "group": 65534, "extra_groups": []}

    @property
    def url(self) -> str:
        """The URL of both."""
        return (
            f"postgresql://postgres@127.0.0.1:{self.primary},127.0.0.1:{self.replica}/postgres"
            "?target_session_attrs=read-write"
        )

    def begin(self) -> None:
        encoding = ("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
        self._call("initdb", "--pgdata", "primary", "--username", "postgres", *encoding)
        self._serve("primary", self.primary)
        source = ("--host", "127.0.0.1", "--port", str(self.primary), "--username", "postgres")
        options = ("--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
        self._call("pg_basebackup", "--pgdata", "replica", *source, *options)
        self._serve("replica", self.replica)

    def turn_read_only(self) -> None:
        """Have the primary refuse writes, with its connections as they are."""
        self._ask(self.primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        self._ask(self.primary, "SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Promote the replica once it has all that the primary has."""
        sent = self._ask(self.primary, "SELECT pg_current_wal_lsn()")
        replayed = f"SELECT pg_last_wal_replay_lsn() >= '{sent}'"
        wait_for(lambda: self._ask(self.replica, replayed), 30, "the replica")
        self._call("pg_ctl", "promote", "--pgdata", "replica")

    def stop_primary(self) -> None:
        """Stop it as `pg_ctl --mode=fast stop` does: sessions are ended."""
        self.servers[0].send_signal(signal.SIGINT)
        self.servers.pop(0).wait(60)

    def start_primary(self) -> None:
        self._serve("primary", self.primary)

    def end(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGINT)
            server.wait(60)
        shutil.rmtree(self.directory)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], capture_output=True, **self._as_user
        )
        assert not done.returncode, done.stderr.decode()

    def _serve(self, name: str, port: int) -> None:
        server = subprocess.Popen(
            [self.programs / "postgres", "-D", name, "-p", str(port), *HERE],
            stderr=subprocess.DEVNULL,
            **self._as_user,
        )
        self.servers.append(server)
        wait_for(lambda: server.poll() is not None or answers(own(port)), 60, name)
        assert server.poll() is None

    def _ask(self, port: int, sql: str) -> Any:
        with closing(psycopg.connect(own(port), autocommit=True)) as server:
            asked = server.execute(sql.encode())
            return asked.fetchone()[0] if asked.description else None  # type: ignore[index]


def own(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextmanager
def replicated(programs: Path) -> Iterator[Replicated]:
    servers = Replicated(programs)
    try:
        servers.begin()
        yield servers
    finally:
        servers.end()
