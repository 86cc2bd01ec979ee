from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from simple_history.models import HistoricalRecords

from scripts.examination.faults import library_faults
from scripts.host.languages import library_name_fault
from scripts.models.authors import author_of_change
from scripts.models.language import Language
from scripts.names import require_name

if TYPE_CHECKING:
    from scripts.models.script import Script


class Library(models.Model):
    """Code that scripts of its language share: in Python a module that they import by its name."""

    name = models.CharField(max_length=100, unique=True)
    language = models.CharField(max_length=16, choices=Language.of_code(), default=Language.PYTHON)
    code = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "libraries"

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it, and make a new version of each script that uses it."""
        super().save(*args, **kwargs)
        for script in self.scripts():
            script.make_version(author=author_of_change(self))

    def clean(self) -> None:
        require_name(self)
        wrong = {
            "name": library_name_fault(self.language, self.name) or self._rename_fault(),
            "code": [str(fault) for fault in library_faults(self.language, self.code)],
            "language": self._language_fault(),
        }
        if any(wrong.values()):
            raise ValidationError({field: fault for field, fault in wrong.items() if fault})

    def scripts(self) -> models.QuerySet[Script]:
        """Return the scripts that use it, by name."""
        from scripts.models.script import Script

        if self.pk is None:
            # Otherwise these would be the scripts that use no library.
            return Script.objects.none()
        return Script.objects.filter(library_uses__library=self.pk)

    def _rename_fault(self) -> str:
        users = self.scripts().exclude(library_uses__library__name=self.name)
        return f"Scripts use it by its name: {', '.join(map(str, users))}." if users else ""

    def _language_fault(self) -> str:
        others = self.scripts().exclude(language=self.language).values_list("name", flat=True)
        return f"Scripts of another language use it: {', '.join(others)}." if others else ""
