"""Functions of a project's own that serve as scripts in tests. What they write are log entries."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.db import connection, transaction

from flows import engine
from scripts.callables import Reject, Retry

run_command = subprocess.run


class Note:
    """No function."""


async def later(message: Any, context: Any) -> Any:
    return message


def takes_one(message: Any) -> Any:
    return message


def note(what: str) -> None:
    user, _ = User.objects.get_or_create(username="callable")
    LogEntry.objects.create(user=user, action_flag=ADDITION, object_repr=what)


def noted() -> list[str]:
    return sorted(LogEntry.objects.values_list("object_repr", flat=True))


def trail(message: Any, context: Any) -> Any:
    message["payload"].setdefault("trail", []).append([context.step, context.attempt])
    return message


def record(message: Any, context: Any) -> Any:
    """Note what runs; then do what the payload wants."""
    context.log(f"recording {context.delivery_id}", level="warning")
    note(f"{context.delivery_id} {context.step}")
    payload = message["payload"]
    if payload.get("on_commit"):
        transaction.on_commit(hooks[payload["on_commit"]])
    match payload.get("do"):
        case "raise":
            raise ValueError("no luck")
        case "retry":
            raise Retry(after=90, reason="busy")
        case "reject":
            raise Reject("not for us")
        case "no message":
            return {"correlationId": message["correlationId"]}
        case "break the transaction":
            note("x" * 1000)
        case "swallow an error":
            broken_statement()
        case "break a constraint":
            LogEntry.objects.create(user_id=2**30, action_flag=ADDITION, object_repr="of nobody")
        case "close":
            connection.close()
        case "spin":
            spin()
        case "sleep":
            time.sleep(payload["seconds"])
    return trail(message, context)


def broken_statement() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonsense FROM nowhere")
    except Exception:
        return


def spin() -> None:
    while True:
        pass


def spins_in_a_transaction(message: Any, context: Any) -> Any:
    with transaction.atomic():
        note("never to be seen")
        spin()


def waits_to_be_ended(message: Any, context: Any) -> Any:
    spin()


def tells_its_secret(message: Any, context: Any) -> Any:
    context.log(f"It is {context.secrets['key']}")
    if "other" in context.secrets:
        raise AssertionError("not-granted")
    raise ValueError(context.secrets["key"])


def spin_whatever_comes() -> None:
    while True:
        try:
            spin()
        except BaseException:
            continue


def spins_whatever_comes(message: Any, context: Any) -> Any:
    spin_whatever_comes()


def explodes(message: Any, context: Any) -> Any:
    """Stay in C code that lets no other thread run."""
    import re

    re.match(r"(a+)+$", "a" * 64 + "b")


def raising_hook() -> None:
    raise ValueError("too late to matter")


def noting_hook() -> None:
    note("committed")


hooks = {"note": noting_hook, "raise": raising_hook, "spin": spin}


def leave_mark(message: Any, context: Any) -> Any:
    with Path(message["payload"]["file"]).open("a") as file:
        file.write(f"{context.attempt}\n")
    return message


def mark_and_spin(message: Any, context: Any) -> Any:
    leave_mark(message, context)
    spin_whatever_comes()


def start_another(message: Any, context: Any) -> Any:
    """Start a run of the flow that the payload names."""
    if name := message["payload"].get("start"):
        engine.start(name, {})
    return message
