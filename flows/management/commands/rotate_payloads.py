from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flows.tasks.encrypting import encrypt_all_again
from scripts.checks import ENGINE


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Encrypts every payload again that is not under the newest key, the first of"
        ' ASYNCENGINE_PAYLOAD_KEYS; where that is "plain", decrypts them. Everything goes on'
        " meanwhile. A command that was killed is repeated, and goes on."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            rotated = encrypt_all_again()
        except OSError as error:
            raise CommandError(f"The archive cannot be written: {error}") from error
        for name, count in sorted(rotated.rows.items()):
            self.stdout.write(f"{name}  {count}")
        left = [f"{count} stay as they are: {why}" for why, count in rotated.unreadable.items()]
        if rotated.held:
            left.append(f"{rotated.held} are being worked on: repeat the command.")
        if left:
            raise CommandError(" ".join(left))
        self.stdout.write("Nothing is left to do.")
