"""The references are made of the code, and whole: each entry has a name and a description."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from flows.api.errors import PROBLEM_TYPES
from flows.documentation.pages import PAGES
from flows.documentation.reference import alarms, commands, context, settings
from flows.documentation.tables import rows_of
from flows.monitoring.health import RULES
from flows.monitoring.metrics import families

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"KiB": 1024, "MiB": 1024**2}


def code() -> str:
    """Return the code of the product, without the client, a distribution of its own."""
    files = [
        path
        for room in ("asyncengine", "flows", "scripts")
        for path in ROOT.glob(f"{room}/**/*.py")
    ]
    return "\n".join(
        path.read_text(encoding="utf-8") for path in files if "asyncengine_client" not in path.parts
    )


def test_every_setting_that_the_code_reads_is_in_the_reference() -> None:
    known = {each.name for each in (*settings.variables(), *settings.settings_alone())}
    read = set(
        re.findall(r'(?:settings\.|settings, "|env\w*\("|get\(")(ASYNCENGINE_[A-Z_]+)', code())
    )
    # What settings_for() makes for a project, and a name in a process of `bench`.
    mounting = (ROOT / "asyncengine/mounting.py").read_text(encoding="utf-8")
    made = set(re.findall(r'"(ASYNCENGINE_[A-Z_]+)":', mounting))

    assert len(read) > 30
    assert read - known - made == set()


def test_no_variable_of_the_reference_is_taken_for_a_mistake() -> None:
    from asyncengine import settings as read

    named = {each.name for each in settings.variables() if each.name.startswith("ASYNCENGINE_")}

    assert len(named) > 30
    assert named <= read.VARIABLES


def test_every_setting_has_a_meaning_a_unit_and_the_default_of_the_code() -> None:
    for each in (*settings.variables(), *settings.settings_alone()):
        assert each.meaning, each.name
        assert each.default, each.name
        if isinstance(each.literal, int | float) and each.default != "none":
            number, _, size = each.default.strip("`").partition(" ")
            assert float(number) * SIZES.get(size, 1) == float(each.literal), each.name
    assert {each.unit for each in settings.variables()} >= {"bytes", "days", "seconds", "0 or 1"}


def told(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options that their parser does not explain."""
    return [
        each.option_strings[0]
        for each in commands.arguments(parser)
        if each.option_strings and not each.help
    ]


@pytest.mark.parametrize("name", commands.names())
def test_every_command_and_each_of_its_options_is_explained(name: str) -> None:
    parser = commands.parser_of(name)
    subs = list(commands.subcommands(parser))

    assert parser.description, name
    assert [sub for sub, help_text, _ in subs if not help_text] == []
    assert [told(each) for each in (parser, *(sub for _, _, sub in subs)) if told(each)] == []


def test_all_that_scripts_find_is_described() -> None:
    found = {node.name: context.members(node) for node in context.classes()}
    lacking = [
        f"{name}.{member}"
        for name, members in found.items()
        for member, (declaration, description) in members.items()
        # The methods of HTTP are described together.
        if not declaration or (not description and name != "Http")
    ]

    assert {"Context", "Http", "Retry", "State", "Table"} <= set(found)
    assert {"start", "state", "progress", "attempt"} <= set(found["Context"])
    assert lacking == []


def names_of(page: str) -> set[str]:
    made: Any = PAGES[f"reference/{page}"].make
    return {
        name
        for row in rows_of(made())
        for cell in row[:2]
        for name in re.findall(r"`([\w-]+)`", cell)
    }


def test_problem_types_metrics_and_alarms_are_all_there() -> None:
    metrics = names_of("metrics")

    assert set(PROBLEM_TYPES) <= names_of("problems")
    assert all(name.removesuffix("_total") in {f.name for f in families()} for name in metrics)
    assert len(metrics) > 20
    assert all(family.documentation for family in families())
    assert set(RULES) <= names_of("alarms")
    assert all(rule.__doc__ for rule in RULES.values())
    assert {each["alert"] for each in alarms.rules_for_prometheus()} <= names_of("alarms")
