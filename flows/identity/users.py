"""The users of an issuer, and what its tokens give them.

A user is known by issuer and subject. Names and e-mail addresses of tokens find no user: they only
name the new one, if no other user has the name. Roles that a token names are added to the user's
own, and taken again when a newer token lacks them; an older one changes nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import IntegrityError, transaction

from flows.access import audit
from flows.identity.claims import Claims
from flows.identity.errors import UserRefused
from flows.identity.options import Options
from flows.models import ExternalIdentity
from flows.models.users import all_users, user_name_field

MOST_NAMES = 500
INACTIVE = "The user is deactivated here."


def user_of(claims: Claims, options: Options) -> Any:
    """Return the user of a verified token, who is made at first use. Raises UserRefused."""
    key = ExternalIdentity.key_of(claims.issuer, claims.subject)
    identity = _found(key) or _made(key, claims)
    if not identity.user.is_active:
        raise UserRefused(INACTIVE)
    if options.role_claim and _is_newer(claims, identity):
        return _follow(key, claims, options)
    return identity.user


def is_external(user: Any) -> bool:
    """Say whether the user logs in at an issuer."""
    return ExternalIdentity.objects.filter(user=user.pk).exists()


def names_in(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """Return the texts of a claim: one or a list."""
    found = _at(claims, path)
    listed = found if isinstance(found, list) else [found]
    return frozenset(each for each in listed[:MOST_NAMES] if isinstance(each, str))


def has_claim(claims: Mapping[str, Any], path: str) -> bool:
    return _at(claims, path) is not None


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return what is at a path, whose dots lead into objects.

    A claim may have dots in its name, as those that are URLs.
    """
    found: Any = claims
    for name in [path] if path in claims else path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def first_name(claims: Mapping[str, Any], path: str) -> str:
    """Return the claim that a path begins with."""
    return path if path in claims else path.split(".")[0]


# --- roles -------------------------------------------------------------------------------------


def _is_newer(claims: Claims, identity: ExternalIdentity) -> bool:
    return identity.issued_at is None or _issued_at(claims) > identity.issued_at


def _follow(key: str, claims: Claims, options: Options) -> Any:
    """Give the user the roles of the token, and take those that earlier ones gave.

    Returns the user as it is then.
    """
    names = names_in(claims.all, options.role_claim)
    reason = f"a token of {claims.issuer}"
    with transaction.atomic():
        identity = ExternalIdentity.objects.select_for_update().get(pk=key)
        user = identity.user
        if not _is_newer(claims, identity):
            return user
        with audit.acting(user=user, reason=reason):
            identity.roles = _change_roles(user, {*identity.roles}, names)
            if _field("is_staff", "column"):
                wanted = bool(names & options.staff_roles)
                identity.is_staff_given = _change_staff(user, identity.is_staff_given, wanted)
        identity.issued_at = _issued_at(claims)
        identity.save(update_fields=["roles", "is_staff_given", "issued_at"])
        return user


def _change_roles(user: Any, given: set[int], names: frozenset[str]) -> list[int]:
    """Return those roles of the user that tokens gave, by now."""
    storable = [name for name in names if name.isprintable()]
    wanted = set(Group.objects.filter(name__in=storable).values_list("pk", flat=True))
    held = set(user.groups.values_list("pk", flat=True))
    if gone := (given - wanted) & held:
        user.groups.remove(*gone)
    if new := wanted - held:
        user.groups.add(*new)
    return sorted(new | (given & wanted & held))


def _change_staff(user: Any, was_given: bool, wanted: bool) -> bool:
    if wanted and not user.is_staff:
        user.is_staff = was_given = True
        user.save(update_fields=["is_staff"])
    elif was_given and not wanted:
        user.is_staff = was_given = False
        user.save(update_fields=["is_staff"])
    return was_given


def _issued_at(claims: Claims) -> datetime:
    return datetime.fromtimestamp(claims.issued_at, UTC)


# --- new users ---------------------------------------------------------------------------------


def _found(key: str) -> ExternalIdentity | None:
    return ExternalIdentity.objects.select_related("user").filter(pk=key).first()


def _made(key: str, claims: Claims) -> ExternalIdentity:
    try:
        return _inserted(key, claims)
    except IntegrityError:
        # Meanwhile another request has made the user, or another user has got the name.
        return _found(key) or _inserted(key, claims)


@transaction.atomic
def _inserted(key: str, claims: Claims) -> ExternalIdentity:
    with audit.acting(reason=f"a token of {claims.issuer}"):
        user = _new_user(key, claims)
        return ExternalIdentity.objects.create(
            key=key, issuer=claims.issuer, subject=claims.subject, user=user
        )


def _new_user(key: str, claims: Claims) -> Any:
    model: Any = get_user_model()
    name, email = user_name_field(), model.get_email_field_name()
    values = {name: _free_name(key, claims.all)}
    if claims.all.get("email_verified") is True and not _field(email, "unique"):
        values.update(_cleaned(email, claims.all.get("email")))
    for required in model.REQUIRED_FIELDS:
        if required not in values and not _may_be_left_out(required):
            given = [claims.all.get(required), claims.all.get("name"), values[name]]
            found = next((value for each in given if (value := _cleaned(required, each))), None)
            if found is None:
                raise UserRefused(f"No user can be made: no claim gives the field {required}.")
            values.update(found)
    # Without a password there is no login with one.
    return model._default_manager.create_user(**values, password=None)


def _field(name: str, attribute: str) -> Any:
    """Return what a field of users has in an attribute; None: there is no such field."""
    try:
        return getattr(get_user_model()._meta.get_field(name), attribute, None)
    except FieldDoesNotExist:
        return None


def _may_be_left_out(name: str) -> bool:
    field: Any = get_user_model()._meta.get_field(name)
    return bool(field.has_default() or field.null or field.blank)


def _cleaned(name: str, value: Any) -> dict[str, Any]:
    """Return the value by the name of its field; empty if the field cannot have it."""
    if not isinstance(value, str) or not value or _field(name, "name") is None:
        return {}
    field: Any = get_user_model()._meta.get_field(name)
    try:
        return {name: field.clean(unicodedata.normalize("NFKC", value), None)}
    except ValidationError:
        return {}


def _free_name(key: str, claims: Mapping[str, Any]) -> str:
    """Return what the token calls the user; with a suffix, if another user is called so."""
    field = user_name_field()
    given = [claims.get(name) for name in ("preferred_username", "email", "sub")]
    fitting = [str(name) for each in given for name in _cleaned(field, each).values()]
    suffix = f"-{key[:10]}"
    for text in [*fitting[:1], *(_with_suffix(each, suffix) for each in fitting), f"user{suffix}"]:
        for name in _cleaned(field, text).values():
            if not all_users().filter(**{f"{field}__iexact": name}).exists():
                return str(name)
    raise UserRefused("No user can be made: no claim gives a user name that is free here.")


def _with_suffix(text: str, suffix: str) -> str:
    """Put the suffix behind the name, in an address before the @."""
    local, at, domain = text.partition("@")
    room = (_field(user_name_field(), "max_length") or 150) - len(suffix) - len(at + domain)
    return f"{local[: max(room, 1)]}{suffix}{at}{domain}"
