"""What other apps add to the pages of scripts: messages to try one on, and where one is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scripts.models import Script
from scripts.trials.examples import example_payload


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as JSON text, its origin, and what tells it from others of that origin."""

    origin: str
    label: str
    text: str
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """Something that uses a script, and the address of its page, "" where the user may see none."""

    text: str
    url: str


# A script, the user who asks, and the name of a message to choose, which may be "" -> the newest
# messages that the script got and the user may see, and the chosen one.
sample_sources: list[Callable[[Script, Any, str], Iterable[Sample]]] = []

# A script and the user who asks -> where it is used.
use_sources: list[Callable[[Script, Any], Iterable[Use]]] = []


def samples_of(script: Script, user: Any, choice: str = "") -> list[Sample]:
    """Return an example of the input parameters, if there are any, and what the sources have."""
    samples = [sample for source in sample_sources for sample in source(script, user, choice)]
    if script.input_schema:
        text = json.dumps({"payload": example_payload(script.input_schema)})
        samples.insert(0, Sample("Made up", "from the input parameters", text))
    return samples


def uses_of(script: Script, user: Any) -> list[Use]:
    """Return what uses the script, as far as the sources know."""
    return [use for source in use_sources for use in source(script, user)]
