from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import TextChoices

if TYPE_CHECKING:
    from flows.models.run import Run


class Keep(TextChoices):
    """Which payloads of runs stay in the database after the steps that got them."""

    EVERYTHING = "everything", "Everything: what every step got and gave"
    FAILURES = "failures", "Failures only: that of runs that have failed"
    NOTHING = "nothing", "Nothing: results and dead letters alone"


# Why a payload is not there, by what its flow keeps.
NOT_KEPT: dict[str, str] = {
    Keep.EVERYTHING: "It was not kept: the run is from before payloads were, or it is too large.",
    Keep.FAILURES: "It was not kept: the flow keeps the payloads of failed runs alone.",
    Keep.NOTHING: "It was not kept: the flow keeps no payloads.",
}


def why_not_kept(run: Run) -> str:
    """Say why a payload of a run is not there."""
    return "Its payloads were erased." if run.erased_at else NOT_KEPT[run.flow_version.keep]
