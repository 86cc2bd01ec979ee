"""Functions of a project's own that serve as scripts in tests. What they write are log entries."""

from __future__ import annotations

import decimal
import operator
import subprocess
import time
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.urls import get_script_prefix, set_script_prefix
from django.utils import timezone, translation

from flows import engine
from flows.models import Run
from scripts.callables import Reject, Retry

run_command = subprocess.run


class Note:
    """No function."""


class Doubling:
    """Its instances are called like functions, and say where they come from."""

    def __call__(self, message: Any, context: Any) -> Any:
        return message | {"payload": {"n": 2 * message["payload"]["n"]}}


double = Doubling()


async def later(message: Any, context: Any) -> Any:
    return message


def add(amount: int, message: Any, context: Any) -> Any:
    return message


add_one = partial(add, 1)
run_nothing = partial(subprocess.run, ["true"])
payload_of = operator.itemgetter("payload")


@lru_cache
def remembered(message: Any, context: Any) -> Any:
    return message


def takes_one(message: Any) -> Any:
    return message


def read_state(message: Any, context: Any) -> Any:
    """Note that it runs, and go on with what it finds, or without."""
    note("it runs")
    try:
        n = context.state.get("n")
    except RuntimeError:
        n = 0
    return message | {"payload": {"n": n}}


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
    if payload.get("counts"):
        context.state.increment("calls")
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
        case "fan out":
            return [{"payload": {"n": n}} for n in range(5)]
        case "give too much":
            payload["text"] = "x" * 2000
        case "break the transaction":
            note("x" * 1000)
        case "swallow an error":
            broken_statement()
        case "break a constraint":
            LogEntry.objects.create(user_id=2**30, action_flag=ADDITION, object_repr="of no user")
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


hooks = {
    "note": noting_hook,
    "raise": raising_hook,
    "spin": spin,
    "leave": lambda: leave_context(connection),
}


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


def leave_state(message: Any, context: Any) -> Any:
    """Tell the state that it finds, then leave behind what the payload wants."""
    payload = message["payload"]
    payload["found"] = thread_state()
    alias = payload.get("alias", "default")
    leftovers[payload.get("leave", "nothing")](connections[alias])
    return message


def thread_state() -> list[Any]:
    return [
        translation.get_language(),
        timezone.get_current_timezone_name(),
        decimal.getcontext().prec,
        own_variable.get(""),
        get_script_prefix(),
        connection.get_autocommit() or connection.in_atomic_block,
        len(connection.savepoint_ids),
        session_state(),
    ]


def session_state() -> Any:
    asked = (
        "SELECT current_setting('search_path'), current_setting('statement_timeout'),"
        " current_setting('lock_timeout'),"
        " current_setting('TimeZone'), current_user = session_user,"
        " (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
        " (SELECT COUNT(*) FROM pg_prepared_statements WHERE from_sql),"
        " (SELECT COUNT(*) FROM pg_listening_channels()),"
        " to_regclass('pg_temp.mine') IS NULL"
    )
    if connection.vendor == "sqlite":
        asked = "SELECT (SELECT COUNT(*) FROM sqlite_temp_master)"
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return list(cursor.fetchone())


def statement(*texts: str) -> Any:
    def leave(connection: Any) -> None:
        with connection.cursor() as cursor:
            for text in texts:
                cursor.execute(text)

    return leave


def leave_context(connection: Any) -> None:
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    decimal.getcontext().prec = 3
    own_variable.set("mine")
    set_script_prefix("/mine/")


def leave_open_block(connection: Any) -> None:
    transaction.atomic(using=connection.alias).__enter__()


def leave_wrapper(connection: Any) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("the wrapper of another message")

    connection.execute_wrappers.append(fail)


own_variable: ContextVar[str] = ContextVar("own_variable")
leftovers: dict[str, Any] = {
    "nothing": lambda connection: None,
    "context": leave_context,
    "begin": statement("BEGIN"),
    "write": lambda connection: note("left"),
    "begin and write": statement(
        "BEGIN",
        "INSERT INTO django_admin_log"
        " (action_time, object_repr, action_flag, change_message, user_id)"
        " SELECT now(), 'never to be seen', 1, '', MIN(id) FROM auth_user",
    ),
    "autocommit off": lambda connection: connection.set_autocommit(False),
    "raw autocommit off": lambda connection: setattr(connection.connection, "autocommit", False),
    "block": leave_open_block,
    "rollback": lambda connection: connection.set_rollback(True),
    "commit": statement("COMMIT"),
    "wrapper": leave_wrapper,
    "search path": statement("SET search_path = pg_catalog"),
    "setting by function": statement("SELECT set_config('search_path', 'pg_catalog', false)"),
    "local setting": statement("SET LOCAL search_path = pg_catalog"),
    "timeout": statement("SET statement_timeout = '7s'"),
    "time zone": statement("SET TimeZone = 'Asia/Tokyo'"),
    "role": statement("SET ROLE pg_read_all_data"),
    "advisory lock": statement("SELECT pg_advisory_lock(57)"),
    "prepared": statement("PREPARE mine AS SELECT 1"),
    "listen": statement("LISTEN mine"),
    "temporary table": statement("CREATE TEMP TABLE mine (n int)"),
}


def cancel_another(message: Any, context: Any) -> Any:
    """Cancel the runs that the payload names, or its own; then raise where that asks for it."""
    note(f"{context.delivery_id} {context.step}")
    payload = message["payload"]
    for id in payload.get("cancel", []):
        engine.cancel(Run.objects.get(pk=message["correlationId"] if id == "own" else id))
    if payload.get("raise"):
        raise ValueError("no luck")
    return message


def when_cursed() -> None:
    """Do nothing here; a test puts its own in place of this."""


def note_that_it_is_cursed(message: Any, context: Any) -> Any:
    if message["payload"].get("cursed"):
        note("cursed")
        when_cursed()
    return message
