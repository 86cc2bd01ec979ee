"""Encrypts payloads at rest, where ASYNCENGINE_PAYLOAD_KEYS has keys. The first one encrypts.

An encrypted text is `enc:1:KEY:DATA`. KEY tells which key it needs. DATA is base64 of a salt, a
nonce and what AES-256-GCM has made of the text. No JSON text begins so; a plain text that does gets
a space before it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode, b64encode, urlsafe_b64decode
from binascii import Error as NoBase64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from flows.errors import PayloadUnreadable

MARK = "enc:1:"
# In place of the first key: what is written stays plain, what is encrypted is read.
PLAIN = "plain"
ID_LENGTH = 8
PREFIX_LENGTH = len(MARK) + ID_LENGTH + 1
KEY_BYTES, SALT_BYTES, NONCE_BYTES, TAG_BYTES = 32, 16, 12, 16
BESIDE_BYTES = SALT_BYTES + NONCE_BYTES + TAG_BYTES
# NIST SP 800-38D allows 2**32 texts with random nonces for a key. Each process derives keys of its
# own from the key of the settings, a new one after this number of texts: forks may share one.
MOST_TEXTS = 2**24
# Marks digests that were made with a key.
KEYED = "k:"
# The salt of texts that are to look the same each time.
SAME = b"always the same."


class PayloadKey:
    def __init__(self, text: str) -> None:
        """Raises ValueError where the text is no key."""
        self._secret = urlsafe_b64decode(text)
        if len(self._secret) != KEY_BYTES:
            raise ValueError("A key has 32 bytes, written in URL-safe base64.")
        self.id = hashlib.sha256(b"asyncengine payload key:" + self._secret).hexdigest()[:ID_LENGTH]
        self.prefix = f"{MARK}{self.id}:"
        self._salt, self._left = b"", 0

    def encrypt(self, data: bytes) -> str:
        if self._left <= 0:
            self._salt, self._left = os.urandom(SALT_BYTES), MOST_TEXTS
        self._left -= 1
        return self._encrypted(data, self._salt, os.urandom(NONCE_BYTES))

    def encrypt_same(self, text: str) -> str:
        """Return the same for the same text, so that the database can compare and group it."""
        data = text.encode()
        nonce = hmac.digest(self._derived(b"nonce"), data, "sha256")[:NONCE_BYTES]
        return self._encrypted(data, SAME, nonce)

    def keyed(self, digest: str) -> str:
        """Return a digest that tells nothing of what it is made of to those without the key."""
        return hmac.new(self._derived(b"digest"), digest.encode(), "sha256").hexdigest()

    def decrypt(self, data: bytes) -> bytes:
        """Raises InvalidTag."""
        nonce_at, text_at = SALT_BYTES, SALT_BYTES + NONCE_BYTES
        return self._cipher(data[:nonce_at]).decrypt(data[nonce_at:text_at], data[text_at:], None)

    def _encrypted(self, data: bytes, salt: bytes, nonce: bytes) -> str:
        encrypted = self._cipher(salt).encrypt(nonce, data, None)
        return self.prefix + b64encode(salt + nonce + encrypted).decode()

    def _cipher(self, salt: bytes) -> AESGCM:
        return _cipher(self._secret, salt)

    def _derived(self, what: bytes) -> bytes:
        return _derived(self._secret, what)


# One for each process that has written what is read.
@lru_cache(maxsize=4096)
def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(_derived(secret, b"payload:" + salt))


@lru_cache(maxsize=4096)
def _derived(secret: bytes, what: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"asyncengine:" + what).derive(secret)


class Keys:
    """The keys of the settings; `first` encrypts, None: what is written stays plain."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises ValueError where one is no key."""
        if PLAIN in texts[1:]:
            raise ValueError(f"{PLAIN!r} stands in place of the first key alone.")
        self.all = {key.id: key for key in (PayloadKey(text) for text in texts if text != PLAIN)}
        is_plain = not texts or texts[0] == PLAIN
        self.first = None if is_plain else next(iter(self.all.values()))


@lru_cache(maxsize=16)
def _keys_of(texts: tuple[str, ...]) -> Keys:
    return Keys(texts)


def keys() -> Keys:
    return _keys_of(tuple(settings.ASYNCENGINE_PAYLOAD_KEYS))


def has_keys() -> bool:
    """Say whether payloads are encrypted, or were before."""
    return bool(settings.ASYNCENGINE_PAYLOAD_KEYS)


