"""The secrets that sign the webhooks of a flow, stored encrypted as those of scripts are."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any

from django.db import transaction

from flows.access import audit
from flows.models import Flow, FlowWebhook
from flows.store import store
from scripts.extensions import EncryptedColumns
from scripts.models.encryption import decrypt, encrypt

PREFIX = "whsec_"
KEY_BYTES = 32
# How long the secret before signs, too, so that receivers have time to take the new one.
PREVIOUS_SIGNS = timedelta(days=1)
COLUMNS = EncryptedColumns(
    FlowWebhook, ("encrypted", "previous_encrypted"), lambda row: f"webhooks of {row.flow.name}"
)


def new_secret() -> str:
    return PREFIX + b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def webhook_of(flow: Flow) -> FlowWebhook:
    """Return what is kept for the webhooks of a flow; its secret is made when it is needed first.

    Flow and row are no part of a plan, so this changes no configuration.
    """
    row, _ = FlowWebhook.objects.get_or_create(
        flow=flow, defaults={"encrypted": encrypt(new_secret())}
    )
    return row


def secret_of(flow: Flow) -> str:
    """Return the secret as receivers are given it. Raises NotDecryptable."""
    return decrypt(webhook_of(flow).encrypted)


def signing_keys(flow: Flow) -> list[bytes]:
    """Return the keys that sign now, the newest first. Raises NotDecryptable."""
    row = webhook_of(flow)
    texts = [decrypt(row.encrypted)]
    if is_replaced(row):
        texts.append(decrypt(row.previous_encrypted))
    return [b64decode(text.removeprefix(PREFIX)) for text in texts]


def is_replaced(row: FlowWebhook) -> bool:
    """Whether the secret before signs, too."""
    at = row.rotated_at
    return bool(row.previous_encrypted and at and at + PREVIOUS_SIGNS > store().database.now())


def show_secret(flow: Flow, user: Any) -> str:
    """Return the secret for a user; the audit log has it. Raises NotDecryptable."""
    with transaction.atomic():
        audit.record("show the webhook secret", flow, user=user)
        return secret_of(flow)


def replace_secret(flow: Flow, user: Any, reason: str = "") -> None:
    """Give a flow a new secret. The one before signs, too, for a day."""
    with transaction.atomic():
        row = FlowWebhook.objects.select_for_update().get(pk=webhook_of(flow).pk)
        row.previous_encrypted = row.encrypted
        row.encrypted = encrypt(new_secret())
        row.rotated_at = store().database.now()
        row.save(update_fields=["previous_encrypted", "encrypted", "rotated_at"])
        audit.record("replace the webhook secret", flow, user=user, reason=reason)
