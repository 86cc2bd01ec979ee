"""The ASGI application as `manage.py up` serves it: its processes end with their server."""

import os
import resource
import sys

from django.conf import settings

from asyncengine.asgi import application
from flows.processes import command_of, die_with_parent, parent_of

__all__ = ["application"]

MOST_FILES = 65_536

# A thread that comes back from the database waits so long for each of the others that computes;
# with the usual 5 ms the slowest of many calls at once took twice as long.
sys.setswitchinterval(0.0005)
# A shell's limit is often 1,024 files, and each connection is one.
_, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(allowed, MOST_FILES), allowed))
die_with_parent(os.getppid())
# The server may have died before: then this process was given to somebody else already. By that it
# was forked, so that its command is the same, in a container too, where it may be process 1.
was_given_to_init = os.getppid() == 1 and command_of(1) != command_of(os.getpid())
known_to_up = {settings.ASYNCENGINE_UP_PID, None}
if was_given_to_init or (
    settings.ASYNCENGINE_UP_PID and parent_of(os.getppid()) not in known_to_up
):
    os._exit(1)
