"""The command `asyncengine`: what `manage.py` is in a checkout."""

from __future__ import annotations

import os
import select
import signal
import sys

# As a shell tells of a process that SIGPIPE has ended.
ENDED_BY_ITS_READER = 128 + signal.SIGPIPE


def main() -> None:
    """Run a management command with the settings in DJANGO_SETTINGS_MODULE, or the engine's own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except ImproperlyConfigured as error:
        sys.exit(f"{error}")
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # What is left in the buffer would fail again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ENDED_BY_ITS_READER)
    except Exception as error:
        if "--traceback" in sys.argv or not (text := _of_the_database(error)):
            raise
        sys.exit(text)


def _of_the_database(error: Exception) -> str | None:
    """Say what the database has said, and what to do. None: the statement was at fault."""
    from django.apps import apps
    from django.db import connection

    if not apps.models_ready:
        # An app could not be loaded, and nor could what is imported here.
        return None
    from flows.store.troubles import Trouble, is_damaged, trouble_of

    if (trouble := trouble_of(error)) is None:
        return None
    given = connection.settings_dict
    place = ":".join(part for part in (given["HOST"], str(given["PORT"])) if part)
    name = f"{given['NAME']}" + (f" on {place}" if place else "")
    advice = {
        Trouble.AWAY: "Is it up, and does DATABASE_URL name it?",
        Trouble.UNWILLING: "The command was not run to its end.",
        Trouble.BUSY: "Run the command again.",
        Trouble.UNFIT: "If it is new, run: migrate. Is it another one than you mean?"
        " DATABASE_URL and ASYNCENGINE_DATA_DIR name it.",
    }
    if is_damaged(error):
        advice[trouble] = "It is damaged, or no database of SQLite. Restore that of a backup."
    return f"The database {name} says: {str(error).strip()}\n{advice[trouble]}"


def _reader_is_gone() -> bool:
    """Say whether the output is a pipe that is not read any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def installed() -> None:
    """Run a management command of the project in this directory: the script that pip installs."""
    # As with `manage.py`, modules beside it are found: settings, callables, urls.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    main()
