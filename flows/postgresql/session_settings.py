"""What a session on PostgreSQL is set to, whatever its role, database and server say."""

from __future__ import annotations

import re

from django.core.exceptions import ImproperlyConfigured

# Read-only stays the operators' to say, and how far a commit has got when it is answered.
SESSION_SETTINGS = {
    # Compiling our queries takes longer than running them: 50 ms instead of 1.
    "jit": "off",
    # The engine bounds its own transactions, see flows/store/postgresql.py. Those of the project
    # around it are not ended.
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "search_path": '"$user", public',
    # How values are written and read.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "row_security": "on",
}

# As libpq passes them on: `-c name=value` or `--name=value`; a backslash takes the next character
# as it is.
WORD = re.compile(r"(?:\\.|[^\s\\])+", re.DOTALL)
OPTION = re.compile(r"(?:-c|--)([\w.-]+)=(.*)", re.DOTALL)


def session_settings(options: str) -> dict[str, str]:
    """Return the settings of a session, with those that `options` of a URL asks for.

    They are set once connected: a pooler refuses `options` in the start-up message, or drops them.
    Raises ImproperlyConfigured for options that are no settings.
    """
    words = [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL) for word in WORD.findall(options)]
    joined = re.sub("\0-c\0", "\0-c", "\0" + "\0".join(words)).split("\0")[1:] if words else []
    wanted: dict[str, str] = {}
    for word in joined:
        if not (option := OPTION.fullmatch(word)):
            raise ImproperlyConfigured(
                f"DATABASE_URL: options may be -c name=value alone, not {word!r}"
            )
        name, value = option.groups()
        wanted[name.replace("-", "_")] = value
    known = {name.lower(): name for name in SESSION_SETTINGS}
    return SESSION_SETTINGS | {known.get(n.lower(), n): v for n, v in wanted.items()}


def known_to(server_version: int) -> dict[str, str]:
    """Return the settings that not every version has."""
    return {"transaction_timeout": "0"} if server_version >= 170_000 else {}
