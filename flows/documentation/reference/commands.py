"""The commands with their arguments, as their parsers have them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from django.core.management import BaseCommand, get_commands, load_command_class

from flows.documentation.tables import table

APPS = ("flows", "scripts")
# Every command of Django's has them.
OF_DJANGO = frozenset(
    {
        *("force_color", "help", "no_color", "pythonpath", "settings", "skip_checks"),
        *("traceback", "verbosity", "version"),
    }
)
BEGIN = """\
# Commands

`python manage.py COMMAND` in a checkout or a project, `asyncengine COMMAND` where the engine is
installed from a wheel. Each also takes Django's own options, such as `--settings` and
`--verbosity`.
"""


def text() -> str:
    return BEGIN + "".join(_section(name) for name in names())


def names() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app in APPS)


def parser_of(name: str) -> argparse.ArgumentParser:
    found = load_command_class(str(get_commands()[name]), name)
    assert isinstance(found, BaseCommand)
    return found.create_parser("manage.py", name)


def arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments that are the command's own."""
    return (
        each
        for each in parser._actions
        if each.dest not in OF_DJANGO and not isinstance(each, argparse._SubParsersAction)
    )


def subcommands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            for name, sub in action.choices.items():
                yield name, helps.get(name, ""), sub


def _section(name: str) -> str:
    parser = parser_of(name)
    parts = [f"\n## {name}\n\n{_plain(parser.description)}\n", _arguments(parser)]
    for sub, help_text, sub_parser in subcommands(parser):
        parts += [f"\n### {name} {sub}\n\n{_plain(help_text)}\n", _arguments(sub_parser)]
    return "".join(parts)


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = [(f"`{_shape(each)}`", _default(each), _plain(each.help)) for each in arguments(parser)]
    return "\n" + table(("argument", "default", "meaning"), rows) if rows else ""


def _shape(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
    if not action.option_strings:
        return str(value or action.dest.upper())
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    return f"{', '.join(action.option_strings)} {value or action.dest.upper()}"


def _default(action: argparse.Action) -> str:
    is_given = action.default not in (None, False, [], argparse.SUPPRESS, "==SUPPRESS==")
    return f"`{action.default}`" if is_given and action.option_strings else ""


def _plain(help_text: str | None) -> str:
    return (help_text or "").replace("%%", "%").replace("<", "&lt;").replace("*", "\\*")
