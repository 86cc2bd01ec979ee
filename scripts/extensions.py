"""What other apps add to the pages of scripts: messages to try one on, where one is used, and who
may see and change one because of that; and where secrets are used, beside scripts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from scripts.models import Script, Secret
from scripts.trials.examples import example_payload


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as JSON text, its origin, and what tells it from others of that origin."""

    origin: str
    label: str
    text: str
    is_chosen: bool = False
    # Of the last step of a flow, whose output may be anything.
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """Something that uses a script or a secret, and the address of its page, "" for none."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class EncryptedColumns:
    """Columns of a table with encrypted texts, "" for none. `name`: what a row is called."""

    model: type[Model]
    columns: tuple[str, ...]
    name: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class ScriptRights:
    """What a user may do to scripts by rights to what uses them, beside Django's permissions."""

    # Every script, new ones included.
    has_all: bool = False
    # The ids of the scripts of what the user configures.
    seen: frozenset[int] = frozenset()
    # Those that something else uses, too.
    shared: frozenset[int] = frozenset()

    def may_see(self, script_id: int | None) -> bool:
        return self.has_all or script_id in self.seen

    def may_change(self, script_id: int | None) -> bool:
        return self.may_see(script_id) and not self.is_shared(script_id)

    def is_shared(self, script_id: int | None) -> bool:
        return not self.has_all and script_id in self.shared


# A script, the user who asks, and the name of a message to choose, which may be "" -> the newest
# messages that the script got and the user may see, and the chosen one.
sample_sources: list[Callable[[Script, Any, str], Iterable[Sample]]] = []

# A script and the user who asks -> where it is used.
use_sources: list[Callable[[Script, Any], Iterable[Use]]] = []

# The names of secrets and the user who asks -> what uses one, with its name; scripts are known.
secret_use_sources: list[Callable[[Collection[str], Any], Iterable[tuple[str, Use]]]] = []


# A script, the names of its fields that change, and the user who asks -> what the change touches,
# an object with `flows` and `notes`, false where that is nothing. No more than one app answers.
impact_sources: list[Callable[[Script, Collection[str], Any], Any]] = []

# A script that was saved, and the user: has runs that wait go on with its newest version.
upgrades: list[Callable[[Script, Any], None]] = []

# A script and the user who asks -> what the user may do now that the script was saved anew.
offer_sources: list[Callable[[Script, Any], Iterable[Use]]] = []

# Where texts are stored encrypted.
encrypted_columns: list[EncryptedColumns] = [
    EncryptedColumns(Secret, ("encrypted",), lambda secret: str(secret.name))
]

# A user -> the rights to scripts. No more than one app answers.
rights_sources: list[Callable[[Any], ScriptRights]] = []


def encrypted_texts() -> Iterator[tuple[str, str]]:
    """Yield each text that is stored encrypted, with the name of its row."""
    for place in encrypted_columns:
        for row in place.model._base_manager.order_by("pk").iterator():
            for column in place.columns:
                if text := getattr(row, column):
                    yield place.name(row), text


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


def uses_of_secrets(names: Collection[str], user: Any) -> list[tuple[str, Use]]:
    """Return what uses these secrets beside scripts, each with the name of the secret."""
    return [found for source in secret_use_sources for found in source(names, user)]


def offers_of(script: Script, user: Any) -> list[Use]:
    """Return what the user may do now that the script was saved anew, each with its address."""
    return [offer for source in offer_sources for offer in source(script, user)]


def upgrade_runs_of(script: Script, user: Any) -> None:
    """Have runs that wait go on with the newest version of the script."""
    for upgrade in upgrades:
        upgrade(script, user)


def rights_to_scripts(user: Any) -> ScriptRights:
    """Return what the user may do to scripts without Django's permissions."""
    for source in rights_sources:
        return source(user)
    return ScriptRights()


def impact_on(script: Script, changed: Collection[str], user: Any) -> Any:
    """Return what a change of these fields of the script touches, None where it is not known."""
    return next((source(script, changed, user) for source in impact_sources), None)
