"""Settings of an installation whose project has tasks of Django's tasks framework."""

from asyncengine.settings import *  # noqa: F403

ASYNCENGINE_CALLABLE_MODULES = ["flows.tasks_backend", "tests.project_tasks"]
TASKS = {
    "default": {
        "BACKEND": "flows.tasks_backend.FlowsBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"FLOWS": {"mail": "letters"}},
    }
}
