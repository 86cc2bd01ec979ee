"""The bench of a script takes samples as the steps got them."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from flows import engine
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("steps", "is_last"), [(1, True), (2, False)])
def test_sample_of_a_last_step_is_tried_as_one(page: Any, steps: int, is_last: bool) -> None:
    flow = make_flow("orders", [ECHO] * steps)
    engine.start("orders", {"name": "written"})
    script = flow.steps.order_by("position")[0].script

    page.goto(reverse("admin:scripts_script_change", args=[script.pk]))
    sample = "document.getElementById('trial-sample')?.editor?.getValue().includes('written')"
    page.wait_for_function(sample)

    assert page.locator("#trial-last").is_checked() == is_last
