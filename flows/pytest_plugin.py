"""The fixture `flow_kit`: the test kit of `flows.testing` for pytest, with pytest-django.

pytest loads this before Django is set up, and in projects without Django: it imports nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flows.testing import FlowKit


@pytest.fixture
def flow_kit(db: None) -> Iterator[FlowKit]:
    """Run flows to their end within the test; see `flows.testing.FlowKit`."""
    from flows.testing import FlowKit

    with FlowKit() as kit:
        yield kit


@pytest.fixture
def flow_kit_in_process(db: None) -> Iterator[FlowKit]:
    """The same with scripts in the process of the test: no sandbox, no limits."""
    from flows.testing import FlowKit

    with FlowKit(in_process=True) as kit:
        yield kit
