"""The settings of a PostgreSQL session. They override those of role, database and server."""

from __future__ import annotations

import re

from django.core.exceptions import ImproperlyConfigured

# Operators decide on default_transaction_read_only and synchronous_commit.
SESSION_SETTINGS = {
    # Compiling our queries takes longer than running them: 50 ms instead of 1.
    "jit": "off",
    # The engine limits its own transactions, see flows/store/postgresql.py. Transactions of the
    # project have no limit.
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "search_path": '"$user", public',
    # The text form of values.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "row_security": "on",
}

# The syntax of libpq: `-c name=value` or `--name=value`. A backslash escapes the next character.
WORD = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)
OPTION = re.compile(r"(?:-c|--)([\w.-]+)=(.*)", re.DOTALL)


def session_settings(options: str) -> dict[str, str]:
    """Return the settings of a session, with those in the `options` of a database URL.

    They are set after connecting, since a pooler refuses or drops `options` in the start-up
    message. Raises ImproperlyConfigured for options other than settings.
    """
    words = [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) for word in WORD.findall(options)]
    joined = re.sub("\0-c\0", "\0-c", "\0" + "\0".join(words)).split("\0")[1:] if words else []
    given: dict[str, str] = {}
    for word in joined:
        if not (option := OPTION.fullmatch(word)):
            raise ImproperlyConfigured(
                f"DATABASE_URL: options may be -c name=value alone, not {word!r}"
            )
        name, value = option.groups()
        given[name.replace("-", "_")] = value
    known = {name.lower(): name for name in SESSION_SETTINGS}
    return SESSION_SETTINGS | {known.get(n.lower(), n): v for n, v in given.items()}


def known_to(server_version: int) -> dict[str, str]:
    """Return the settings that only some server versions have."""
    return {"transaction_timeout": "0"} if server_version >= 170_000 else {}
