from __future__ import annotations

from typing import Any

import pytest

from flows.testing import FlowKit


@pytest.fixture(params=["flow_kit", "flow_kit_in_process"])
def kit(request: pytest.FixtureRequest, db: None, settings: Any) -> FlowKit:
    """The kit with real script hosts, and with scripts in the process of the test."""
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.integration.kit.steps"]
    kit: FlowKit = request.getfixturevalue(request.param)
    return kit
