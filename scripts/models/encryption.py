"""Encrypts secrets. The first key of the settings encrypts, every one of them decrypts."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class NotDecryptable(Exception):
    """None of the keys in ASYNCENGINE_SECRETS_KEYS fits."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def encrypt(text: str) -> str:
    return _keys().encrypt(text.encode()).decode()


def decrypt(encrypted: str) -> str:
    """Raises NotDecryptable."""
    try:
        return _keys().decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        raise NotDecryptable from error


def encrypt_again(encrypted: str) -> str:
    """Encrypt with the first key a text that any key has encrypted. Raises NotDecryptable."""
    try:
        return _keys().rotate(encrypted.encode()).decode()
    except InvalidToken as error:
        raise NotDecryptable from error


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.ASYNCENGINE_SECRETS_KEYS])
