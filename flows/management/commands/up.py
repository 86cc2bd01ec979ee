from __future__ import annotations

import secrets
import shlex
import socket
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from flows import demo
from flows.access.administrator import NAME, NoAdministrator, make_administrator
from flows.front.mount import is_mounted
from flows.models import Flow
from flows.models.users import all_users
from flows.up.addresses import ANY_HOST
from flows.up.children import cluster, python_path, web
from flows.up.keeping import become_keeper, keep
from flows.up.supervisor import RestartLimitReached
from scripts.checks import ENGINE


@dataclass(frozen=True, slots=True)
class Administrator:
    """The superuser, and the password if `up` has made one up."""

    name: str
    password: str | None = None


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Runs everything on one machine: database, demo, web server and one cluster."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="The address that is served.")
        parser.add_argument("--port", type=int, default=8000, help="Its port.")
        parser.add_argument(
            "--workers", type=int, help="Workers for flows. Default: ASYNCENGINE_WORKERS."
        )
        parser.add_argument(
            "--no-demo", action="store_true", help="Make no demo flow in an empty database."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        if is_mounted():
            raise CommandError(
                "The engine is a part of your project here: run your project's web server, and"
                " the workers by the command qcluster."
            )
        workers = options["workers"]
        if workers is None:
            workers = settings.ASYNCENGINE_WORKERS
        if workers < 1:
            raise CommandError("--workers must be at least 1")
        if not 1 <= port <= 65_535:
            raise CommandError("--port must be 1 to 65535")
        require_free(host, port)
        call_command("migrate", interactive=False, verbosity=0)
        admin = self._fill_if_empty(with_demo=not options["no_demo"])
        children = [web(host, port), cluster(workers)]
        lines = list(self._announcement(host, port, admin))
        if self._called_from_command_line:  # type: ignore[attr-defined]
            connections.close_all()
            become_keeper(children, host, port, lines, python_path())
        try:
            keep(children, host, port, lines)
        except RestartLimitReached as error:
            raise CommandError(str(error)) from error

    def _fill_if_empty(self, with_demo: bool) -> Administrator:
        """Make the demo and a superuser in an empty database."""
        if all_users().exists():
            return Administrator(NAME)
        if with_demo and not Flow.objects.exists():
            demo.install_demo()
        password = settings.ASYNCENGINE_ADMIN_PASSWORD or secrets.token_urlsafe(12)
        try:
            name = make_administrator(password, getattr(settings, "ASYNCENGINE_ADMIN_FIELDS", {}))
        except NoAdministrator as error:
            self._say(f"There is no administrator yet. {error}")
            self._say("Make one with the command createsuperuser.")
            return Administrator(NAME)
        return Administrator(name, None if settings.ASYNCENGINE_ADMIN_PASSWORD else password)

    def _announcement(self, host: str, port: int, admin: Administrator) -> Iterator[str]:
        base = f"http://{'127.0.0.1' if host in ANY_HOST else host}:{port}"
        public = settings.ASYNCENGINE_URL or base
        yield f"Configuration Manager  {public}/admin/"
        yield f"Swagger UI             {public}/async/specifications/swagger-ui/index.html"
        yield f"Documentation          {public}/async/docs/"
        if admin.password:
            yield (
                f"Log in as {admin.name} with the password {admin.password} (it is shown only now)."
            )
        if Flow.objects.filter(name=demo.FLOW_NAME).exists():
            user = f"{admin.name}:{admin.password}" if admin.password else admin.name
            yield "Start the demo flow:"
            yield (
                f"  curl -u {shlex.quote(user)} -H 'Content-Type: application/json'"
                f" -d {shlex.quote(demo.example_application())}"
                f" '{public}/async/api/start?flowName={demo.FLOW_NAME}'"
            )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def require_free(host: str, port: int) -> None:
    """Raise CommandError at once if the address is taken, instead of after five failed starts."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port}: {error}") from error
