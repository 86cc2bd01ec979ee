"""Starts at the same moment never exceed a start rate, whichever process takes them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from flows import engine
from flows.errors import StartRateExceeded
from flows.models import Flow, Run
from flows.plan import flow_plan
from flows.starts import rates
from tests.builders import ECHO, make_flow
from tests.integration.at_once import at_once

pytestmark = pytest.mark.django_db(transaction=True)

CALLS, MOST = 8, 5


@pytest.mark.parametrize("together", [1, 2])
def test_starts_at_the_same_moment_share_a_rate(
    monkeypatch: pytest.MonkeyPatch, settings: object, together: int
):
    make_flow("orders", [ECHO])
    Flow.objects.update(start_rate_count=MOST, start_rate_period=timedelta(days=1))
    user = User.objects.create_user("caller")
    plan = flow_plan("orders")
    # As if each call were in a process of its own, which remembers nothing of the others.
    monkeypatch.setattr(rates, "_remember", lambda limits: None)

    def start() -> None:
        counted = rates.rates_of(plan, user)
        with suppress(StartRateExceeded):
            engine.start_many(plan, [b"{}"] * together, user=user, rates=counted)

    at_once([start] * CALLS)

    assert Run.objects.count() == MOST // together * together
