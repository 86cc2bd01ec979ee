from django.apps import AppConfig


class ScriptsConfig(AppConfig):
    name = "scripts"
    verbose_name = "Scripts"

    def ready(self) -> None:
        from scripts import checks  # noqa: F401  registers itself
