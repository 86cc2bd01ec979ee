"""A run as text, for the message of a failed assertion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flows.testing.outside import OutsideCall

MOST_LINES_OF_AN_ERROR = 30


def story(trace: dict[str, Any], result: Any, calls: Iterable[OutsideCall]) -> str:
    """Return the steps of a run, its logs and the outside calls of the test as text."""
    lines = [f"Run {trace['correlationId']} of {trace['flowName']!r}: {trace['status']}"]
    if trace["waitingBecause"]:
        lines.append(f"  waits: {trace['waitingBecause']}")
    if trace["status"] == "COMPLETED":
        lines.append(f"  result: {result!r}")
    if trace["warnings"]:
        lines.append(f"  warnings: {trace['warnings']}")
    for step in trace["steps"]:
        lines.append(f"  {step['name']}: {step['status']}")
        for attempt in step["attempts"]:
            lines += _attempt(attempt)
        if step["error"] and not step["attempts"]:
            lines += _indented(step["error"], 4)
    made = [f"    {call}" for call in calls]
    if made:
        lines += ["  outside calls of the test:", *made]
    return "\n".join(lines)


def _attempt(attempt: dict[str, Any]) -> list[str]:
    branch = f" of branch {attempt['branch']}" if attempt["branch"] else ""
    lines = [f"    attempt {attempt['attempt']}{branch}: {attempt['outcome']}"]
    lines += [f"      {line['level']}: {line['text']}" for line in attempt["logs"]]
    return lines + _indented(attempt["error"] or "", 6)


def _indented(text: str, blanks: int) -> list[str]:
    lines = text.splitlines()
    if len(lines) > MOST_LINES_OF_AN_ERROR:
        lines = [*lines[:2], "…", *lines[-MOST_LINES_OF_AN_ERROR:]]
    return [f"{' ' * blanks}{line}" for line in lines]
