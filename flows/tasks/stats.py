"""django-q2's state of a cluster (`Stat`, qinfo, qmonitor, qmemory), stored as plain data.

The sentinel notes it twice a second. It must not wait for a database, so that it hands each note to
the pusher, which stores one now and then.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.status import Stat, Status

from flows.tasks.queue import PacketChannel

# How often the state of a cluster is stored, and how long it counts.
STORE_SECONDS = 5.0
COUNTS_SECONDS = 15
STATES = ("STARTING", "WORKING", "IDLE", "STOPPED", "STOPPING")


class Notes(PacketChannel):
    """Carries notes from one process to another, which wants the last alone."""

    def put(self, note: str) -> None:
        self.post(note.encode())

    def last(self) -> str | None:
        note = None
        for packet in self.packets():
            note = packet.decode()
        return note


def note_of(stat: Stat) -> str:
    """Return the state of a cluster as JSON."""
    fields = {name: value for name, value in vars(stat).items() if name != "broker"}
    # It has none where it is to stop before it has begun.
    known = (name for name in STATES if getattr(Conf, name) == stat.status)
    state = next(known, "STOPPED")
    return json.dumps(fields | {"status": state}, cls=DjangoJSONEncoder)


def with_fields(note: str, **fields: Any) -> str:
    """Return a note that has more fields."""
    return json.dumps(json.loads(note) | fields)


def stat_of(note: str) -> Stat:
    """Return the state of a cluster that a note has."""
    fields = json.loads(note)
    stat: Stat = object.__new__(Stat)
    vars(stat).update(
        fields,
        status=getattr(Conf, fields["status"]),
        cluster_id=UUID(fields["cluster_id"]),
        tob=datetime.fromisoformat(fields["tob"]),
        timestamp=datetime.fromisoformat(fields["timestamp"]),
    )
    return stat


def save(stat: Stat) -> None:
    stat.broker.set_stat(stat.key, note_of(stat), COUNTS_SECONDS)


def get(pid: int, cluster_id: Any, broker: Any = None) -> Status:
    note = (broker or get_broker()).get_stat(Stat.get_key(cluster_id))
    return stat_of(note) if note else Status(pid=pid, cluster_id=cluster_id)


def get_all(broker: Any = None) -> list[Stat]:
    return [stat_of(note) for note in (broker or get_broker()).get_stats(f"{Conf.Q_STAT}:*") or []]


def install() -> None:
    """Have django-q2 store its states in this way."""
    Stat.save = save
    Stat.get = staticmethod(get)
    Stat.get_all = staticmethod(get_all)
