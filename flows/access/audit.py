"""Writes the audit log: who did what, from where, and the fields that changed.

`record` writes one entry, in the transaction that is open. The verbs of the engine call it, and
`audited_models` calls it for each change of the configuration, of users and of roles. What the
engine does by itself, such as the end of a run, is not recorded.
"""

from __future__ import annotations

import getpass
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.urls import NoReverseMatch, reverse
from simple_history.models import HistoricalRecords

from flows.access.addresses import caller_address
from flows.models import AuditEntry, DeadLetter, Reprocessing, Run
from flows.models.audit_entry import Source
from flows.models.users import caller_of

API = "/async/"
LONGEST_TEXT = 64_000
LONGEST_NAME = 254
# The arguments of a process that serves requests or runs tasks, not the commands of an operator.
SERVERS = frozenset({"runserver"})
WORKERS = frozenset({"qcluster"})
MANAGE = frozenset({"manage.py", "django-admin", "__main__.py"})

# The databases that are known to have the table.
_have_table: set[str] = set()


@dataclass(frozen=True, slots=True)
class Target:
    """What an entry is about: its kind, its name, and its key as text."""

    kind: str
    name: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for all entries of a block."""

    verb: str = ""
    user: Any = None
    reason: str = ""
    is_silent: bool = False


NO_SCOPE = Scope()
_scope: ContextVar[Scope] = ContextVar("flows.audit", default=NO_SCOPE)


@contextmanager
def acting(verb: str = "", *, user: Any = None, reason: str = "") -> Iterator[None]:
    """Record the changes of models in the block under a verb, a user or a reason."""
    outer = _scope.get()
    inner = replace(
        outer,
        verb=verb or outer.verb,
        user=user if user is not None else outer.user,
        reason=reason or outer.reason,
    )
    token = _scope.set(inner)
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def silent() -> Iterator[None]:
    """Record nothing in the block: it is the engine's own work, or a part of a recorded action."""
    token = _scope.set(replace(_scope.get(), is_silent=True))
    try:
        yield
    finally:
        _scope.reset(token)


def record(
    verb: str,
    target: Target | models.Model,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    user: Any = None,
    using: str = DEFAULT_DB_ALIAS,
) -> None:
    """Add an entry, in the transaction that is open.

    `before` and `after` have the fields that changed, as JSON values; the caller masks secrets.
    Without `user` it is the user of the request, or the one that `acting` names.
    """
    scope = _scope.get()
    if scope.is_silent or not _has_table(using):
        return
    about = target if isinstance(target, Target) else target_of(target)
    request = getattr(HistoricalRecords.context, "request", None)
    source = source_of(request)
    actor = user if user is not None else scope.user
    name, key = actor_of(actor, request, source)
    AuditEntry.objects.using(using).create(
        actor=name[:LONGEST_NAME],
        actor_id=key,
        source=source,
        address=_address(request, source)[:64],
        verb=verb,
        kind=about.kind,
        name=_storable(about.name)[:LONGEST_NAME],
        target_id=about.id[:64],
        before=_plain(before),
        after=_plain(after),
        reason=_storable(reason or scope.reason),
    )


def verb_or(default: str) -> str:
    """Return the verb of the block around the call, or the default."""
    return _scope.get().verb or default


def is_silent() -> bool:
    return _scope.get().is_silent


# --- targets -----------------------------------------------------------------------------------


def target_of(obj: models.Model) -> Target:
    """Return what an entry says about an object."""
    key = "" if obj.pk is None else str(obj.pk)
    if isinstance(obj, Run):
        return Target("run", obj.flow_version.flow_name, key)
    if isinstance(obj, DeadLetter):
        return Target("dead letter", f"{obj.step.flow_version.flow_name} / {obj.step.name}", key)
    if isinstance(obj, Reprocessing):
        return Target("reprocessing", key, key)
    if isinstance(obj, get_user_model()):
        return Target("user", obj.get_username(), key)
    return Target(str(obj._meta.verbose_name), str(obj), key)


# --- who and from where ------------------------------------------------------------------------


def source_of(request: Any) -> Source:
    if request is None:
        return source_of_process(sys.argv)
    path = request.path_info
    if path.startswith(API):
        return Source.API
    try:
        # Below the path of a proxy the address has a prefix that `path_info` has not.
        home = reverse("admin:index")
    except NoReverseMatch:
        return Source.CODE
    return Source.ADMIN if request.path.startswith(home) else Source.CODE


def source_of_process(arguments: list[str]) -> Source:
    """Return the source of what happens outside of requests, by the arguments of the process."""
    program, *rest = arguments or [""]
    command = rest[0] if rest else ""
    if command in WORKERS:
        return Source.TASK
    if Path(program).name in MANAGE and command not in SERVERS:
        return Source.COMMAND
    return Source.CODE


def actor_of(user: Any, request: Any, source: Source) -> tuple[str, str]:
    """Return name and id of the user. A command without one has the user of the system."""
    if user is None and request is not None:
        # A user who sees the pages as another one still acts under the own name.
        user = getattr(request, "real_user", None) or getattr(request, "user", None)
    if user is not None and user.pk is not None:
        return str(user.get_username()), caller_of(user.pk)
    return (_system_user(), "") if source == Source.COMMAND else ("", "")


def _address(request: Any, source: Source) -> str:
    if request is not None:
        return caller_address(request)
    return socket.gethostname() if source == Source.COMMAND else ""


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under an id that has no name.
        return ""


# --- values ------------------------------------------------------------------------------------


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: _cut(value) for name, value in values.items()}


def _cut(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = _storable(value)
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n… cut, {len(text):,} characters"


def _storable(text: str) -> str:
    """Replace what PostgreSQL cannot store."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _has_table(using: str) -> bool:
    """Say whether the table is there: users may be made before it, in migrations of a project."""
    connection = connections[using]
    name = f"{using}:{connection.settings_dict['NAME']}"
    if name not in _have_table:
        if AuditEntry._meta.db_table not in connection.introspection.table_names():
            return False
        _have_table.add(name)
    return True
