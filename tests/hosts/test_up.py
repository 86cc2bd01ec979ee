from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncengine.environment import BASE_DIR as ROOT
from flows.up.children import web


@pytest.mark.parametrize("own", ["", "{}", "{}:/elsewhere"])
def test_the_web_server_finds_the_callers_modules_and_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str
):
    (tmp_path / "modules_of_the_caller.py").touch()
    monkeypatch.setenv("PYTHONPATH", own.format(tmp_path))
    modules = "asyncengine" + (", modules_of_the_caller" if own else "")
    environment = web("127.0.0.1", 8000).environment

    finished = subprocess.run(
        [sys.executable, "-c", f"import {modules}"],
        env=os.environ | environment,
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
    )

    assert finished.returncode == 0, finished.stderr
    # An empty entry would be the directory that it runs in.
    assert "" not in environment["PYTHONPATH"].split(os.pathsep)


# Those that other databases, outside calls, signatures, logins at an issuer, Django's tasks and
# tests need, and what these bring along.
LEFT_OUT = {
    *("authlib", "cryptography.x509", "django_tasks", "django.contrib.sitemaps", "h11", "httpcore"),
    *("httpx", "jinja2", "jwt", "markdown", "psycopg", "pygments", "requests", "rich"),
}
LOADED = f"""
import sys
from flows.up.loading import load_all
load_all()
from flows.management.commands.qcluster import make_flows_of_tasks
make_flows_of_tasks()
assert not {LEFT_OUT!r} & set(sys.modules), {LEFT_OUT!r} & set(sys.modules)

import django.contrib.postgres.fields, jinja2, pygments, requests
from flows.documentation import rendering
from rest_framework.compat import postgres_fields
assert postgres_fields is None
"""


def test_what_is_loaded_for_the_forks_leaves_out_what_others_need_alone(tmp_path: Path):
    environment = os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"}

    subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, env=environment, check=True)


def test_an_installation_on_postgresql_has_its_fields_in_the_api_and_on_pages():
    program = (
        "from flows.up.loading import load_all; load_all()\n"
        "from django.contrib.postgres.fields import ArrayField\n"
        "from rest_framework.compat import postgres_fields\n"
        "from unfold.overrides import FORMFIELD_OVERRIDES\n"
        "assert postgres_fields.ArrayField is ArrayField\n"
        "assert ArrayField in FORMFIELD_OVERRIDES\n"
    )
    # Nothing connects to it.
    environment = os.environ | {"DATABASE_URL": "postgres://engine@127.0.0.1:1/none"}

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)


def test_the_code_that_makes_queries_is_adapted_before_the_forks():
    program = (
        "import dis\n"
        "from flows.up.loading import load_all; load_all()\n"
        "from django.db.models.sql.query import Query\n"
        "def names(adaptive):\n"
        "    return [each.opname for each in dis.get_instructions(Query.build_filter,"
        " adaptive=adaptive)]\n"
        "assert names(True) != names(False)\n"
    )

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_connection_that_a_project_opens_as_it_is_loaded_is_closed_before_the_forks(
    tmp_path: Path,
):
    (tmp_path / "asks.py").write_text(
        "from django.apps import AppConfig\n"
        "class Asks(AppConfig):\n"
        "    name = 'asks'\n"
        "    path = '.'\n"
        "    def ready(self):\n"
        "        from django.db import connection\n"
        "        connection.ensure_connection()\n"
    )
    (tmp_path / "asking.py").write_text(
        "from asyncengine.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'asks.Asks']\n"
    )
    program = (
        "from flows.up.loading import load_all; load_all()\n"
        "from django.db import connections\n"
        "assert [each.connection for each in connections.all()] == [None]\n"
    )
    own = {"ASYNCENGINE_DATA_DIR": f"{tmp_path}", "DJANGO_SETTINGS_MODULE": "asking"}
    path = os.pathsep.join([f"{tmp_path}", f"{ROOT}"])

    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | own | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )

    assert finished.returncode == 0, finished.stderr
