"""The Configuration Manager, a file a noun. Importing it registers every class."""

from django.contrib import admin

from flows.admin import (
    consumers,
    dead_letters,
    flows,
    queues,
    reprocessings,
    roles,
    runs,
    tasks,
    tokens,
    users,
)

admin.site.index_title = "Dashboard"

__all__ = [
    "consumers",
    "dead_letters",
    "flows",
    "queues",
    "reprocessings",
    "roles",
    "runs",
    "tasks",
    "tokens",
    "users",
]
