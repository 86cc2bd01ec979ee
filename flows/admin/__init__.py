"""The Configuration Manager, a file a noun. Importing it registers every class."""

from django.contrib import admin

from flows.admin import (
    consumers,
    dead_letters,
    flows,
    login,
    queues,
    reprocessings,
    roles,
    runs,
    tasks,
    tokens,
    users,
)

admin.site.index_title = "Dashboard"
admin.site.login_form = login.LoginForm

__all__ = [
    "consumers",
    "dead_letters",
    "flows",
    "login",
    "queues",
    "reprocessings",
    "roles",
    "runs",
    "tasks",
    "tokens",
    "users",
]
