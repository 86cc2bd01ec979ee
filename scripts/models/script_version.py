from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction

from scripts.examination.faults import script_faults
from scripts.models.library import Library
from scripts.models.script import Script
from scripts.models.script_content import ScriptContent
from scripts.protocol.calls import Program


class ScriptVersion(ScriptContent):
    """Immutable. It outlives its script, since runs that started with it may still need it."""

    script = models.ForeignKey(
        Script, null=True, on_delete=models.SET_NULL, related_name="versions"
    )
    script_name = models.CharField(max_length=100)
    # Each with its name and code.
    libraries = models.JSONField(default=list)
    number = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["script_name", "-number"]
        constraints = [
            models.UniqueConstraint("script", "number", name="one_script_version_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.script_name} v{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("a script version is immutable: save its script to make a new one")
        super().save(*args, **kwargs)

    def content(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*self.CONTENT_FIELDS, "libraries")}

    def program(self) -> Program:
        """Return the program that a host runs."""
        return self._program(self.pk, self.script_name)

    def restore(self) -> ScriptVersion:
        """Make its content the script's own again, and return the version that this became.

        Versions keep the code of their libraries; the script gets those libraries as they are now.
        Raises ValidationError where one is gone or the content would be refused today, and
        Script.DoesNotExist.
        """
        if self.script_id is None:
            raise Script.DoesNotExist
        libraries = [(each.name, each.code) for each in self._present_libraries()]
        # Before the transaction, for that can take seconds.
        if faults := script_faults(self.language, self.code, libraries):
            raise ValidationError([str(fault) for fault in faults])
        return self._restored(self.script_id)

    @transaction.atomic
    def _restored(self, script_id: int) -> ScriptVersion:
        script = Script.objects.select_for_update().get(pk=script_id)
        for name in script.CONTENT_FIELDS:
            setattr(script, name, getattr(self, name))
        script.libraries = self._present_libraries()
        script.full_clean()
        script.save()
        return script.current_version

    def _present_libraries(self) -> list[Library]:
        names = [library["name"] for library in self.libraries]
        present = {library.name: library for library in Library.objects.filter(name__in=names)}
        if gone := [name for name in names if name not in present]:
            raise ValidationError(f"Libraries that are gone: {', '.join(gone)}.")
        return [present[name] for name in names]
