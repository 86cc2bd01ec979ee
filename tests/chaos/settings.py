"""The settings of installations that are put under faults: short waits, and `tests.chaos`."""

from asyncengine.settings import *  # noqa: F403
from asyncengine.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = [*APPS, "tests.chaos"]
ASYNCENGINE_LEASE_SECONDS = 2.0
ASYNCENGINE_GRACE_SECONDS = 2.0
