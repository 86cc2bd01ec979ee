from __future__ import annotations

import getpass
import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scripts.checks import ENGINE
from scripts.host.languages.modules import MODULES
from scripts.models import Script
from scripts.protocol.calls import Program
from scripts.protocol.flow_state import StateInvalid
from scripts.protocol.json_layout import indented
from scripts.protocol.services import TABLE_SERVICE, Service
from scripts.services.engine import engine_services
from scripts.trials.examples import example_payload
from scripts.trials.from_files import Files, FilesInvalid, program_of, read_file
from scripts.trials.records import recorded
from scripts.trials.states import TriedState
from scripts.trials.table_files import with_tables
from scripts.trials.trial import SampleInvalid, Trial, run_trial, sample_message


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Tries a script on a sample message, in a real script host and without any flow; prints the"
        " modules that scripts may import."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser(
            "modules", help="Print the modules that a Python script may import, one a line."
        )
        test = verbs.add_parser(
            "test",
            help="Print the output; logs, time and memory go to standard error. Exit code 1"
            " where there is no output.",
        )
        test.add_argument("name", metavar="NAME")
        test.add_argument(
            "--input",
            metavar="FILE|-|JSON",
            help="The message, or its payload alone. Default: an example of the input parameters.",
        )
        test.add_argument(
            "--code", metavar="FILE", help="Try this code; NAME may be that of a new script."
        )
        test.add_argument(
            "--library",
            metavar="NAME=FILE",
            action="append",
            default=[],
            help="Use this code for a library. May be given again.",
        )
        test.add_argument(
            "--table",
            metavar="NAME=FILE",
            action="append",
            default=[],
            help="Use this file for a table; FILE:KEY names its key. May be given again.",
        )
        test.add_argument(
            "--config",
            metavar="FILE|DIRECTORY",
            help="Take settings (allowedHosts, timeoutSeconds, inputSchema …), code and libraries"
            " from a configuration document, from a directory with one, or from one script of such"
            " a document.",
        )
        test.add_argument(
            "--state",
            metavar="FILE|JSON",
            help="What context.state begins with, an object by key. Default: nothing. What is there"
            " at the end is shown; nothing is stored.",
        )
        test.add_argument(
            "--json",
            action="store_true",
            help="Print a JSON object with the output and all that the script has decided: outcome,"
            " error, line, code, details, after, waitState, finishes, goesTo, starts, state,"
            " progress, logs.",
        )
        test.add_argument(
            "--last", action="store_true", help="As a flow's last step: any output will do."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "modules":
            self.stdout.write("\n".join(MODULES))
            return
        script = Script.objects.filter(name=options["name"]).first()
        files = Files(options["code"], options["config"], options["library"])
        try:
            program = program_of(options["name"], script, files)
            program, tables = with_tables(program, options["table"])
            message = sample_message(_sample(program, options["input"]))
            state = _state(options["state"])
        except (FilesInvalid, SampleInvalid, StateInvalid) as error:
            raise CommandError(str(error)) from error
        name = f"command line, {getpass.getuser()}"
        with recorded(program, name, script=script) as recording:
            services: dict[str, Service] = {
                **(recording or engine_services()),
                TABLE_SERVICE: tables,
            }
            trial = run_trial(
                program, message.body, is_last=options["last"], services=services, state=state
            )
        if options["json"]:
            self.stdout.write(indented(trial.as_json()))
        else:
            self._report(trial)
        if trial.error is not None:
            sys.exit(1)

    def _report(self, trial: Trial) -> None:
        for line in trial.logs:
            self.stderr.write(f"{line['level']}: {line['text']}")
        if trial.warning:
            self.stderr.write(f"warning: {trial.warning}")
        for told in trial.decisions:
            self.stderr.write(told)
        for key, text in trial.state.items():
            self.stderr.write(f"state: {key} = {text}")
        self.stderr.write(f"{trial.seconds * 1000:.1f} ms, {trial.peak_bytes / 2**20:.1f} MB")
        if trial.output is not None:
            # An output that its structure refuses is shown, but is not printed as the output.
            out = self.stderr if trial.error else self.stdout
            out.write(indented(trial.output))
        if trial.error is not None:
            style = (
                self.style.WARNING if trial.outcome in ("RETRY", "WAITING") else self.style.ERROR
            )
            self.stderr.write(style(f"{trial.outcome}: {trial.heading}"))
            if trial.traceback or str(trial.error) != trial.heading:
                self.stderr.write(trial.traceback or str(trial.error))


def _sample(program: Program, given: str | None) -> str:
    if given is None:
        return json.dumps({"payload": example_payload(json.loads(program.input_schema or "{}"))})
    if given == "-":
        return sys.stdin.read()
    return given if given.lstrip()[:1] in {"{", "[", '"'} else read_file(given)


def _state(given: str | None) -> TriedState:
    if given is None:
        return TriedState()
    text = given if given.lstrip()[:1] == "{" else read_file(given)
    try:
        sample = json.loads(text)
    except ValueError as error:
        raise StateInvalid(f"The state is no JSON: {error}") from error
    if not isinstance(sample, dict):
        raise StateInvalid("The state is an object of values by key.")
    return TriedState(sample)
