"""The fast flush of the tests leaves what Django's own does."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS
from django_q.models import Schedule


@pytest.mark.django_db(transaction=True)
def test_every_schedule_of_the_engine_is_there_after_a_flush():
    for _ in range(2):
        call_command("flush", verbosity=0, interactive=False)
    flushed = set(Schedule.objects.values_list("name", "func"))

    emit_post_migrate_signal(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)

    assert flushed == set(Schedule.objects.values_list("name", "func"))
    assert len(flushed) >= 3
