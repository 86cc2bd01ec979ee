"""The demo: a loan application that is validated, scored and decided on, with a sample of 1,000."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.configuration import Changes, import_configuration

FILES = Path(__file__).parent
FLOW_NAME = "loan-application"
SAMPLE = FILES / "applications.json"


def install_demo() -> Changes:
    """Import the demo configuration. An unchanged demo stays as it is."""
    return import_configuration(demo_document())


def demo_document() -> dict[str, Any]:
    """Return the configuration document, each script with the code of its file."""
    document: dict[str, Any] = json.loads((FILES / "demo.json").read_text(encoding="utf-8"))
    for script in document["scripts"]:
        file = FILES / f"{script['name'].replace('-', '_')}.py"
        script["code"] = file.read_text(encoding="utf-8")
    return document


def example_application() -> str:
    """Return one application as JSON on one line."""
    application = json.loads((FILES / "application.json").read_text(encoding="utf-8"))
    return json.dumps(application, separators=(",", ":"))
