"""The WSGI application as `manage.py up` serves it: its processes end with their server."""

import os

from asyncengine.wsgi import application
from flows.processes import die_with_parent

__all__ = ["application"]

die_with_parent(os.getppid())
