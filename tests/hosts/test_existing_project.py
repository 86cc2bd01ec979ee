"""A Django project with users, pages and an admin of its own, to which the engine is added."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.hosts.wheels import ROOT, install

# Builds the wheel, installs it and runs a cluster.
pytestmark = pytest.mark.long

USERS = """
from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    team = models.CharField(max_length=40, blank=True)


class Order(models.Model):
    customer = models.ForeignKey(Person, models.CASCADE)
    run = models.UUIDField(null=True)
"""
ADMIN = """
from django.contrib import admin

from shop.models import Order, Person


@admin.register(Person)
class PersonAdmin(admin.ModelAdmin):
    fields = ("username", "team")


admin.site.register(Order)
"""
# In the transaction of its step: with one that is rejected nothing is written.
STEPS = """
from flows.public import Reject
from shop.models import Order, Person


def welcome(message, context):
    person = Person.objects.get(pk=message["payload"]["person"])
    Order.objects.create(customer=person, run=context.correlation_id)
    if message["payload"].get("unwanted"):
        raise Reject("no")
    return message | {"payload": {"welcome": f"Hello {person.username}"}}
"""
# What the project says of its own API is nothing for the engine's.
SETTINGS = """
INSTALLED_APPS += ["shop", "rest_framework"]
AUTH_USER_MODEL = "shop.Person"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.StaticHTMLRenderer"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "1/day"},
}
DEBUG, ALLOWED_HOSTS = False, ["testserver"]
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL",
}
"""
FLOW = {
    "scripts": [
        {
            "name": "welcome",
            "language": "callable",
            "code": "shop.steps.welcome",
            "inTransaction": True,
        }
    ],
    "queues": [{"name": "welcome", "size": 10}],
    "flows": [
        {
            "name": "welcome",
            "steps": [{"name": "welcome", "script": "welcome", "queue": "welcome", "threads": 1}],
        }
    ],
}
# The pages of the project as a superuser sees them, and those for all.
PAGES = """
import json, re, sys
import django
django.setup()
from django.contrib.auth import get_user_model
from django.test import Client

client, shown = Client(), {}
client.get("/admin/login/")
for path in ("/admin/login/", "/nowhere/"):
    shown[path] = client.get(path)
user = get_user_model().objects.filter(username="root").first()
user = user or get_user_model().objects.create_superuser("root", password="secret")
client.force_login(user)
for path in ("", "shop/", "shop/person/", "shop/person/add/", "shop/person/1/change/",
             "shop/person/1/delete/", "shop/person/1/history/", "auth/group/", "password_change/",
             "nowhere/", "shop/order/add/"):
    shown["/admin/" + path] = client.get("/admin/" + path)
token = r'csrfmiddlewaretoken" value="[^"]*'
for answer in shown.values():
    answer.headers.pop("Expires", None)
print(json.dumps({
    path: [answer.status_code, dict(answer.headers), re.sub(token, "", answer.content.decode())]
    for path, answer in shown.items()
}))
"""
STARTS = """
import django
django.setup()
from django.db import transaction
from flows import public
from shop.models import Order, Person

person = Person.objects.get()
with transaction.atomic():
    order = Order.objects.create(customer=person)
    order.run = committed = public.start("welcome", {"person": person.pk}, user=person)
    order.save()
try:
    with transaction.atomic():
        undone = public.start("welcome", {"person": person.pk})
        raise LookupError
except LookupError:
    pass
refused = public.start("welcome", {"person": person.pk, "unwanted": True})
print(committed, undone, refused)
"""
# The order that was made with the start, and those of the steps.
ORDERS = """
import sys
import django
django.setup()
from shop.models import Order

print(*(Order.objects.filter(run=run).count() for run in sys.argv[1:]))
"""
# What is below the include.
BELOW = """
import json, sys
import django
django.setup()
from django.contrib.auth import get_user_model
from django.test import Client

client = Client()
anonymous = [client.get(path) for path in ("/engine/admin/", "/engine/async/api/flows")]
client.force_login(get_user_model().objects.get())
pages = {path: client.get(path) for path in sys.argv[1:]}
print(json.dumps({
    "anonymous": [[each.status_code, each.headers.get("Location")] for each in anonymous],
    "pages": {
        path: [answer.status_code, answer.headers["Content-Type"], answer.content.decode()]
        for path, answer in pages.items()
    },
}))
"""
# Calls the ASGI application of the project, wrapped as the README says.
STREAMED = """
import asyncio, base64, json, sys
from site_of_shop.asgi import application

login = b"Basic " + base64.b64encode(b"root:secret")


async def called(path):
    sent, bodies = [], [b""]

    async def receive():
        if bodies:
            bodies.pop()
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.sleep(3600)

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"testserver"), (b"authorization", login)]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
             "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
             "root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": None}
    await asyncio.wait_for(application(scope, receive, send), 60)
    body = b"".join(each.get("body", b"") for each in sent)
    return sent[0]["status"], body.decode()


async def main():
    print(json.dumps([await called(path) for path in sys.argv[1:]]))

