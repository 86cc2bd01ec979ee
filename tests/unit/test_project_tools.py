"""What django-q2 and `manage.py shell` need of the installation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.apps import apps
from django.core.management.commands.shell import Command
from django.utils.module_loading import import_string
from django_q.models import Schedule


def test_a_schedule_may_be_of_the_type_cron():
    monday = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    schedule = Schedule(schedule_type=Schedule.CRON, cron="30 4 * * 1", next_run=monday)

    schedule.clean_fields(exclude=["func"])

    assert schedule.calculate_next_run() > datetime.now(UTC)


@pytest.mark.parametrize("model", apps.get_models(), ids=lambda model: model._meta.label)
def test_each_model_can_be_imported_from_where_it_says_that_it_is(model):
    assert import_string(f"{model.__module__}.{model.__name__}") is model


def test_a_shell_imports_its_models_without_a_warning(capsys):
    found = Command().get_namespace(verbosity=1, no_imports=False)

    assert found["HistoricalFlow"].__module__ == "flows.models.flow"
    assert "could not be" not in capsys.readouterr().out