def encrypting() -> PayloadKey | None:
    """Return the key that encrypts what is written, None where that stays plain."""
    return keys().first if settings.ASYNCENGINE_PAYLOAD_KEYS else None


def encrypt(text: str) -> str:
    """Return a text as the database is to have it; an empty one stays so."""
    if not text:
        return text
    if key := encrypting():
        return key.encrypt(text.encode())
    return escaped(text)


def encrypt_same(text: str, most: int) -> str:
    """Do the same for a text that is compared and grouped, in a column of that length.

    Its end is cut where it would be too long.
    """
    if not text:
        return text
    if key := encrypting():
        bound = (most - PREFIX_LENGTH) // 4 * 3 - BESIDE_BYTES
        return key.encrypt_same(text.encode()[:bound].decode(errors="ignore"))
    return escaped(text)


def same_forms(text: str, most: int) -> list[str]:
    """Return all that `encrypt_same` may have made of a text, with any of the keys or none."""
    bound = (most - PREFIX_LENGTH) // 4 * 3 - BESIDE_BYTES
    cut = text.encode()[:bound].decode(errors="ignore")
    return [escaped(text), *(key.encrypt_same(cut) for key in keys().all.values() if text)]


def keyed(digest: str) -> str:
    """Return a digest of a payload as the database is to have it."""
    key = encrypting()
    return KEYED + key.keyed(digest)[: len(digest) - len(KEYED)] if key else digest


def is_keyed_of(known: str, digest: str) -> bool:
    """Say whether a stored digest was made of this one, with any of the keys."""
    made = (KEYED + key.keyed(digest) for key in keys().all.values())
    return any(hmac.compare_digest(known, each[: len(known)]) for each in made)


def recorded(text: str | None) -> str | None:
    """Return a payload as a record has it that nothing changes later: not where it is encrypted."""
    return text if text is None or encrypting() is None else "[encrypted]"


def escaped(text: str) -> str:
    """Return a plain text so that it is taken for no encrypted one."""
    return f" {text}" if text.startswith(MARK) else text


def is_encrypted(text: str | None) -> bool:
    return text is not None and text.startswith(MARK)


def decrypt(text: str) -> str:
    """Return a text of the database as it was written. Raises PayloadUnreadable."""
    return decrypt_bytes(text).decode() if text.startswith(MARK) else text


def plain_bytes(text: str) -> int:
    """Return the bytes of a text of the database as it was written. It needs no key."""
    if not text.startswith(MARK):
        return len(text.encode())
    data = text[PREFIX_LENGTH:]
    return len(data) // 4 * 3 - data[-2:].count("=") - BESIDE_BYTES


def missing_key(text: str) -> str | None:
    """Return which key is missing for a text, or its prefix; None: it needs none that is."""
    id = text.removeprefix(MARK).partition(":")[0][:ID_LENGTH]
    if not text.startswith(MARK) or id in keys().all:
        return None
    return (
        f"The payload is encrypted with the key {id}, which ASYNCENGINE_PAYLOAD_KEYS does not have."
    )


def decrypt_bytes(text: str) -> bytes:
    """Return what is encrypted in a text. Raises PayloadUnreadable."""
    if fault := missing_key(text):
        raise PayloadUnreadable(fault)
    id, _, data = text.removeprefix(MARK).partition(":")
    try:
        return keys().all[id].decrypt(b64decode(data, validate=True))
    except (InvalidTag, NoBase64, ValueError) as error:
        raise PayloadUnreadable(
            f"The payload is encrypted with the key {id}, and was changed since."
        ) from error


def encrypt_again(text: str) -> str:
    """Return a text of the database as it would be written now. Raises PayloadUnreadable."""
    return encrypt(decrypt(text))


# --- rows of the hot path -------------------------------------------------------------------------

# The values of statements that have payloads, or parts of them.
COLUMNS = frozenset({"body", "error", "input", "logs", "result", "waiting"})


def as_stored_column(name: str, values: list[Any]) -> list[Any]:
    """Return a column of rows of a statement as the database is to have it."""
    key = encrypting() if name in COLUMNS else None
    return values if key is None else [v and key.encrypt(v.encode()) for v in values]


def as_stored(rows: Sequence[Any]) -> Sequence[Any]:
    """Return rows of a statement as the database is to have them."""
    key = encrypting()
    if key is None:
        return rows
    return [
        {
            name: key.encrypt(value.encode()) if value and name in COLUMNS else value
            for name, value in row.items()
        }
        for row in rows
    ]
