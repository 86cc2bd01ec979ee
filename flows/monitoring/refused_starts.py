"""The starts that were refused in the last time, by flow and cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Sum

from flows.models import RefusedStarts

Refused = dict[str, int]


def refused_starts(
    since: datetime, flow_names: Collection[str] | None = None
) -> defaultdict[str, Refused]:
    """Return the numbers by the causes' texts, by the name of the flow: one query."""
    rows = RefusedStarts.objects.filter(minute__gte=since - timedelta(minutes=1))
    if flow_names is not None:
        rows = rows.filter(flow_name__in=flow_names)
    found: defaultdict[str, Refused] = defaultdict(dict)
    sums = rows.values_list("flow_name", "cause").annotate(total=Sum("count")).order_by()
    for flow_name, cause, total in sums:
        found[flow_name][str(RefusedStarts.Cause(cause).label)] = total
    return found


def in_words(refused: Refused) -> str:
    """Return such as "12 by a full queue, 3 by the payload"."""
    texts = {
        "full queue": "by a full queue",
        "payload": "by the payload",
        "start rate": "by a start rate",
    }
    return ", ".join(f"{count:,} {texts[cause]}" for cause, count in sorted(refused.items()))
