"""Configurations that tests of the test kit use."""

from __future__ import annotations

from typing import Any

from flows.monitoring.conservation import check

ECHO = "def run(message, context):\n    return message\n"


def flow_of(*codes: str, name: str = "flow", **script: Any) -> dict[str, Any]:
    """Return the document of a flow with a step for each code: `one`, `two`, `three` …

    A code with `setData` or `reject(` is JavaScript; a dotted path is a callable. What is given by
    name belongs to all scripts; `steps` and `queues` have more for the step of a name.
    """
    names = ["one", "two", "three", "four"][: len(codes)]
    steps, queues = script.pop("steps", {}), script.pop("queues", {})
    return {
        "scripts": [
            {"name": f"{name}-{step}", "language": language_of(code), "code": code, **script}
            for step, code in zip(names, codes, strict=True)
        ],
        "queues": [{"name": f"{name}-{step}", **queues.get(step, {})} for step in names],
        "flows": [
            {
                "name": name,
                "steps": [
                    {
                        "name": step,
                        "script": f"{name}-{step}",
                        "queue": f"{name}-{step}",
                        **steps.get(step, {}),
                    }
                    for step in names
                ],
            }
        ],
    }


def language_of(code: str) -> str:
    if "\n" not in code and "(" not in code:
        return "callable"
    return "javascript" if "setData(" in code or "reject(" in code else "python"


def get(url: str) -> str:
    return f"def run(message, context):\n    return context.http.get('{url}').text\n"


def faults() -> list[str]:
    return [fault for checked in check() for fault in checked.faults()]
