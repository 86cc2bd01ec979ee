"""Messages to try a script on. Where real ones are is for other apps to say: they add a source."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scripts.examples import example_payload
from scripts.models import Script


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as JSON text, from where it is, and what tells it from others of that origin."""

    origin: str
    label: str
    text: str
    is_chosen: bool = False


# A script, the user who asks, and the name of a message to choose, which may be "" -> the newest
# messages that the script got and the user may see, and the chosen one.
Source = Callable[[Script, Any, str], Iterable[Sample]]

sources: list[Source] = []


def samples_of(script: Script, user: Any, choice: str = "") -> list[Sample]:
    """Return an example of the input parameters, if there are any, and what the sources have."""
    samples = [sample for source in sources for sample in source(script, user, choice)]
    if script.input_schema:
        text = json.dumps({"payload": example_payload(script.input_schema)})
        samples.insert(0, Sample("Made up", "from the input parameters", text))
    return samples
