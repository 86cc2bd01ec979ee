"""Keeps the processes of `up` running, and is what they are forked from.

It has loaded what they need and nothing else: no thread, no connection, nothing that the checks and
migrations of `up` have left. So web server and cluster share that memory, for long, and one that
is started again is there at once.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from flows.up.addresses import answers
from flows.up.forked import ForkedChild, has_other_threads, show_command
from flows.up.supervisor import Child, RestartLimitReached, Supervisor

_COMMAND = (sys.executable, "-m", "flows.up.keeping")


def keep(children: Sequence[Child], host: str, port: int, lines: Sequence[str]) -> None:
    """Run the children until a signal, and say the lines when the address answers.

    Raises RestartLimitReached.
    """

    def announce() -> None:
        for line in lines:
            say(line)

    Supervisor(children, say).run(is_ready=lambda: answers(host, port), ready=announce)


def say(line: str) -> None:
    print(line, flush=True)


def become_keeper(
    children: Sequence[Child], host: str, port: int, lines: Sequence[str], python_path: str
) -> NoReturn:
    """Have this process go on as one that keeps the children, with the same process id.

    What it is to do goes through a pipe: other users see arguments, and a line may have a password.
    """
    order = {
        "children": [
            [each.name, list(each.command), each.environment, each.end_seconds] for each in children
        ],
        "host": host,
        "port": port,
        "lines": list(lines),
        "python_path": os.environ.get("PYTHONPATH"),
    }
    source, sink = os.pipe()
    with os.fdopen(sink, "w") as file:
        json.dump(order, file)
    os.set_inheritable(source, True)
    sys.stdout.flush()
    environment = {key: value for each in children for key, value in each.environment.items()}
    room = " " * max(len("\0".join(each.command)) for each in children)
    # The program ends here, and with it the script host that has looked at the demo's code.
    atexit._run_exitfuncs()
    os.execve(  # noqa: S606  this very program
        sys.executable,
        [*_COMMAND, str(source), room],
        # The settings of the children are read before the forks.
        os.environ | environment | {"PYTHONPATH": python_path},
    )


def main(source: int) -> None:
    with os.fdopen(source) as file:
        order: Mapping[str, Any] = json.load(file)
    show_command(_COMMAND)
    # Here alone: `up` itself, which imports this module, goes on as another program.
    from flows.up.loading import load_all

    load_all()
    _restore("PYTHONPATH", order["python_path"])
    # A project may have started threads when it was loaded.
    kind = Child if has_other_threads() else ForkedChild
    children = [kind(*each) for each in order["children"]]
    try:
        keep(children, order["host"], order["port"], order["lines"])
    except RestartLimitReached as error:
        sys.exit(f"CommandError: {error}")


def _restore(name: str, value: str | None) -> None:
    """Give the children what `up` was started with."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


if __name__ == "__main__":
    main(int(sys.argv[1]))
