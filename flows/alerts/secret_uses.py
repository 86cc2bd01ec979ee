"""What flows add to the page of a secret: the alert targets that have their address from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.urls import reverse

from flows.models import AlertTarget
from scripts.extensions import Use

HIDDEN = Use("an alert target that you may not see", "")
SEEN_WITH = ("flows.view_alerttarget", "flows.change_alerttarget")


def uses_of(names: Collection[str], user: Any) -> Iterator[tuple[str, Use]]:
    """Yield each target with the name of its secret; a target that is not seen has no name."""
    is_seen = any(user.has_perm(permission) for permission in SEEN_WITH)
    for target in AlertTarget.objects.filter(address_secret__in=names):
        url = reverse("admin:flows_alerttarget_change", args=[target.pk])
        use = Use(f"alert target {target}", url) if is_seen else HIDDEN
        yield target.address_secret, use
