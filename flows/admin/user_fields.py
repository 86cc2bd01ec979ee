"""The fields on the pages of users, read from the model: it may be the project's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import AutoField, CharField, TextField

FLAGS = ("is_active", "is_staff", "is_superuser")
GIVEN = ("groups", "user_permissions")
DATES = ("last_login", "date_joined")
ADVANCED = "Advanced: Django's permissions"
ADVANCED_HELP = (
    "Not needed with a profile. A permission counts for every row of its kind: to change flows and"
    " queues the user has to see them by a role, too."
)


class UserFields:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.name: str = model.USERNAME_FIELD
        self._known = {self.name, "password", *FLAGS, *GIVEN, *DATES}

    def there(self, *names: str) -> tuple[str, ...]:
        """Return those of the names that are fields of the model."""
        return tuple(name for name in names if self._field(name) is not None)

    def sections(self) -> Any:
        """Return the fieldsets of the page of a user."""
        personal = [each.name for each in self._own() if not each.primary_key]
        by_title = {
            None: (self.name, "password"),
            "Personal info": tuple(personal),
            "Access": self.there(*FLAGS, "groups"),
            ADVANCED: self.there("user_permissions"),
            "Dates": self.shown_dates(),
        }
        folded: dict[str | None, Any] = {
            ADVANCED: {"classes": ("collapse",), "description": ADVANCED_HELP}
        }
        return [
            (title, {"fields": names, **folded.get(title, {})})
            for title, names in by_title.items()
            if names
        ]

    def shown_dates(self) -> tuple[str, ...]:
        """Return the columns of the dates that the model has."""
        return tuple(f"shown_{name}" for name in self.there(*DATES))

    def sections_of_new(self) -> Any:
        """Return the fieldsets of the page that makes a user: the fields that a user needs."""
        needed = [
            each.name
            for each in self._own()
            if not each.many_to_many and not each.blank and not each.has_default()
        ]
        fields = (self.name, *needed, "usable_password", "password1", "password2")
        return [(None, {"classes": ("wide",), "fields": fields})]

    def columns(self) -> tuple[str, ...]:
        email = self.there(self.model.get_email_field_name())
        return tuple(dict.fromkeys((self.name, *email, "roles", *self.there(*FLAGS))))

    def searched(self) -> tuple[str, ...]:
        names = dict.fromkeys((self.name, *(each.name for each in self._own())))
        return tuple(n for n in names if isinstance(self._field(n), CharField | TextField))

    def _field(self, name: str) -> Any:
        try:
            field = self.model._meta.get_field(name)
        except FieldDoesNotExist:
            return None
        # A relation from another model is no field of this one.
        return None if field.auto_created and not field.concrete else field

    def _own(self) -> Iterator[Any]:
        """Yield the fields beyond Django's own that a page can change."""
        meta = self.model._meta
        for field in (*meta.concrete_fields, *meta.many_to_many):
            if field.name not in self._known and _is_open(field):
                yield field


def _is_open(field: Any) -> bool:
    if not field.editable or field.auto_created or isinstance(field, AutoField):
        return False
    relation = field.remote_field
    if field.many_to_many:
        return bool(relation.through._meta.auto_created)
    return not getattr(relation, "parent_link", False)
