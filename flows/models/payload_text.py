"""Columns with payloads. Where there are keys, they are encrypted; callers see plain texts."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Case, Expression, ExpressionWrapper, F, Q, TextField, When
from django.db.models.functions import Left, Length

from flows.encryption import payload_keys
from flows.encryption.payload_keys import BESIDE_BYTES, MARK, PREFIX_LENGTH
from flows.errors import PayloadUnreadable


class PayloadField(models.Field):
    """A text that is encrypted when it is saved and decrypted when it is read, if there are keys.

    Queries and expressions encrypt no values: they compare with the text as it is stored. Reading
    raises PayloadUnreadable.
    """

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        return value if value is None else payload_keys.decrypt(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if isinstance(value, Unread):
            value = value.stored
        elif isinstance(value, str):
            value = self.encrypted(value)
        return super().get_db_prep_save(value, connection)

    def encrypted(self, text: str) -> str:
        return payload_keys.encrypt(text)

    def deconstruct(self) -> Any:
        """Return a plain field for migrations, as the column is a plain one."""
        name, _, args, kwargs = super().deconstruct()
        return name, f"django.db.models.{self.get_internal_type()}", args, kwargs


class Unread(str):
    """What is shown in place of a text that cannot be decrypted; `stored` is saved again."""

    stored: str

    @classmethod
    def of(cls, error: PayloadUnreadable, stored: str) -> Unread:
        unread = cls(f"[{error}]")
        unread.stored = stored
        return unread


def as_read(text: str) -> str:
    """Return a text that was read to be shown. Raises PayloadUnreadable."""
    if isinstance(text, Unread):
        raise PayloadUnreadable(text[1:-1])
    return text


class _Shown(PayloadField):
    """A text for people: where it cannot be decrypted, it says why. See `as_read`."""

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        try:
            return super().from_db_value(value, *args)
        except PayloadUnreadable as error:
            return Unread.of(error, value or "")


class PayloadText(PayloadField, models.TextField):
    """JSON that the engine reads. Raises PayloadUnreadable where it cannot be decrypted."""

    def encrypted(self, text: str) -> str:
        # A text that could not be decrypted is stored again unchanged. JSON never begins like it.
        return text if payload_keys.is_encrypted(text) else super().encrypted(text)


class ShownText(_Shown, models.TextField):
    """A text for people: where it cannot be decrypted, it says why."""


class OptionalText(PayloadField, models.TextField):
    """A text that pages can do without: None, or empty, where it cannot be decrypted."""

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        try:
            return super().from_db_value(value, *args)
        except PayloadUnreadable:
            return None if self.null else ""


class GroupedText(_Shown, models.CharField):
    """A text by which rows are grouped: equal texts are equal when they are encrypted, too."""

    def encrypted(self, text: str) -> str:
        return payload_keys.encrypt_same(text, self.max_length or 0)

    def forms(self, text: str) -> list[str]:
        """Return the forms in which the text may be stored. A query looks for all of them."""
        return payload_keys.same_forms(text, self.max_length or 0)


class KeyedDigest(models.CharField):
    """The digest of a payload, saved with a key: without the key no guess can be tested by it.

    Reading returns the keyed digest; `flows/message/digest.py` compares.
    """

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return super().get_db_prep_save(payload_keys.keyed(value), connection)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


# --- in queries ---------------------------------------------------------------------------------


class _Cut(ShownText):
    """The beginning of a text that people read."""

    def __init__(self, *args: Any, most: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most = most

    def from_db_value(self, value: str | None, *args: Any) -> str | None:
        text = super().from_db_value(value, *args)
        return text if text is None else text[: self.most]


def is_encrypted(name: str) -> Q:
    """Return the condition that a column is encrypted: the database finds no text in it."""
    return Q(**{f"{name}__startswith": MARK})


def lacks_key(name: str) -> Q:
    """Return the condition that a column is encrypted with a key that is not there."""
    condition = is_encrypted(name)
    for key in payload_keys.keys().all.values():
        condition &= ~Q(**{f"{name}__startswith": key.prefix})
    return condition


def shown(name: str) -> Expression:
    """Return a column to be shown, see `ShownText`."""
    return ExpressionWrapper(F(name), ShownText())


def stored(name: str) -> Expression:
    """Return a column as the database has it."""
    return ExpressionWrapper(F(name), TextField())


def beginning(name: str, most: int) -> Expression:
    """Return the first characters of a column, to be shown. Encrypted columns are read whole."""
    return Case(
        When(is_encrypted(name), then=F(name)),
        default=Left(name, most),
        output_field=_Cut(most=most),
    )


def length(name: str) -> Expression:
    """Count the characters of a column; where it is encrypted, its bytes and up to two more."""
    encrypted = (Length(name) - PREFIX_LENGTH) * 3 / 4 - BESIDE_BYTES
    return Case(When(is_encrypted(name), then=encrypted), default=Length(name))
