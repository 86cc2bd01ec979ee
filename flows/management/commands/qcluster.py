from typing import Any

from django_q.management.commands.qcluster import Command as QClusterCommand

from flows.cluster import SteadyCluster


class Command(QClusterCommand):
    """django-q2's command with a cluster that survives the death of its processes."""

    help = "Starts the workers. SIGTERM or SIGINT: drains, exits 0."

    def handle(self, *args: Any, **options: Any) -> None:
        cluster = SteadyCluster()
        if options["run_once"]:
            cluster.start()
            cluster.stop()
            cluster.sentinel.join()
        else:
            cluster.run()
