"""Bearer tokens: a limited number for each user. A new password revokes all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import get_hasher, identify_hasher
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.models.signals import post_delete, post_save, pre_save
from knox.models import get_digest_token, get_token_model
from knox.settings import CONSTANTS, knox_settings

from flows.access import audit
from flows.access.rights import Caller
from flows.errors import PasswordChanged, TooManyTokens
from flows.models import TokenName, TokenUse
from flows.models.users import all_users, user_models
from flows.store import store

CREDENTIALS = frozenset({"password", "is_active"})


DEFAULT: Any = object()
# Where REST_KNOX sets no limit.
MOST_TOKENS = 50


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token as it was made: its text, which is stored nowhere, and its row."""

    text: str
    row: Any


def make_token(user: Any, name: str = "", lifetime: timedelta | None = DEFAULT) -> NewToken:
    """Make a token for a user whose credentials were checked.

    If the user has the most tokens that a user may have, the oldest one without a name is revoked.
    Raises TooManyTokens if there is none that ends, and for a token with a name; PasswordChanged
    if the password has changed since the user was read.
    """
    if lifetime is DEFAULT:
        lifetime = knox_settings.TOKEN_TTL
    with transaction.atomic():
        # The lock serialises two calls for one user and delays a change of the password.
        stored = all_users().select_for_update().filter(pk=user.pk).first()
        if stored is None or not stored.is_active or stored.password != user.password:
            raise PasswordChanged
        tokens, now = tokens_of(user), store().database.now()
        tokens.filter(expiry__lt=now).delete()
        with audit.acting(user=user):
            if tokens.count() >= most_tokens():
                if name:
                    raise TooManyTokens(f"{_full()}: revoke one for another with a name.")
                _revoke_oldest_unnamed(tokens)
            return _stored(user, name, None if lifetime is None else now + lifetime)


def _stored(user: Any, name: str, expiry: datetime | None) -> NewToken:
    digest, text = get_digest_token()
    key = text[: CONSTANTS.TOKEN_KEY_LENGTH]
    row = get_token_model()(digest=digest, token_key=key, user=user, expiry=expiry)
    row.name = name
    if name:
        row.extra_changes = {"name": ("", name)}
    row.save(force_insert=True)
    call_token(row, name)
    return NewToken(text, row)


def has_room(user: AbstractBaseUser) -> bool:
    """Say whether the user may have one more token without losing another."""
    ended = tokens_of(user).filter(expiry__lt=store().database.now()).count()
    return tokens_of(user).count() - ended < most_tokens()


def tokens_of(user: Caller) -> QuerySet[Any]:
    tokens: QuerySet[Any] = get_token_model().objects.filter(user=user.pk)
    return tokens


def valid_tokens(user: Caller) -> QuerySet[Any]:
    """Return the user's tokens that have not expired, each with its name and its last use."""
    is_valid = Q(expiry=None) | Q(expiry__gt=store().database.now())
    return with_names_and_uses(tokens_of(user).filter(is_valid))


def with_names_and_uses(tokens: QuerySet[Any]) -> QuerySet[Any]:
    """Return the tokens with `name`, "" where there is none, and `used_at`."""
    names = TokenName.objects.filter(pk=OuterRef("pk")).values("name")
    uses = TokenUse.objects.filter(pk=OuterRef("pk")).values("used_at")
    return tokens.annotate(name=Coalesce(Subquery(names), Value("")), used_at=Subquery(uses))


def revoke_token(user: Any, key: str) -> bool:
    """Revoke the user's token that begins with the key; return whether there was one."""
    with audit.acting(user=user):
        count, _ = tokens_of(user).filter(token_key=key).delete()
    return bool(count)


def most_tokens() -> int:
    return int(knox_settings.TOKEN_LIMIT_PER_USER or MOST_TOKENS)


def call_token(token: Any, name: str) -> None:
    """Keep a name of the stored token; an empty one is none."""
    if name:
        TokenName.objects.update_or_create(token=token.pk, defaults={"name": name})


def token_name(token: Any, letters: int | None = None) -> str:
    """Return what tells tokens apart, not the stored digest: name, first letters and user."""
    known = getattr(token, "name", None)
    name = name_of(token) if known is None else known
    text = f"{token.token_key[:letters]}… of {token.user}"
    return f"{name} ({text})" if name else text


def name_of(token: Any) -> str:
    """Return the name of a token, "" if it has none."""
    named = TokenName.objects.filter(pk=token.pk).first() if token.pk else None
    return named.name if named else ""


def _revoke_oldest_unnamed(tokens: QuerySet[Any]) -> None:
    """Revoke one. A limit that was lowered revokes no further ones: they end by themselves."""
    unnamed = tokens.exclude(pk__in=TokenName.objects.values("pk")).exclude(expiry=None)
    oldest = unnamed.order_by("created", "pk").first()
    if oldest is None:
        raise TooManyTokens(f"{_full()}, and each has a name or no end: revoke one.")
    oldest.delete()


def _full() -> str:
    return f"The user has {most_tokens()} tokens, the most that a user may have"


# --- changed credentials -----------------------------------------------------------------------


def connect() -> None:
    post_delete.connect(_forget, sender=get_token_model(), dispatch_uid="token-forgotten")
    for model in user_models():
        pre_save.connect(_note_change, sender=model, dispatch_uid="credentials-noted")
        post_save.connect(_revoke_if_changed, sender=model, dispatch_uid="credentials-changed")


def _forget(sender: Any, instance: Any, **kwargs: Any) -> None:
    for beside in (TokenName, TokenUse):
        beside.objects.filter(pk=instance.pk).delete()


def _note_change(sender: Any, instance: Any, raw: bool, update_fields: Any, **kwargs: Any) -> None:
    instance._revokes_tokens = False
    if raw or not instance.pk or (update_fields and not CREDENTIALS & set(update_fields)):
        return
    if stored := all_users().filter(pk=instance.pk).first():
        instance._revokes_tokens = stored.is_active != instance.is_active or (
            stored.password != instance.password
            and not is_only_hashed_anew(instance, stored.password, update_fields)
        )


def is_only_hashed_anew(user: Any, stored: str, update_fields: Any) -> bool:
    """Say whether a login has stored the same password by a stronger hash.

    Django does so with nothing else, without the raw password that a change leaves on the user, and
    only where the old hash was due.
    """
    if user._password is not None or set(update_fields or ()) != {"password"}:
        return False
    try:
        used, preferred = identify_hasher(stored), get_hasher()
    except ValueError:
        return False
    return used.algorithm != preferred.algorithm or bool(preferred.must_update(stored))


def _revoke_if_changed(sender: Any, instance: Any, **kwargs: Any) -> None:
    if instance._revokes_tokens:
        tokens_of(instance).delete()
