"""Give dead letters of earlier versions their error class, the newest open ones first."""

from __future__ import annotations

from collections import defaultdict

from flows.message.error_class import error_class_of
from flows.models import DeadLetter
from flows.models.payload_text import Unread, lacks_key

# The letters of one transaction.
BATCH = 200


def fill_some_error_classes() -> int:
    """Fill in some of the missing classes; return how many."""
    missing = DeadLetter.objects.open().filter(error_class=None).order_by("-pk")
    # They keep none until their key is there.
    missing = missing.exclude(lacks_key("error"))
    by_class = defaultdict(list)
    for pk, error in missing.values_list("pk", "error")[:BATCH]:
        if not isinstance(error, Unread):
            by_class[error_class_of(error)].append(pk)
    return sum(
        DeadLetter.objects.filter(pk__in=ids).update(error_class=error_class)
        for error_class, ids in by_class.items()
    )
