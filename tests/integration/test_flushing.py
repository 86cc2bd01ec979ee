"""What a test leaves to the next: the fast flush what Django's own does, and nothing in memory."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS
from django_q.models import Schedule

from flows import engine
from flows.store.asked import Asked
from scripts.models import ConfigurationValue
from tests.builders import ECHO, make_flow, run_of, work


@pytest.mark.django_db(transaction=True)
def test_every_schedule_of_the_engine_is_there_after_a_flush():
    for _ in range(2):
        call_command("flush", verbosity=0, interactive=False)
    flushed = set(Schedule.objects.values_list("name", "func"))

    emit_post_migrate_signal(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)

    assert flushed == set(Schedule.objects.values_list("name", "func"))
    assert len(flushed) >= 3


READS = "def run(message, context):\n    return {'payload': context.config['own']}\n"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("value", ["first", "second"])
def test_no_test_finds_what_the_process_has_kept_of_the_one_before(value: str):
    assert not Asked.rooms_of
    ConfigurationValue.objects.create(name="own", value=value)
    make_flow(codes=[READS, ECHO])
    run = engine.start("flow", {}).correlation_id

    work("flow-0")

    assert json.loads(run_of(run).result or "")["payload"] == value
    assert Asked.rooms_of
