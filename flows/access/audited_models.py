"""Records each change of the configuration, of users, roles and tokens in the audit log.

Signals of the models are heard, so it does not matter which page, command or code makes a change.
`QuerySet.update` and bulk inserts send none: the engine uses neither for these models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import models
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.utils import timezone
from knox.models import get_token_model
from simple_history.models import HistoricalRecords

from flows.access import audit
from flows.access.audit import Target
from flows.access.tokens import is_only_hashed_anew, token_name
from flows.models import (
    AlertTarget,
    AlertThresholds,
    Flow,
    FlowSchedule,
    Queue,
    RoleMapping,
    Step,
)
from flows.models.users import user_models, user_name_field
from scripts.models import ConfigurationValue, Library, ReferenceTable, Script, Secret

MASK = "••••••"
# The names of fields whose values are not shown.
SECRET = re.compile(r"password|secret|token|digest|encrypted|api_?key", re.IGNORECASE)
# Names of fields that are no secrets although they look like one.
NOT_SECRET = frozenset({"secrets", "token_key", "address_secret"})
# Changed by the engine, or without meaning for a reader.
LEFT_OUT = frozenset(
    {
        "id",
        "created_at",
        "changed_at",
        "paused_by",
        "pause_reason",
        "last_login",
        "date_joined",
        "digest",
        "created",
    }
)
# django-q2 writes these after each run of a schedule.
OF_SCHEDULER = frozenset({"next_run", "task", "repeats"})
# What counts of a user where a project's code changes it, perhaps with each request.
OF_ACCESS = frozenset({"password", "is_active", "is_staff", "is_superuser"})
BEFORE = "_audit_before"
CONFIGURATION: tuple[type[models.Model], ...] = (
    Flow,
    Step,
    FlowSchedule,
    Queue,
    Script,
    Library,
    Secret,
    ConfigurationValue,
    ReferenceTable,
    RoleMapping,
    AlertTarget,
    AlertThresholds,
    Group,
)


def connect() -> None:
    for model in (*CONFIGURATION, *_others(), *user_models()):
        _connect(model)
    for model, field in _relations():
        through = getattr(model, field).through
        m2m_changed.connect(_members_change, sender=through, dispatch_uid=f"audit-{field}")


def _others() -> list[type[models.Model]]:
    return [get_token_model(), apps.get_model("django_q", "Schedule")]


def _relations() -> list[tuple[Any, str]]:
    return [(Group, "permissions"), *_relations_of_users()]


def _relations_of_users() -> list[tuple[Any, str]]:
    model: Any = get_user_model()
    found = []
    for name in ("groups", "user_permissions"):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        if field.many_to_many and field.remote_field.through._meta.auto_created:
            found.append((model, name))
    return found


def _connect(model: type[models.Model]) -> None:
    uid = f"audit-{model._meta.label}"
    pre_save.connect(_note_stored, sender=model, dispatch_uid=uid)
    post_save.connect(_record_saved, sender=model, dispatch_uid=uid)
    pre_delete.connect(_note_before_deletion, sender=model, dispatch_uid=uid)
    post_delete.connect(_record_deleted, sender=model, dispatch_uid=uid)


# --- saves and deletions -----------------------------------------------------------------------


def _note_stored(
    sender: Any, instance: Any, raw: bool, using: str, update_fields: Any, **kwargs: Any
) -> None:
    """Keep the state before the change on the instance."""
    setattr(instance, BEFORE, None)
    if raw or audit.is_silent() or not _matters(instance, update_fields):
        return
    if instance.pk is not None:
        stored = sender._base_manager.using(using).filter(pk=instance.pk).first()
        setattr(instance, BEFORE, stored and _shown(stored))


def _record_saved(
    sender: Any,
    instance: Any,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Any,
    **kwargs: Any,
) -> None:
    before = getattr(instance, BEFORE, None)
    setattr(instance, BEFORE, None)
    if raw or audit.is_silent() or not _matters(instance, update_fields):
        return
    after = _shown(instance)
    if update_fields is not None:
        after = {name: value for name, value in after.items() if name in update_fields}
    extra = _extra(instance)
    after |= {name: new for name, (_, new) in extra.items()}
    reason = getattr(instance, "_change_reason", None) or ""
    if created or before is None:
        values = {name: value for name, value in after.items() if value not in (None, "", [], {})}
        verb = audit.verb_or("add")
        audit.record(verb, _target(instance), after=_masked(values), reason=reason, using=using)
        return
    before |= {name: old for name, (old, _) in extra.items()}
    changed = [name for name in after if before.get(name) != after[name]]
    if changed and not _is_hashed_anew(instance, changed, before, update_fields):
        audit.record(
            audit.verb_or("change"),
            _target(instance),
            before=_masked({name: before.get(name) for name in changed}),
            after=_masked({name: after[name] for name in changed}),
            reason=reason,
            using=using,
        )


def _note_before_deletion(sender: Any, instance: Any, using: str, **kwargs: Any) -> None:
    # Afterwards the rows that it names may be gone.
    if not audit.is_silent() and not _has_expired(instance):
        setattr(instance, BEFORE, (_target(instance), _masked(_shown(instance))))


def _record_deleted(sender: Any, instance: Any, using: str, **kwargs: Any) -> None:
    noted = getattr(instance, BEFORE, None)
    setattr(instance, BEFORE, None)
    if isinstance(noted, tuple):
        target, before = noted
        reason = getattr(instance, "_change_reason", None) or ""
        audit.record("delete", target, before=before, reason=reason, using=using)


def _matters(instance: Any, update_fields: Any) -> bool:
    """Say whether the save may change a field that is recorded."""
    if _is_schedule(instance) and not _has_request():
        return False
    if update_fields is None:
        return True
    names = {field.name for field in _fields(instance)}
    return bool(names & set(update_fields))


def _is_hashed_anew(
    instance: Any, changed: list[str], before: dict[str, Any], update_fields: Any
) -> bool:
    """Say whether the password is the same, stored by a stronger hash at a login."""
    if changed != ["password"] or not isinstance(instance, get_user_model()):
        return False
    return is_only_hashed_anew(instance, before["password"], update_fields)


def _has_expired(instance: Any) -> bool:
    """Say whether a token has expired: its deletion changes nothing."""
    expiry = getattr(instance, "expiry", None)
    return isinstance(instance, get_token_model()) and bool(expiry and expiry < timezone.now())


def _extra(instance: Any) -> Mapping[str, tuple[Any, Any]]:
    """Return changes that no column has, as an instance notes them before it is saved."""
    extra: Mapping[str, tuple[Any, Any]] = getattr(instance, "extra_changes", {})
    return extra


# --- the shown state ---------------------------------------------------------------------------


def _target(instance: Any) -> Target:
    if isinstance(instance, Step | FlowSchedule):
        kind = "step" if isinstance(instance, Step) else "schedule"
        return Target(kind, f"{instance.flow.name} / {instance.name}", str(instance.pk))
    if isinstance(instance, get_token_model()):
        # No key: it is the digest of the token.
        return Target("token", token_name(instance, 8), "")
    if isinstance(instance, Group):
        return Target("role", instance.name, str(instance.pk))
    if _is_schedule(instance):
        # As the menu calls it: a schedule is one of a flow.
        return Target("scheduled task", str(instance), str(instance.pk))
    return audit.target_of(instance)


def _shown(instance: Any) -> dict[str, Any]:
    """Return the fields of a row by name, as JSON values. Secrets are not masked yet."""
    return {field.name: _value(instance, field) for field in _fields(instance)}


def _fields(instance: Any) -> list[Any]:
    fields = [f for f in instance._meta.concrete_fields if f.name not in LEFT_OUT]
    if _is_schedule(instance):
        return [f for f in fields if f.name not in OF_SCHEDULER]
    if isinstance(instance, get_user_model()) and not _is_admin():
        names = {*OF_ACCESS, user_name_field(), instance.get_email_field_name()}
        return [f for f in fields if f.name in names]
    return [f for f in fields if not f.primary_key]


def _value(instance: Any, field: Any) -> Any:
    value = getattr(instance, field.attname)
    if value is None:
        return None
    if field.is_relation:
        try:
            return str(getattr(instance, field.name))
        except ObjectDoesNotExist:
            return str(value)
    if isinstance(value, timedelta):
        return seconds_text(value)
    return value if isinstance(value, bool | int | float | str | list | dict) else str(value)


def seconds_text(value: timedelta) -> str:
    return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + " s"


def _masked(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        ("value" if name == "encrypted" else name): MASK if _is_secret(name) and value else value
        for name, value in values.items()
    }


def _is_secret(name: str) -> bool:
    return name not in NOT_SECRET and bool(SECRET.search(name))


def _is_schedule(instance: Any) -> bool:
    return bool(instance._meta.label == "django_q.Schedule")


def _has_request() -> bool:
    return getattr(HistoricalRecords.context, "request", None) is not None


def _is_admin() -> bool:
    request = getattr(HistoricalRecords.context, "request", None)
    return request is not None and audit.source_of(request) == audit.Source.ADMIN


# --- members of relations ----------------------------------------------------------------------


def _members_change(
    sender: Any,
    instance: Any,
    action: str,
    reverse: bool,
    pk_set: Any,
    using: str,
    **kwargs: Any,
) -> None:
    """Record the members of a relation: roles and permissions of a user, permissions of a role."""
    if audit.is_silent():
        return
    noted: dict[Any, Any] = instance.__dict__.setdefault("_audit_members", {})
    if action.startswith("pre_"):
        for owner, field in _owners(sender, instance, reverse, pk_set, using):
            noted[owner.pk] = owner, field, _members(owner, field, using)
        return
    for owner, field, before in noted.values():
        after = _members(owner, field, using)
        if before != after:
            name = "roles" if field.name == "groups" else "permissions"
            audit.record(
                audit.verb_or("change"),
                _target(owner),
                before={name: before},
                after={name: after},
                using=using,
            )
    noted.clear()


def _members(owner: Any, field: Any, using: str) -> list[str]:
    rows = getattr(owner, field.name).using(using)
    if field.name != "groups":
        rows = rows.select_related("content_type")
    return sorted(map(str, rows))


def _owners(sender: Any, instance: Any, reverse: bool, pk_set: Any, using: str) -> Any:
    """Yield the rows whose relation changes, with the field: from either side."""
    for model, name in _relations():
        if getattr(model, name).through is not sender:
            continue
        field: Any = model._meta.get_field(name)
        if not reverse:
            yield instance, field
            return
        owners = model._base_manager.using(using)
        if pk_set is None:
            owners = owners.filter(**{name: instance.pk})
        else:
            owners = owners.filter(pk__in=pk_set)
        for owner in owners:
            yield owner, field
