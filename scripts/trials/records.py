"""Records the trials that read secrets or call other hosts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from scripts.models import Script, TrialRecord
from scripts.protocol.calls import Program
from scripts.protocol.envelope import plain_text
from scripts.protocol.services import SECRET_SERVICE, SIGN_SERVICE, Deadline, Service
from scripts.services.engine import engine_services

ANY_HOST = "any public host"
MOST_NAMES = 100


class Watched:
    """A service that records the names that were requested."""

    def __init__(self, service: Service, name_of: Callable[[dict[str, Any]], str]) -> None:
        self._service = service
        self._name_of = name_of
        self.names: list[str] = []

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        # What a database refuses would hide all others.
        name = plain_text(self._name_of(request), 200)
        if name not in self.names and len(self.names) < MOST_NAMES:
            self.names.append(name)
        return self._service(program, request, deadline)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


@contextmanager
def recorded(
    program: Program, user_name: str, user: Any = None, script: Script | None = None
) -> Iterator[dict[str, Service] | None]:
    """Record a trial before it begins, and its requests when it ends.

    Yields the services for the trial; None, and no record, where the program may request nothing.
    """
    if not program.secrets and not program.network:
        yield None
        return
    record = _record_of(program)
    record.user, record.user_name, record.script = user, user_name[:150], script
    record.save()
    services = engine_services()
    secrets = Watched(services[SECRET_SERVICE], lambda request: str(request.get("name")))
    signed = Watched(services[SIGN_SERVICE], lambda request: str(request.get("secret")))
    hosts = Watched(services["http"], _host_of)
    try:
        yield {**services, SECRET_SERVICE: secrets, SIGN_SERVICE: signed, "http": hosts}
    finally:
        used = [*secrets.names, *(name for name in signed.names if name != "None")]
        record.secrets_read = list(dict.fromkeys(used))
        record.hosts_called = hosts.names
        record.save(update_fields=["secrets_read", "hosts_called"])


def code_digest(program: Program) -> str:
    digest = hashlib.sha256()
    for code in (program.code, *(library.code for library in program.libraries)):
        digest.update(code.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _record_of(program: Program) -> TrialRecord:
    hosts = list(program.allowed_hosts) or [ANY_HOST]
    return TrialRecord(
        script_name=program.name[:100],
        code_digest=code_digest(program),
        secrets=list(program.secrets),
        hosts=hosts if program.network else [],
        private_addresses=program.network and program.private_addresses,
    )


def _host_of(request: dict[str, Any]) -> str:
    try:
        return urlsplit(str(request.get("url"))).netloc.rpartition("@")[2]
    except ValueError:
        return "not a URL"
