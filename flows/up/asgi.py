"""The ASGI application as `manage.py up` serves it: its processes end with their server."""

import os
import resource
import sys

from django.conf import settings

from asyncengine.asgi import application
from flows.processes import command_of, die_with_parent, parent_of

__all__ = ["application"]

MOST_FILES = 65_536

# A thread that returns from the database waits this long for each thread that computes. With
# Python's default of 5 ms the slowest of many parallel calls took twice as long.
sys.setswitchinterval(0.0005)
# Each connection is a file, and a shell often limits files to 1,024.
_, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(allowed, MOST_FILES), allowed))
die_with_parent(os.getppid())
# If the server died before that, this process has another parent by now. A server has the command
# of the process that it forks, also in a container, where the server may be process 1.
has_init_as_parent = os.getppid() == 1 and command_of(1) != command_of(os.getpid())
known_to_up = {settings.ASYNCENGINE_UP_PID, None}
if has_init_as_parent or (
    settings.ASYNCENGINE_UP_PID and parent_of(os.getppid()) not in known_to_up
):
    os._exit(1)
