from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlowsConfig(AppConfig):
    name = "flows"
    # Whatever DEFAULT_AUTO_FIELD says of a project's own models: these have their migrations.
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Flows"

    def ready(self) -> None:
        from flows import (
            allowed_tasks,
            callable_checks,  # noqa: F401  checks add themselves
            checks,  # noqa: F401
            database_checks,  # noqa: F401
            deleted_users,
            live_runs,
            plain_pickles,
            revision,
            samples,
            settings_checks,  # noqa: F401
            site_checks,  # noqa: F401
            task_cache,
            task_leftovers,
            task_stats,
            tokens,
            user_checks,  # noqa: F401
            uses,
        )
        from flows.store import pending_starts
        from flows.tasks import retention
        from scripts.extensions import sample_sources, use_sources
        from scripts.historical_models import correct_modules

        correct_modules(self)
        plain_pickles.install()
        task_cache.install()
        task_stats.install()
        allowed_tasks.connect()
        deleted_users.connect()
        tokens.connect()
        live_runs.connect()
        task_leftovers.connect()
        sample_sources.append(samples.samples_of)
        use_sources.append(uses.uses_of)
        post_migrate.connect(revision.ensure_triggers, sender=self)
        post_migrate.connect(pending_starts.ensure_installed, sender=self)
        post_migrate.connect(retention.ensure_schedule, sender=self)
