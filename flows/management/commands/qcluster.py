import logging
import os
import sys
from typing import Any

from django.conf import global_settings, settings
from django.core.management.base import CommandError
from django.db import connection
from django_q.conf import Conf
from django_q.management.commands.qcluster import Command as QClusterCommand

from flows.worker.cluster import CrashSafeCluster
from flows.worker.own_cluster import flow_workers, task_workers
from scripts.checks import ENGINE

logger = logging.getLogger(__name__)

NAME = "Q_CLUSTER_NAME"


class Command(QClusterCommand):
    """django-q2's command with a cluster that survives the death of its processes."""

    requires_system_checks = (ENGINE,)
    help = (
        "Starts the workers. SIGTERM or SIGINT: drains, exits 0."
        " --run-once: exits 0 when nothing is ready."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if name := options["cluster_name"]:
            self._take_name(name)
        if not flow_workers() and not task_workers():
            raise CommandError("There is no worker: both numbers of workers are 0.")
        make_flows_of_tasks()
        CrashSafeCluster(until_rest=options["run_once"]).run()

    def _take_name(self, name: str) -> None:
        """Restart with the name in the environment: django-q2 has read its settings already."""
        if name == Conf.CLUSTER_NAME:
            return
        if os.environ.get(NAME) == name or not self._called_from_command_line:
            raise CommandError(f"Name the cluster {name!r} by {NAME} in the environment.")
        # Without a handler, a stop signal that comes meanwhile ends the process.
        os.execve(  # noqa: S606  this very command
            sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {NAME: name}
        )


def make_flows_of_tasks() -> None:
    """Make the flows of Django's tasks; where that fails, the first task makes its own."""
    # The framework takes memory in each process of the cluster.
    if getattr(settings, "TASKS", None) == getattr(global_settings, "TASKS", None):
        return
    try:
        from flows.tasks_backend import make_flows
    except ImportError:
        # Without the framework there are no tasks of it.
        return
    try:
        make_flows()
    except Exception as error:
        logger.warning("The flows of tasks are made with their first task: %s", error)
    finally:
        connection.close()
