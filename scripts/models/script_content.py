from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from scripts.models.language import Language
from scripts.protocol.calls import LibraryCode, Program


class ScriptContent(models.Model):
    """The content of a version of a script: any change of it makes a new version."""

    language = models.CharField(max_length=16, choices=Language, default=Language.PYTHON)
    code = models.TextField()
    input_schema = models.JSONField(
        default=dict, blank=True, help_text="JSON Schema of the payload; empty accepts any."
    )
    output_schema = models.JSONField(
        default=dict, blank=True, help_text="JSON Schema of the output's payload; empty: any."
    )
    timeout = models.DurationField(
        default=timedelta(seconds=30), help_text="A run of the script is ended after this time."
    )
    memory_mb = models.PositiveIntegerField(
        "memory (MB)",
        default=256,
        validators=[MinValueValidator(16), MaxValueValidator(65_536)],
    )
    network = models.BooleanField(default=False, help_text="May the script make outside calls?")
    allowed_hosts = models.JSONField(
        default=list, blank=True, help_text="Hosts that it may call; empty: every public one."
    )
    private_addresses = models.BooleanField(
        default=False, help_text="May it call addresses of the private network, too?"
    )
    # By name, not by key: a configuration may come before the secrets that it needs.
    secrets = models.JSONField(default=list, blank=True, help_text="Secrets that it may read.")
    # By name, as secrets.
    tables = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        help_text="Reference tables that it may read.",
    )
    in_transaction = models.BooleanField(
        default=False,
        help_text="Commit what a callable writes to the database together with the hand-over of"
        " its output. It has 2 s at most.",
    )

    class Meta:
        abstract = True

    CONTENT_FIELDS = (
        "language",
        "code",
        "input_schema",
        "output_schema",
        "timeout",
        "memory_mb",
        "network",
        "allowed_hosts",
        "private_addresses",
        "secrets",
        "tables",
        "in_transaction",
    )

    def content(self) -> dict[str, Any]:
        """Return the content, with the name and code of each library."""
        raise NotImplementedError

    def _program(self, version_id: int, name: str) -> Program:
        content = self.content()
        return Program(
            version_id=version_id,
            name=name,
            language=content["language"],
            code=content["code"],
            timeout_seconds=content["timeout"].total_seconds(),
            memory_mb=content["memory_mb"],
            libraries=tuple(LibraryCode(**library) for library in content["libraries"]),
            input_schema=_schema_text(content["input_schema"]),
            output_schema=_schema_text(content["output_schema"]),
            network=content["network"],
            allowed_hosts=tuple(content["allowed_hosts"]),
            private_addresses=content["private_addresses"],
            secrets=tuple(content["secrets"]),
            tables=tuple(content["tables"]),
            in_transaction=content["in_transaction"],
        )


def _schema_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema) if schema else ""
