"""The settings of installations that are put under faults: short waits, and `tests.chaos`.

Their clusters add workers and take them away within seconds.
"""

from asyncengine.settings import *  # noqa: F403
from asyncengine.settings import INSTALLED_APPS as APPS
from asyncengine.settings import Q_CLUSTER as CLUSTER
from flows.worker import scaling

INSTALLED_APPS = [*APPS, "tests.chaos"]
ASYNCENGINE_LEASE_SECONDS = 2.0
ASYNCENGINE_GRACE_SECONDS = 2.0
Q_CLUSTER = CLUSTER | {"max_workers": 4}
scaling.GROW_SECONDS, scaling.SHRINK_SECONDS = 0.5, 2.0
