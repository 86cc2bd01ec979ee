"""Which flows a user may let the scripts of a flow start."""

from __future__ import annotations

from typing import Any

from flows.access.rights import flows_allowed
from flows.models import Flow, Right


def flows_to_start(user: Any) -> list[str]:
    """Return the names of the flows that the user may start, or configures.

    A script starts a flow without a token. So a user who lets it needs the right to do it.
    """
    if user.has_perm("flows.change_flow"):
        return list(Flow.objects.order_by("name").values_list("name", flat=True))
    allowed = flows_allowed(user, {Right.START.value, Right.CONFIGURE.value})
    return list(allowed.order_by("name").values_list("name", flat=True))
