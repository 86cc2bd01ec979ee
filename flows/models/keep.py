from django.db.models import TextChoices


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
