from __future__ import annotations

import json
import sys
import textwrap
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from flows.doctor.examination import examine
from flows.doctor.findings import Finding, State, worst

SEEN_WIDTH = 76


class Command(BaseCommand):
    help = (
        "Says what is wrong with this installation: database, clocks, keys, script hosts, limits,"
        " workers, and what home's alarms say. Changes nothing. Exits 1 where there is an error."
    )
    # It tells what they find itself, and goes on.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON alone.")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = list(examine())
        self.stdout.write(as_json(findings) if options["json"] else as_table(findings))
        if worst(findings) is State.ERROR:
            sys.exit(1)


def as_json(findings: list[Finding]) -> str:
    document = {"state": worst(findings), "findings": [asdict(finding) for finding in findings]}
    return json.dumps(document, indent=2)


def as_table(findings: list[Finding]) -> str:
    """Return a line for each finding, and below it what to do."""
    width = max(len(finding.name) for finding in findings)
    indent = " " * (width + 11)
    lines = []
    for finding in findings:
        text = finding.seen + (f"\n-> {finding.advice}" if finding.advice else "")
        parts = [part for line in text.splitlines() for part in textwrap.wrap(line, SEEN_WIDTH)]
        lines.append(f"{finding.state:7}  {finding.name:{width}}  {parts[0]}")
        lines += [indent + part for part in parts[1:]]
    counts = [f"{sum(each.state is state for each in findings)} {state}" for state in State]
    return "\n".join([*lines, "", ", ".join(counts)])
