"""A second host: a network and a name of its own, and a cable that can be cut."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"),
    reason="a second host needs root and the commands ip and unshare",
)

# No card has it: what is sent there is never heard of again.
NOWHERE = "02:00:00:00:00:01"


class OtherHost:
    """A network namespace; `here` and `there` are the ends of a cable.

    `door` is an address of that host which is reached whether or not the cable is cut.
    """

    def __init__(self, number: int) -> None:
        self.name = f"other-{secrets.token_hex(3)}"
        self.here, self.there = (f"10.231.{number}.{end}" for end in (1, 2))
        self.way_to_door, self.door = (f"10.232.{number}.{end}" for end in (1, 2))
        self.card, self.card_there = (f"{end}{self.name[-6:]}" for end in ("here", "over"))

    def plug_in(self) -> None:
        run("ip", "netns", "add", self.name)
        cable = ("type", "veth", "peer", "name", self.card_there, "netns", self.name)
        run("ip", "link", "add", self.card, *cable)
        for here, there in ((self.here, self.there), (self.way_to_door, self.door)):
            run("ip", "address", "add", f"{here}/24", "dev", self.card)
            self._inside("address", "add", f"{there}/24", "dev", self.card_there)
        run("ip", "link", "set", self.card, "up")
        self._inside("link", "set", self.card_there, "up")
        self._inside("link", "set", "lo", "up")

    def unplug(self) -> None:
        run("ip", "netns", "delete", self.name)

    def cut(self) -> None:
        """Let everything that is sent be lost, both ways, without an error to either side."""
        lost = ("lladdr", NOWHERE, "nud", "permanent", "dev")
        run("ip", "neighbour", "replace", self.there, *lost, self.card)
        self._inside("neighbour", "replace", self.here, *lost, self.card_there)

    def mend(self) -> None:
        run("ip", "neighbour", "delete", self.there, "dev", self.card)
        self._inside("neighbour", "delete", self.here, "dev", self.card_there)

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command as it is run on that host."""
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name)
        return ["ip", "netns", "exec", self.name, *named, *command]

    def _inside(self, *arguments: str) -> None:
        run("ip", "-netns", self.name, *arguments)


@contextmanager
def other_host() -> Iterator[OtherHost]:
    with other_hosts(1) as [host]:
        yield host


@contextmanager
def other_hosts(count: int) -> Iterator[list[OtherHost]]:
    """Yield hosts that share no network with each other."""
    numbers = secrets.SystemRandom().sample(range(1, 251), count)
    with ExitStack() as stack:
        hosts = [OtherHost(number) for number in numbers]
        for host in hosts:
            stack.callback(host.unplug)
            host.plug_in()
        yield hosts


def run(*command: str) -> None:
    subprocess.run(command, check=True)
