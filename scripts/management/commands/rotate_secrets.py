from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from scripts.checks import ENGINE
from scripts.extensions import EncryptedColumns, encrypted_columns
from scripts.models.encryption import NotDecryptable, encrypt_again


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Encrypts every secret again with the newest key, the first of ASYNCENGINE_SECRETS_KEYS."
        " After that the older keys can be taken off the list."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done, lost = 0, []
        with transaction.atomic():
            for place in encrypted_columns:
                count, names = _encrypted_again(place)
                done += count
                lost += names
        self.stdout.write(f"{done} encrypted with the newest key.")
        if lost:
            raise CommandError(f"none of the keys fits these, which stay as they are: {lost}")


def _encrypted_again(place: EncryptedColumns) -> tuple[int, list[str]]:
    """Return how many rows were encrypted, and the names of those that no key fits."""
    done, lost = 0, []
    rows = place.model._base_manager
    for row in rows.select_for_update():
        texts = {column: getattr(row, column) for column in place.columns}
        try:
            again = {column: encrypt_again(text) for column, text in texts.items() if text}
        except NotDecryptable:
            lost.append(place.name(row))
        else:
            # Not saved as a change: the texts stay the same, so the history gets no entry.
            rows.filter(pk=row.pk).update(**again)
            done += bool(again)
    return done, lost
