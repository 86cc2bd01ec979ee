"""Settings of an installation whose cluster adds and takes workers within seconds."""

from asyncengine.settings import *  # noqa: F403
from flows.worker import scaling

scaling.GROW_SECONDS, scaling.SHRINK_SECONDS = 0.5, 2.0
