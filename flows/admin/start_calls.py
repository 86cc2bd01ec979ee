"""Ready-made calls that start a flow: for a shell, Python, JavaScript and Apache Camel."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from flows.models import Flow
from flows.pipes.snippets import snippets
from scripts.admin.json_fields import indented
from scripts.trials.examples import example_payload

# Read from the environment, so that no token is in a shell's history or in a program.
VARIABLE = "ASYNCENGINE_TOKEN"


@dataclass(frozen=True, slots=True)
class Call:
    """A way to start the flow: its name, what it needs, and its code."""

    name: str
    note: str
    code: str


def calls(request: HttpRequest, flow: Flow) -> list[Call]:
    """Return the calls, with the address of this installation and an example of the payload."""
    url = request.build_absolute_uri(reverse("api:flow-start", args=[flow.name]))
    payload = example_of(flow)
    token = f"The variable {VARIABLE} holds an API token of a user who may start the flow."
    camel = "After from(…) in a route; direct:callAsyncEngine comes from the folder flows/pipes."
    return [
        Call("curl", token, _curl(url, payload)),
        Call("Python", f"{token} Needs the package requests.", _python(url, payload)),
        Call("JavaScript", f"{token} For Node.js, without a package.", _javascript(url, payload)),
        *(Call(f"Camel {each.language}", camel, each.code) for each in snippets(flow.name)),
    ]


def example_of(flow: Flow) -> dict[str, Any]:
    """Return a payload after the input schema of the first script, `{}` if it has none."""
    first = flow.steps.select_related("script").order_by("position", "pk").first()
    example = example_payload(first.script.input_schema) if first else {}
    return example if isinstance(example, dict) else {}


def _curl(url: str, payload: dict[str, Any]) -> str:
    return (
        f"curl {shlex.quote(url)} \\\n"
        f'  -H "Authorization: Bearer ${VARIABLE}" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(indented(payload))}"
    )


def _python(url: str, payload: dict[str, Any]) -> str:
    return (
        "import os\n\n"
        "import requests\n\n"
        "response = requests.post(\n"
        f"    {json.dumps(url)},\n"
        f'    headers={{"Authorization": f"Bearer {{os.environ[\'{VARIABLE}\']}}"}},\n'
        f"    json={_as_python(payload)},\n"
        "    timeout=30,\n"
        ")\n"
        "response.raise_for_status()\n"
        'print(response.json()["correlationId"])'
    )


def _javascript(url: str, payload: dict[str, Any]) -> str:
    return (
        f"const response = await fetch({json.dumps(url)}, {{\n"
        '  method: "POST",\n'
        "  headers: {\n"
        f"    Authorization: `Bearer ${{process.env.{VARIABLE}}}`,\n"
        '    "Content-Type": "application/json",\n'
        "  },\n"
        f"  body: JSON.stringify({_behind(indented(payload), '  ')}),\n"
        "});\n"
        "if (!response.ok) throw new Error(await response.text());\n"
        "console.log((await response.json()).correlationId);"
    )


def _as_python(value: Any, indent: str = "    ") -> str:
    """Return a value of JSON as Python writes it, one member a line."""
    if isinstance(value, dict | list) and value:
        inner = indent + "    "
        if isinstance(value, dict):
            members = [f"{key!r}: {_as_python(each, inner)}" for key, each in value.items()]
        else:
            members = [_as_python(each, inner) for each in value]
        opens, closes = "{}" if isinstance(value, dict) else "[]"
        return f"{opens}\n" + "".join(f"{inner}{each},\n" for each in members) + indent + closes
    return repr(value)


def _behind(text: str, indent: str) -> str:
    """Indent the lines behind the first."""
    return text.replace("\n", f"\n{indent}")
