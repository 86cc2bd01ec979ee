"""Commands that show no pages load none, and make the checks that need none."""

from __future__ import annotations

from typing import Any

from django.core.checks import Tags, registry
from django.core.management import get_commands, load_command_class

from flows.front.late_pages import COMMANDS_WITHOUT_PAGES
from scripts.checks import ENGINE

OWN = ("flows", "scripts")


def test_the_commands_without_pages_are_those_that_check_the_engine_alone():
    own = [name for name, app in get_commands().items() if app in OWN]
    without = {
        name
        for name in own
        if load_command_class(get_commands()[name], name).requires_system_checks == (ENGINE,)
    }

    assert without == COMMANDS_WITHOUT_PAGES


def test_every_check_of_the_engine_that_needs_no_pages_and_no_connection_has_its_tag():
    registered: Any = registry.registry.registered_checks
    own = [check for check in registered if check.__module__.partition(".")[0] in OWN]
    others = {check.__name__ for check in own if ENGINE not in check.tags}

    assert others == {"callables_are_there", "database_fits", "sites_are_those_of_unfold"}
    assert {tag for check in own for tag in check.tags} == {ENGINE, Tags.database, Tags.admin}
