from django.apps import AppConfig


class FlowsConfig(AppConfig):
    name = "flows"
    verbose_name = "Flows"

    def ready(self) -> None:
        from flows import checks, signals  # noqa: F401  checks register themselves

        signals.connect()
