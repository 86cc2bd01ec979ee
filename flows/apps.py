from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlowsConfig(AppConfig):
    name = "flows"
    verbose_name = "Flows"

    def ready(self) -> None:
        from flows import checks, retention, signals  # noqa: F401  checks register themselves

        signals.connect()
        post_migrate.connect(retention.ensure_schedule, sender=self)
