from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Any, ClassVar

from django.test import SimpleTestCase, TestCase, TransactionTestCase

from flows.testing.kit import FlowKit, Source, configure

if TYPE_CHECKING:
    Base = TransactionTestCase
else:
    Base = object


class FlowTestMixin(Base):
    """Gives each test of a test case its `flow_kit`. Put it before TestCase among the bases.

    `flow_configuration` is imported for the tests: a configuration document, the file of one, or
    its directory. With `flows_in_process` scripts run in the process of the tests; see `FlowKit`.
    """

    flow_configuration: ClassVar[Source | None] = None
    flows_in_process: ClassVar[bool] = False
    flow_kit: FlowKit

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        bases = cls.__mro__
        if SimpleTestCase in bases and bases.index(SimpleTestCase) < bases.index(FlowTestMixin):
            raise TypeError(f"FlowTestMixin must stand before the test case among {cls}'s bases.")
        if issubclass(cls, unittest.TestCase) and not issubclass(cls, TransactionTestCase):
            raise TypeError(f"{cls} needs a database: its base must be a TestCase of Django.")

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()  # type: ignore[misc]
        cls._configure()

    def setUp(self) -> None:
        super().setUp()
        if not isinstance(self, TestCase):
            self._configure()
        self.flow_kit = FlowKit(in_process=self.flows_in_process)
        self.flow_kit.__enter__()
        self.addCleanup(self.flow_kit.__exit__, None, None, None)

    @classmethod
    def _configure(cls) -> None:
        if cls.flow_configuration is not None:
            configure(cls.flow_configuration)
