"""The least that a durable start can be: a view that inserts two rows in one transaction.

It is a Django application of its own, without middleware, login or the engine, with the database of
the installation, served by the same server with as many processes. `bare_tables` makes its tables.
"""

from __future__ import annotations

import os
import uuid
from importlib import import_module
from typing import Any

import orjson
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from flows.benchmark.bare_tables import PREFIX, tables_of
from flows.processes import die_with_parent


def bare_database(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the same database with Django's own backend and no checks."""
    plain = {"ATOMIC_REQUESTS": False, "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": False}
    config = config | plain
    if config["ENGINE"] == "flows.postgresql":
        config["ENGINE"] = "django.db.backends.postgresql"
        options = {**config.get("OPTIONS", {})}
        options.pop("session_settings", None)
        config["OPTIONS"] = options
    return config


def start(request: HttpRequest) -> HttpResponse:
    payload = orjson.loads(request.body)
    id = uuid.uuid4()
    body = orjson.dumps({"correlationId": str(id), "payload": payload}).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(INSERT_RUN, [id.hex])
        cursor.execute(INSERT_MESSAGE, [id.hex, body])
    answer = orjson.dumps({"correlationId": str(id)})
    return HttpResponse(answer, status=202, content_type="application/json")


RUN, MESSAGE = tables_of(os.environ.get(PREFIX, "bench"))
INSERT_RUN = (
    f"INSERT INTO {RUN} (id, flow, status, created_at) VALUES (%s, 1, 'QUEUED', CURRENT_TIMESTAMP)"
)
INSERT_MESSAGE = (
    f"INSERT INTO {MESSAGE} (id, queue, body, available_at) VALUES (%s, 1, %s, CURRENT_TIMESTAMP)"
)
urlpatterns = [path("start", start)]


def make_application() -> Any:
    die_with_parent(os.getppid())
    module = import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": bare_database(module.DATABASES["default"])},
        INSTALLED_APPS=[],
        MIDDLEWARE=[],
        ROOT_URLCONF=__name__,
        SECRET_KEY=uuid.uuid4().hex,
        USE_TZ=True,
    )
    return get_wsgi_application()


def __getattr__(name: str) -> Any:
    """Make the application when the server asks for it, not on import."""
    if name == "application":
        return make_application()
    raise AttributeError(name)
