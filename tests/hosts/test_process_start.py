"""What a process of the engine imports when it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Those of libraries that pages, callers of the API or outside calls need, or another database.
LEFT_OUT = {
    *("asyncengine.urls", "flows.admin", "flows.api.urls", "scripts.admin", "unfold.admin"),
    *("authlib", "httpcore", "httpx", "jwt", "psycopg", "requests", "rest_framework.views"),
    *("rest_framework.serializers", "click", "structlog", "markdown_it", "pygments", "yaml"),
}
CLUSTER = f"""
import json, sys
import django
sys.argv = ["manage.py", "qcluster"]
django.setup()
import flows.management.commands.qcluster
from django.core.checks import run_checks
from scripts.checks import ENGINE
faults = run_checks(tags=[ENGINE])
early = sorted({LEFT_OUT!r} & sys.modules.keys())

from django.contrib import admin
from django.urls import reverse
names = [each.name for each in admin.site.urls[0] if hasattr(each, "name")]
print(json.dumps([early, len(admin.site._registry), reverse("admin:flows_run_changelist")]))
"""


@pytest.mark.long
def test_a_cluster_starts_without_pages_and_has_them_when_asked(tmp_path):
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "asyncengine.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
    }

    finished = subprocess.run(
        [sys.executable, "-c", CLUSTER], env=environment, capture_output=True, text=True, check=True
    )

    early, pages, runs = json.loads(finished.stdout)
    assert early == []
    assert pages > 20
    assert runs == "/admin/flows/run/"
