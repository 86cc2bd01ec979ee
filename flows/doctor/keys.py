"""The keys of the installation, and what is stored that none of them decrypts."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.models.functions import Left

from flows.doctor.findings import Finding, error, ok, warning
from flows.encryption.payload_keys import PREFIX_LENGTH, encrypting, has_keys
from flows.encryption.payload_keys import keys as payload_keys
from flows.models.payload_text import is_encrypted
from flows.store.bounded import OutOfTime, within
from flows.tasks.encrypting import outdated, places
from scripts.extensions import encrypted_texts
from scripts.models.encryption import NotDecryptable, decrypt

MOST_NAMES = 5
# For each column with payloads: there may be millions of rows.
SECONDS = 1.0


def keys() -> Iterator[Finding]:
    yield _kept(
        "secret key",
        "ASYNCENGINE_SECRET_KEY",
        getattr(settings, "SECRET_KEY_IS_KEPT", False),
        "logins end where processes have another one",
    )
    yield _kept(
        "secrets keys",
        "ASYNCENGINE_SECRETS_KEYS",
        getattr(settings, "SECRETS_KEY_IS_KEPT", False),
        "without it the secrets are lost",
    )


def _kept(name: str, variable: str, is_kept: bool, consequence: str) -> Finding:
    if not is_kept:
        return ok(name, "It comes from the settings or the environment.")
    return warning(
        name,
        f"It is kept in the data directory of this machine alone; {consequence}.",
        f"Set {variable}, the same on every machine, to what the file has; back it up.",
    )


def secrets() -> Finding:
    """Decrypt each text that is stored encrypted."""
    count, lost = 0, []
    for name, text in encrypted_texts():
        count += 1
        try:
            decrypt(text)
        except NotDecryptable:
            lost.append(name)
        except (TypeError, ValueError):
            return _no_key("secrets", "ASYNCENGINE_SECRETS_KEYS")
    if not lost:
        return ok("secrets", f"The keys decrypt each of {count} stored texts.")
    more = f" and {len(lost) - MOST_NAMES} more" if len(lost) > MOST_NAMES else ""
    return error(
        "secrets",
        f"No key decrypts {len(lost)} of {count}: {', '.join(lost[:MOST_NAMES])}{more}.",
        "Add the key that encrypted them to ASYNCENGINE_SECRETS_KEYS, or give them new values.",
    )


def payloads() -> Finding:
    """Say which keys the payloads need, and whether these are the newest one."""
    name = "payload keys"
    try:
        key = encrypting()
        payload_keys()
    except (TypeError, ValueError):
        return _no_key(name, "ASYNCENGINE_PAYLOAD_KEYS")
    missing: dict[str, list[str]] = {}
    old, unread = [], []
    for model, columns in places():
        for column in columns:
            place = f"{model._meta.db_table}.{column.name}"
            rows = model._base_manager.order_by()
            encrypted = rows.filter(is_encrypted(column.name)).distinct()
            try:
                with within(SECONDS):
                    needed = list(
                        encrypted.values_list(Left(column.name, PREFIX_LENGTH), flat=True)
                    )
                    if rows.filter(outdated(column)).exists():
                        old.append(place)
            except OutOfTime:
                unread.append(place)
                continue
            for prefix in needed:
                if prefix.split(":")[2] not in payload_keys().all:
                    missing.setdefault(prefix.split(":")[2], []).append(place)
    if missing:
        told = "; ".join(f"{id} for {', '.join(at)}" for id, at in missing.items())
        return error(
            name,
            f"Payloads need keys that are missing: {told}.",
            "Add these keys to ASYNCENGINE_PAYLOAD_KEYS. Until then their messages wait.",
        )
    if old:
        return warning(
            name,
            f"Not written as they would be now: {', '.join(old)}.",
            "Run manage.py rotate_payloads.",
        )
    cut = f" Not all of {', '.join(unread)} was looked at." if unread else ""
    if key:
        return ok(name, f"Payloads are encrypted with the key {key.id}.{cut}")
    return ok(name, f"Payloads are not encrypted{', but read' if has_keys() else ''}.{cut}")


def _no_key(name: str, setting: str) -> Finding:
    # Without the key, which does not belong into a log.
    seen = f"{setting} holds something that is no key, or nothing."
    return error(name, seen, "Set a list of Fernet keys, the newest one first.")
