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

# An app that comes later may register users and roles itself, which can be done once.
admin.autodiscover()
users.register()

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
