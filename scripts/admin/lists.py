"""Fields of forms for lists: names to choose from, and lines of text."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminSelect2MultipleWidget, UnfoldAdminTextareaWidget

from scripts.models import Library, ReferenceTable, Secret
from scripts.protocol.table_file import MAX_TABLES
from scripts.services.addresses import allowed_host_fault


class OrderedSelect(UnfoldAdminSelect2MultipleWidget):
    """A list to choose from that keeps the order in which it was chosen."""

    class Media:
        js = ("scripts/ordered_select.js",)

    def __init__(self, attrs: dict[str, Any] | None = None, choices: Any = ()) -> None:
        super().__init__({"data-ordered": "", **(attrs or {})}, choices)

    def optgroups(self, name: str, value: list[str], attrs: Any = None) -> list[Any]:
        places = {chosen: place for place, chosen in enumerate(value)}
        return sorted(
            super().optgroups(name, value, attrs),
            key=lambda group: places.get(str(group[1][0]["value"]), len(places)),
        )


class LibrariesField(forms.ModelMultipleChoiceField):
    """Libraries, as a list in the order in which they were chosen."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Library.objects.all(), widget=OrderedSelect, **kwargs)

    def clean(self, value: Any) -> list[Library]:  # type: ignore[override]
        found = {str(library.pk): library for library in super().clean(value)}
        return [found[str(pk)] for pk in value or ()]

    def label_from_instance(self, library: Library) -> str:
        return f"{library.name} ({library.get_language_display()})"


class SecretNamesField(forms.MultipleChoiceField):
    """Names of secrets. A name without a secret stays chosen until the user removes it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=UnfoldAdminSelect2MultipleWidget, **kwargs)

    def offer(self, chosen: list[str]) -> None:
        """Offer the existing secrets, and the chosen names."""
        entered = list(Secret.objects.values_list("name", flat=True))
        missing = [(name, f"{name} (not entered yet)") for name in chosen if name not in entered]
        self.choices = [*((name, name) for name in entered), *missing]


class TableNamesField(forms.MultipleChoiceField):
    """Names of tables. A name without a table stays chosen until the user removes it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=UnfoldAdminSelect2MultipleWidget, **kwargs)

    def offer(self, chosen: list[str]) -> None:
        """Offer the tables that are there, and the chosen names."""
        stored = list(ReferenceTable.objects.values_list("name", flat=True))
        missing = [(name, f"{name} (not there)") for name in chosen if name not in stored]
        self.choices = [*((name, name) for name in stored), *missing]

    def clean(self, value: Any) -> list[str]:
        names: list[str] = super().clean(value)
        if len(names) > MAX_TABLES:
            raise ValidationError(f"A script reads at most {MAX_TABLES} tables.", code="invalid")
        return names


class HostsField(forms.CharField):
    """Names of hosts, one a line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        hosts = list(dict.fromkeys((super().to_python(value) or "").lower().split()))
        for host in hosts:
            if fault := allowed_host_fault(host):
                raise ValidationError(fault, code="invalid")
        return hosts

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)
