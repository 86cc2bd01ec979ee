from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlowsConfig(AppConfig):
    name = "flows"
    verbose_name = "Flows"

    def ready(self) -> None:
        from flows import checks, retention, samples, signals  # noqa: F401  checks add themselves
        from scripts.samples import sources

        signals.connect()
        sources.append(samples.samples_of)
        post_migrate.connect(retention.ensure_schedule, sender=self)
