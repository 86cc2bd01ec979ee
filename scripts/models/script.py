from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from simple_history.models import HistoricalRecords

from scripts.dotted_path import callable_fault
from scripts.models.authors import author_of_change
from scripts.models.ids import unrepeatable_id, with_next_number
from scripts.models.language import Language
from scripts.models.library import Library
from scripts.models.script_content import ScriptContent
from scripts.names import require_name
from scripts.protocol.calls import Program

if TYPE_CHECKING:
    from scripts.models.script_version import ScriptVersion


class Script(ScriptContent):
    """An on-demand script as it is edited. What runs is always one of its versions."""

    name = models.CharField(
        max_length=100, unique=True, help_text="What steps and exports call it by."
    )
    description = models.TextField(blank=True, help_text="What it does, for those who read it.")
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    _chosen_libraries: list[Library] | None = None
    # Changes that no column has, before and after, by name: noted for the receivers of `post_save`.
    extra_changes: dict[str, tuple[list[str], list[str]]] = {}

    class Meta:
        ordering = ["name"]
        # See `scripts.grants`.
        permissions = [
            ("use_secrets", "Can use secrets in scripts"),
            ("call_private_addresses", "Can let scripts call private addresses"),
            ("call_any_host", "Can let scripts call any host"),
        ]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        chosen, self._chosen_libraries = self._chosen_libraries, None
        self.extra_changes = {} if chosen is None else self._change_of_libraries(chosen)
        super().save(*args, **kwargs)
        if chosen is not None:
            self._use(chosen)
        self.make_version(author=author_of_change(self))

    def clean(self) -> None:
        require_name(self)
        if self.timeout is not None and self.timeout <= timedelta(0):
            raise ValidationError({"timeout": "The time limit must be longer than zero."})
        others = [each.name for each in self.libraries if each.language != self.language]
        if others:
            raise ValidationError({"libraries": f"Of another language: {', '.join(others)}."})
        self._clean_callable()

    def _clean_callable(self) -> None:
        if self.language == Language.CALLABLE:
            if fault := callable_fault(self.code):
                raise ValidationError({"code": fault})
        elif self.in_transaction:
            raise ValidationError("Only a callable can run in the transaction of the hand-over.")

    @property
    def libraries(self) -> list[Library]:
        """The libraries that it uses, in the order in which they are evaluated.

        Set, they become those of the script when it is saved.
        """
        if self._chosen_libraries is not None:
            return self._chosen_libraries
        if self.pk is None:
            return []
        return [use.library for use in self.library_uses.all()]

    @libraries.setter
    def libraries(self, libraries: Iterable[Library]) -> None:
        self._chosen_libraries = list(libraries)

    def content(self) -> dict[str, Any]:
        libraries = [{"name": each.name, "code": each.code} for each in self.libraries]
        fields = {name: getattr(self, name) for name in self.CONTENT_FIELDS}
        return {**fields, "libraries": libraries}

    def program(self) -> Program:
        """Return the program of the script as it is being edited: no version, so the id is 0."""
        return self._program(0, self.name)

    @property
    def current_version(self) -> ScriptVersion:
        return self.versions.latest("number")

    def matching_version(self) -> ScriptVersion | None:
        """Return the latest version if it has the present content."""
        latest = self._latest_version()
        return latest if latest and self._is_in(latest) else None

    def _latest_version(self) -> ScriptVersion | None:
        return self.versions.order_by("number").last()

    def _is_in(self, version: ScriptVersion) -> bool:
        return version.script_name == self.name and version.content() == self.content()

    def make_version(self, author: Any = None) -> ScriptVersion:
        """Return the version with the present content, a new one if the latest differs."""
        return self.matching_version() or with_next_number(lambda: self._make_version(author))

    def _make_version(self, author: Any) -> ScriptVersion:
        latest = self._latest_version()
        if latest and self._is_in(latest):
            return latest
        return self.versions.create(
            pk=unrepeatable_id(),
            # After the one that was compared: if another was committed since, the number is taken.
            number=latest.number + 1 if latest else 1,
            script_name=self.name,
            author=author,
            **self.content(),
        )

    def _change_of_libraries(self, chosen: list[Library]) -> dict[str, tuple[list[str], list[str]]]:
        used = LibraryUse.objects.filter(script=self.pk) if self.pk else LibraryUse.objects.none()
        before = list(used.order_by("position").values_list("library__name", flat=True))
        return {"libraries": (before, [library.name for library in chosen])}

    def _use(self, libraries: list[Library]) -> None:
        # The prefetched uses may have changed since.
        getattr(self, "_prefetched_objects_cache", {}).pop("library_uses", None)
        uses = list(self.library_uses.all())
        if [use.library_id for use in uses] == [library.pk for library in libraries]:
            return
        self.library_uses.all().delete()
        LibraryUse.objects.bulk_create(
            LibraryUse(script=self, library=library, position=position)
            for position, library in enumerate(libraries)
        )


class LibraryUses(models.Manager["LibraryUse"]):
    def get_queryset(self) -> models.QuerySet[LibraryUse]:
        return super().get_queryset().select_related("library")


class LibraryUse(models.Model):
    """One of the libraries that a script uses."""

    script = models.ForeignKey(Script, on_delete=models.CASCADE, related_name="library_uses")
    library = models.ForeignKey(Library, on_delete=models.PROTECT, related_name="uses")
    position = models.PositiveIntegerField()

    objects = LibraryUses()

    class Meta:
        ordering = ["script", "position"]
        constraints = [
            models.UniqueConstraint("script", "library", name="library_once_per_script"),
        ]

    def __str__(self) -> str:
        return f"{self.script} uses {self.library}"
