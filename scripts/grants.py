"""Rights of scripts that a user may give only with a permission of its own.

A script that reads a secret can reveal it, in a form that the mask does not know. So a user who
writes or tries the code of such a script needs a separate permission; the permission to change
scripts is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.models import Language, Library, Script, ScriptContent


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission, the field of a script that requires it, and what it allows."""

    permission: str
    field: str
    allows: str

    def __str__(self) -> str:
        return f"Only a user with the permission {self.permission!r} may {self.allows}."


SECRETS = Grant(
    "scripts.use_secrets", "secrets", "write, change or try a script that reads secrets"
)
PRIVATE = Grant(
    "scripts.call_private_addresses",
    "private_addresses",
    "write, change or try a script that calls private addresses",
)
ANY_HOST = Grant(
    "scripts.call_any_host",
    "allowed_hosts",
    "write, change or try a script that calls any host; list the hosts that it calls",
)


NETWORK = Grant(
    "scripts.change_script", "network", "let a script call hosts that it does not call already"
)
TABLES = Grant(
    "scripts.change_script", "tables", "let a script read tables that it does not read already"
)
CALLABLE = Grant("scripts.change_script", "code", "make a script call another function")


def grants_of(script: ScriptContent) -> list[Grant]:
    """Return the rights of the script that require a permission."""
    grants = [SECRETS] if script.secrets else []
    if script.network and script.private_addresses:
        grants.append(PRIVATE)
    if script.network and _reaches_any_host(script.allowed_hosts):
        grants.append(ANY_HOST)
    return grants


def missing_to_try(user: Any, script: ScriptContent) -> list[Grant]:
    """Return the grants of the script that the user has no permission for."""
    return [each for each in grants_of(script) if not user.has_perm(each.permission)]


def missing_to_save(user: Any, script: Script) -> list[Grant]:
    """Return the grants that the user lacks for the script as it would be saved.

    A change that does not affect what runs, such as of the description, requires none.
    """
    present = Script.objects.filter(pk=script.pk).first() if script.pk else None
    if present is not None and present.content() == script.content():
        return []
    return [*missing_to_try(user, script), *beyond_reach(user, script, present)]


def missing_to_try_draft(user: Any, draft: Script) -> list[Grant]:
    """Return the grants that the user lacks for a trial of a script that is not saved yet."""
    present = Script.objects.filter(pk=draft.pk).first() if draft.pk else None
    return [*missing_to_try(user, draft), *beyond_reach(user, draft, present)]


def beyond_reach(user: Any, script: ScriptContent, present: ScriptContent | None) -> list[Grant]:
    """Return what the script would reach beyond the present one.

    Users with Django's permission to change scripts may permit it. Users who change scripts by a
    right to what uses them may not.
    """
    if user.has_perm(f"scripts.{'change' if present else 'add'}_script"):
        return []
    found = [] if _hosts_are_permitted(script, present) else [NETWORK]
    if set(script.tables) - set(present.tables if present else ()):
        found.append(TABLES)
    if script.language == Language.CALLABLE and not (
        present and (present.language, present.code) == (script.language, script.code)
    ):
        found.append(CALLABLE)
    return found


def _hosts_are_permitted(script: ScriptContent, present: ScriptContent | None) -> bool:
    if not script.network:
        return True
    if present is None or not present.network:
        return False
    hosts, permitted = set(script.allowed_hosts), set(present.allowed_hosts)
    return not permitted or (bool(hosts) and hosts <= permitted)


def scripts_out_of_reach(user: Any, library: Library) -> list[Script]:
    """Return the scripts that would run the library's new code with grants that the user lacks."""
    present = Library.objects.filter(pk=library.pk).first() if library.pk else None
    if present is None or (present.code, present.language) == (library.code, library.language):
        return []
    return [each for each in library.scripts() if missing_to_try(user, each)]


def _reaches_any_host(hosts: list[str]) -> bool:
    """Whether a list is open: it is empty, or has all names below a top-level domain."""
    patterns = [host.rpartition(":")[0] or host for host in hosts]
    return not hosts or any(
        each.startswith("*.") and "." not in each[2:].strip(".") for each in patterns
    )
