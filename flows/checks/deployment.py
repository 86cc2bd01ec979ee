"""Checks of `check --deploy`: the keys of an installation."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register


@register(deploy=True)
def secret_key_comes_from_the_environment(**kwargs: Any) -> list[CheckMessage]:
    if not settings.SECRET_KEY_IS_KEPT:
        return []
    return [
        Warning(
            "The secret key does not come from the environment.",
            hint="Set ASYNCENGINE_SECRET_KEY, the same on every machine. The key in var/ belongs"
            " to this machine alone.",
            id="flows.W001",
        )
    ]


@register(deploy=True)
def keys_of_secrets_come_from_the_environment(**kwargs: Any) -> list[CheckMessage]:
    if not settings.SECRETS_KEY_IS_KEPT:
        return []
    return [
        Warning(
            "The key that encrypts the scripts' secrets does not come from the environment.",
            hint="Set ASYNCENGINE_SECRETS_KEYS, the same on every machine. The key in var/ belongs"
            " to this machine alone, and without it the secrets are lost.",
            id="flows.W002",
        )
    ]
