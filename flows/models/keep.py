from django.db.models import TextChoices


class Keep(TextChoices):
    """Which payloads of runs stay in the database after the steps that got them."""

    EVERYTHING = "everything", "Everything: what every step got and gave"
    FAILURES = "failures", "Failures only: that of runs that have failed"
    NOTHING = "nothing", "Nothing: results and dead letters alone"
