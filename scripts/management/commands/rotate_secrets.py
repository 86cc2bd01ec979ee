from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from scripts.extensions import encrypted_sources
from scripts.models import Secret
from scripts.models.encryption import NotDecryptable, encrypt_again


class Command(BaseCommand):
    help = (
        "Encrypts every secret again with the newest key, the first of ASYNCENGINE_SECRETS_KEYS."
        " After that the older keys can be taken off the list."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        done, lost = 0, []
        with transaction.atomic():
            for encrypt in (_secrets_again, *encrypted_sources):
                count, names = encrypt()
                done += count
                lost += names
        self.stdout.write(f"{done} encrypted with the newest key.")
        if lost:
            raise CommandError(f"none of the keys fits these, which stay as they are: {lost}")


def _secrets_again() -> tuple[int, list[str]]:
    done, lost = 0, []
    for secret in Secret.objects.select_for_update():
        try:
            encrypted = encrypt_again(secret.encrypted)
        except NotDecryptable:
            lost.append(secret.name)
        else:
            # Not saved as a change: the value stays the same, so the history gets no entry.
            Secret.objects.filter(pk=secret.pk).update(encrypted=encrypted)
            done += 1
    return done, lost
