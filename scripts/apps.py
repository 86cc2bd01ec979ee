from django.apps import AppConfig


class ScriptsConfig(AppConfig):
    name = "scripts"
    # Whatever DEFAULT_AUTO_FIELD says of a project's own models: these have their migrations.
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Scripts"

    def ready(self) -> None:
        from scripts import checks  # noqa: F401  registers itself
        from scripts.models.historical import correct_modules

        correct_modules(self)