asyncio.run(main())
"""


class Project:
    """Commands of the project in a directory, by the Python that has the wheel."""

    def __init__(self, directory: Path, python: Path) -> None:
        self.directory, self.python = directory, python

    def run(self, *arguments: str, settings: str = "site_of_shop.settings") -> str:
        done = self.ended(*arguments, settings=settings)
        assert done.returncode == 0, done.stdout + done.stderr
        self.errors = done.stderr
        return done.stdout

    def ended(
        self, *arguments: str, settings: str = "site_of_shop.settings"
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "DJANGO_SETTINGS_MODULE": settings,
            "ASYNCENGINE_SECRETS_KEYS": Fernet.generate_key().decode(),
        }
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def add(self, name: str, text: str) -> None:
        with (self.directory / name).open("a") as file:
            file.write(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Project:
    """The project of `startproject` before the engine is added, with its tables."""
    directory = tmp_path_factory.mktemp("project")
    environment = tmp_path_factory.mktemp("environment") / "venv"
    install(wheel, environment)
    project = Project(directory, environment / "bin" / "python")
    project.run("-m", "django", "startproject", "site_of_shop", ".")
    (directory / "shop" / "migrations").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "migrations/__init__.py": "",
        "models.py": USERS,
        "admin.py": ADMIN,
        "steps.py": STEPS,
    }.items():
        project.write(f"shop/{name}", text)
    project.add("site_of_shop/settings.py", SETTINGS)
    project.run("manage.py", "makemigrations", "-v0", "shop")
    project.run("manage.py", "migrate", "-v0")
    return project


@pytest.fixture(scope="module")
def before(project: Project) -> dict[str, Any]:
    """The pages of the project before the engine is added."""
    pages: dict[str, Any] = json.loads(project.run("-c", PAGES))
    return pages


@pytest.fixture(scope="module")
def with_engine(project: Project, before: dict[str, Any]) -> Project:
    """The project with what the README says, and a flow."""
    text = (ROOT / "asyncengine" / "README.md").read_text()
    section = text.partition("### In a project that exists")[2]
    settings, urls, asgi = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[:3]
    project.add("site_of_shop/asgi.py", dedent(asgi))
    project.add("site_of_shop/settings.py", settings)
    project.write("site_of_shop/urls.py", urls)
    project.run("manage.py", "migrate", "-v0")
    project.write("flow.json", json.dumps(FLOW))
    project.run("manage.py", "config", "import", "flow.json")
    return project


def test_the_project_needs_nothing_but_what_the_readme_says(with_engine):
    with_engine.run("manage.py", "check", "--database", "default")
    found = with_engine.errors
    # From Django 6.1 on it is an error that the project says nothing about mails.
    deployed = with_engine.ended("manage.py", "check", "--deploy").stderr
    with_engine.run("manage.py", "makemigrations", "--check", "--dry-run")

    assert found == ""
    assert "security.W" in deployed
    assert not re.search(r"flows\.|knox|spectacular|django_q", deployed), deployed


def test_a_folder_of_scripts_is_no_harm_and_a_package_of_ours_by_name_is_told(with_engine):
    """A folder without `__init__.py`, as many projects have one, hides nothing."""
    folder = with_engine.directory / "scripts"
    folder.mkdir()
    try:
        (folder / "deploy.py").touch()
        with_engine.run("manage.py", "check")
        (folder / "__init__.py").touch()
        refused = with_engine.ended("manage.py", "check")
    finally:
        shutil.rmtree(folder)

    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert f"Python finds the package 'scripts' in {folder}" in last
    assert "flows and scripts are the engine's" in last


def test_the_pages_of_the_project_are_what_they_were(before, with_engine):
    after = json.loads(with_engine.run("-c", PAGES))

    assert after == before


def test_a_flow_runs_what_the_project_has_committed(with_engine):
    committed, undone, refused = with_engine.run("-c", STARTS).split()
    with_engine.run("manage.py", "qcluster", "--run-once")
    assert with_engine.run("-c", ORDERS, committed, undone, refused) == "2 0 0\n"
    api, run = f"/engine/async/api/runs/{committed}", f"/engine/admin/flows/run/{committed}/change/"
    document = "/engine/async/specifications/openapi.json"
    home, unknown = "/engine/admin/", "/engine/admin/nowhere/"
    paths = [api, f"/engine/async/api/runs/{undone}", run, document, home, unknown]
    below = json.loads(with_engine.run("-c", BELOW, *paths))

    pages = below["pages"]
    (streamed, events), (status, _), (outside, _) = json.loads(
        with_engine.run("-c", STREAMED, f"{api}/events", api, "/admin/login/")
    )
    assert (streamed, status, outside) == (200, 200, 200)
    assert "event: run-finished\n" in events
    answer = json.loads(pages[api][2])
    assert (answer["status"], answer["result"]["payload"]["welcome"]) == (
        "COMPLETED",
        "Hello root",
    )
    assert pages[f"/engine/async/api/runs/{undone}"][0] == 404
    assert below["anonymous"] == [[302, "/engine/admin/login/?next=/engine/admin/"], [401, None]]
    assert json.loads(pages[document][2])["servers"] == [{"url": "/engine"}]
    for path, status in ((run, 200), (home, 200), (unknown, 404)):
        assert pages[path][0] == status
        assert "/static/unfold/" in pages[path][2]
        links = set(re.findall(r'(?:href|action|hx-get)="(/[^"]*)"', pages[path][2]))
        assert any(link.startswith("/engine/admin/") for link in links)
        assert all(link.startswith(("/engine/", "/static/")) for link in links), links
