"""Tables that hosts are given without a database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scripts.protocol.calls import Program
from scripts.tables.directory import OpenTable, made_apart
from scripts.tables.reading import read_rows


@dataclass(frozen=True)
class Given:
    name: str
    identity: int = 0
    problem: str = ""
    is_passing: bool = False
    file: OpenTable | None = field(default=None, compare=False)


def table(name: str, content: bytes, form: str = "csv", identity: int = 1) -> Given:
    return Given(name, identity, file=made_apart(read_rows([content], form)))


class GivenTables:
    """The tables of all programs, as `TableFiles` has them."""

    def __init__(self, *tables: Given) -> None:
        self.tables = {each.name: each for each in tables}
        self.is_making = False

    def __call__(self, *_: Any) -> dict[str, Any]:
        raise AssertionError("tables are not requested")

    def given(self, program: Program) -> tuple[Given, ...] | None:
        if self.is_making:
            return None
        return tuple(self.tables[name] for name in program.tables if name in self.tables)
