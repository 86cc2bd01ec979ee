"""The Configuration Manager, one noun a file. The import registers every class."""

from django.contrib import admin

from flows.admin import (
    alert_targets,
    alert_thresholds,
    alerts,
    audit,
    consumers,
    dead_letters,
    flow_states,
    flows,
    login,
    queues,
    reprocessings,
    roles,
    runs,
    schedules,
    tasks,
    tokens,
    users,
    webhook_deliveries,
)
from scripts.admin.site import IS_OWN, site

site.index_title = "Home"
site.login_form = login.LoginForm

if not IS_OWN:
    # A later app may register users and roles itself. A model can be registered once.
    admin.autodiscover()
users.register()

__all__ = [
    "alert_targets",
    "alert_thresholds",
    "alerts",
    "audit",
    "consumers",
    "dead_letters",
    "flow_states",
    "flows",
    "login",
    "queues",
    "reprocessings",
    "roles",
    "runs",
    "schedules",
    "tasks",
    "tokens",
    "users",
    "webhook_deliveries",
]
