"""The services of the engine for running scripts."""

from __future__ import annotations

from typing import Any

from scripts.models.configuration_values import age_for, configuration_values
from scripts.models.encryption import NotDecryptable
from scripts.models.secret_values import (
    SecretNotReadable,
    SecretUnavailable,
    known_values,
    readable_value,
    secret_value,
)
from scripts.protocol.calls import Program
from scripts.protocol.services import (
    CACHE_SERVICE,
    CONFIG_SERVICE,
    SECRET_SERVICE,
    SIGN_SERVICE,
    STATE_SERVICE,
    TABLE_SERVICE,
    Deadline,
    RequestFailed,
    Service,
)
from scripts.services.database import let_go, read_patiently
from scripts.services.flow_states import FlowStates
from scripts.services.shared_values import SharedValues
from scripts.services.tables import TableFiles


def engine_services() -> dict[str, Service]:
    # Late, with the libraries of calls and signatures: most processes make none.
    from scripts.services.outside_calls import OutsideCalls
    from scripts.services.signatures import Signatures

    secrets = SecretService()
    # For the engine itself, which gives no script the value.
    keys = SecretService(for_scripts=False)
    config = ConfigService()
    return {
        "http": OutsideCalls(secrets=keys, config=config),
        SECRET_SERVICE: secrets,
        CONFIG_SERVICE: config,
        CACHE_SERVICE: SharedValues(),
        SIGN_SERVICE: Signatures(keys),
        STATE_SERVICE: FlowStates(),
        TABLE_SERVICE: TableFiles(),
    }


class ConfigService:
    """The service `config`: {isNewest} to {values}; `isNewest` where one was missing."""

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        try:
            values = read_patiently(lambda: configuration_values(age_for(request)), deadline)
            return {"values": values}
        finally:
            let_go()


class SecretService:
    """The service `secret`: {name} to {value}."""

    def __init__(self, *, for_scripts: bool = True) -> None:
        self._for_scripts = for_scripts

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        name = request.get("name")
        if name not in program.secrets:
            raise RequestFailed(f"The script was not given a secret {name!r}.", "not-granted")
        try:
            value = readable_value if self._for_scripts else secret_value
            return {"value": read_patiently(lambda: value(name), deadline)}
        except SecretNotReadable as error:
            raise RequestFailed(str(error), "not-readable") from error
        except SecretUnavailable as error:
            is_there = isinstance(error.__cause__, NotDecryptable)
            raise RequestFailed(str(error), "unavailable" if is_there else "unknown") from error
        finally:
            let_go()

    def values(self, program: Program) -> tuple[str, ...]:
        """Return every secret that the program may read, for the mask of its texts."""
        return known_values(program.secrets)
