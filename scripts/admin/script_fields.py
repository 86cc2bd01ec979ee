"""A form for the fields of a script that are no plain fields of its model."""

from __future__ import annotations

from typing import Any

from django.forms import ModelForm

from scripts.admin.lists import HostsField, LibrariesField, SecretNamesField, TableNamesField
from scripts.extensions import ScriptRights


class ScriptFields(ModelForm):
    libraries = LibrariesField(
        required=False, help_text="Evaluated in this order; in Python the script imports them."
    )
    allowed_hosts = HostsField(
        required=False,
        help_text="One a line, such as api.example.org; empty: every public host.",
    )
    secrets = SecretNamesField(required=False, help_text="Those that the script may read.")
    tables = TableNamesField(
        required=False, help_text="Reference tables that the script looks things up in."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "libraries" in self.fields:
            self.initial.setdefault(
                "libraries", [library.pk for library in self.instance.libraries]
            )
        if isinstance(secrets := self.fields.get("secrets"), SecretNamesField):
            secrets.offer(self.instance.secrets)
        if isinstance(tables := self.fields.get("tables"), TableNamesField):
            tables.offer(self.instance.tables)

    def offer_libraries_in_reach(self, rights: ScriptRights) -> None:
        """Offer those that a script which the user may see has already."""
        libraries: Any = self.fields.get("libraries")
        if libraries is not None and not rights.has_all:
            libraries.queryset = libraries.queryset.filter(uses__script__in=rights.seen).distinct()

    def offer_no_other_secrets(self) -> None:
        """Name no secret but those that the script reads."""
        if isinstance(secrets := self.fields.get("secrets"), SecretNamesField):
            secrets.choices = [(name, name) for name in self.instance.secrets]

    def offer_no_other_tables(self) -> None:
        """Name no table but those that the script reads."""
        if isinstance(tables := self.fields.get("tables"), TableNamesField):
            tables.choices = [(name, name) for name in self.instance.tables]

    def _post_clean(self) -> None:
        if "libraries" in self.cleaned_data:
            self.instance.libraries = self.cleaned_data["libraries"]
        super()._post_clean()  # type: ignore[misc]
