"""The keys of the installation, and what is stored that none of them decrypts."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from flows.doctor.findings import Finding, error, ok, warning
from scripts.extensions import encrypted_texts
from scripts.models.encryption import NotDecryptable, decrypt

MOST_NAMES = 5


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
    if not lost:
        return ok("secrets", f"The keys decrypt each of {count} stored texts.")
    more = f" and {len(lost) - MOST_NAMES} more" if len(lost) > MOST_NAMES else ""
    return error(
        "secrets",
        f"No key decrypts {len(lost)} of {count}: {', '.join(lost[:MOST_NAMES])}{more}.",
        "Add the key that encrypted them to ASYNCENGINE_SECRETS_KEYS, or give them new values.",
    )
