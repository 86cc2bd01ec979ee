from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlowsConfig(AppConfig):
    name = "flows"
    # Whatever DEFAULT_AUTO_FIELD says of a project's own models: these have their migrations.
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Flows"

    def ready(self) -> None:
        from flows.access import (
            audited_logins,
            audited_models,
            deleted_users,
            tokens,
            words,
        )
        from flows.checks import register_all
        from flows.front import late_pages
        from flows.models import deletion, starting
        from flows.tasks import allowed_tasks, cache, leftovers, plain_pickles, stats
        from scripts.models.historical import correct_modules

        correct_modules(self)
        register_all()
        late_pages.install()
        words.install()
        plain_pickles.install()
        cache.install()
        stats.install()
        allowed_tasks.connect()
        deleted_users.connect()
        tokens.connect()
        audited_models.connect()
        audited_logins.connect()
        deletion.connect()
        starting.connect()
        leftovers.connect()
        self._extend_scripts()
        self._complete_migrations()

    def _extend_scripts(self) -> None:
        """Say what the pages and commands of scripts cannot know."""
        from flows.access import configuring
        from flows.alerts import secret_uses
        from flows.models import AlertTarget
        from flows.monitoring import script_page
        from flows.store import flow_state
        from flows.tasks import upgrading
        from flows.webhooks import secrets
        from scripts.extensions import (
            EncryptedColumns,
            encrypted_columns,
            impact_sources,
            offer_sources,
            rights_sources,
            sample_sources,
            secret_use_sources,
            upgrades,
            use_sources,
        )
        from scripts.services.flow_states import readers

        sample_sources.append(script_page.samples_of)
        use_sources.append(script_page.uses_of)
        secret_use_sources.append(secret_uses.uses_of)
        offer_sources.append(script_page.offers_of)
        impact_sources.append(script_page.impact_on)
        upgrades.append(upgrading.upgrade_runs_of)
        rights_sources.append(configuring.script_rights)
        readers.append(flow_state.read)
        encrypted_columns.append(secrets.COLUMNS)
        encrypted_columns.append(
            EncryptedColumns(AlertTarget, ("encrypted",), lambda target: f"alert target {target}")
        )

    def _complete_migrations(self) -> None:
        """Have triggers, functions and schedules made behind the migrations."""
        from flows.models import audit_triggers, revision_triggers
        from flows.store import pending_starts
        from flows.tasks import conservation, retention, run_texts

        post_migrate.connect(revision_triggers.ensure_triggers, sender=self)
        post_migrate.connect(audit_triggers.ensure_triggers, sender=self)
        post_migrate.connect(pending_starts.ensure_installed, sender=self)
        post_migrate.connect(retention.ensure_schedule, sender=self)
        post_migrate.connect(conservation.ensure_schedule, sender=self)
        post_migrate.connect(run_texts.ensure_schedule, sender=self)
