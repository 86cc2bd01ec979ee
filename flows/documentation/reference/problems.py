"""The problem types of the API."""

from __future__ import annotations

from flows.documentation.tables import table

BEGIN = """\
# Problem types

A refusal of the API is a problem detail of RFC 9457. The end of `type` is one of these words; at
the address in `type` the installation says the same. [Calling the API](../../flows/api/README.md)
explains the mechanisms, and [the settings](../settings/README.md) set their bounds.

"""


def text() -> str:
    # Only here: a process that shows no page starts without the API.
    from flows.api.errors import PROBLEM_TYPES
    from flows.api.problems import described

    rows = []
    for name in PROBLEM_TYPES:
        known = described(name)
        rows.append((str(known["status"]), f"`{name}`", known["title"], known["advice"]))
    rows.sort(key=lambda row: row[0])
    return BEGIN + table(("status", "type", "meaning", "what the caller does"), rows)
