from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group

from flows.configuration import export_configuration, import_configuration, write_document
from flows.demo import demo_document
from flows.models import AlertThresholds, Flow, Queue, RoleMapping, Step
from scripts.models import Script
from tests.builders import ECHO, make_flow, make_script

pytestmark = pytest.mark.django_db


def test_an_empty_configuration_has_every_section():
    assert export_configuration() == {
        "libraries": [],
        "scripts": [],
        "queues": [],
        "flows": [],
        "rbac": {},
    }


def test_an_import_that_commits_meanwhile_is_in_the_export_as_a_whole(monkeypatch):
    make_flow("orders")
    read = AlertThresholds.objects.order_by

    def read_late(*names: str) -> Any:
        monkeypatch.undo()
        make_flow("parcels")
        return read(*names)

    monkeypatch.setattr(AlertThresholds.objects, "order_by", read_late)

    document = export_configuration()

    assert [flow["name"] for flow in document["flows"]] == ["orders", "parcels"]
    for flow in document["flows"]:
        for step in flow["steps"]:
            assert step["script"] in {script["name"] for script in document["scripts"]}
            assert step["queue"] in {queue["name"] for queue in document["queues"]}


def test_every_key_is_written_out_with_its_value():
    script = Script.objects.create(
        name="s",
        description="says",
        code=ECHO,
        input_schema={"type": "object"},
        timeout=timedelta(seconds=1.5),
        memory_mb=64,
        network=True,
    )
    queue = Queue.objects.create(
        name="q",
        size=5,
        polling=timedelta(milliseconds=250),
        max_deliveries=2,
        backoff_initial=timedelta(seconds=0.1),
        backoff_multiplier=1.5,
        backoff_max=timedelta(minutes=1),
        backoff_jitter=0,
        rate_count=3,
        rate_period=timedelta(seconds=10),
        paused=True,
    )
    flow = Flow.objects.create(name="f", active=False, retention=timedelta(days=1))
    Step.objects.create(flow=flow, name="step", script=script, queue=queue, threads=9)
    role = Group.objects.create(name="r")
    RoleMapping.objects.create(role=role, right="watch", flow=flow)
    RoleMapping.objects.create(role=role, right="operate", flow=None)

    assert export_configuration() == {
        "libraries": [],
        "scripts": [
            {
                "name": "s",
                "description": "says",
                "language": "python",
                "code": ECHO,
                "libraries": [],
                "inputSchema": {"type": "object"},
                "outputSchema": {},
                "timeoutSeconds": 1.5,
                "memoryMb": 64,
                "network": True,
            }
        ],
        "queues": [
            {
                "name": "q",
                "size": 5,
                "pollingMs": 250,
                "maxDeliveries": 2,
                "backoff": {
                    "initialSeconds": 0.1,
                    "multiplier": 1.5,
                    "maxSeconds": 60,
                    "jitter": 0,
                },
                "rateLimit": {"count": 3, "periodSeconds": 10},
                "paused": True,
            }
        ],
        "flows": [
            {
                "name": "f",
                "description": "",
                "active": False,
                "retentionDays": 1,
                "steps": [{"name": "step", "script": "s", "queue": "q", "threads": 9}],
            }
        ],
        "rbac": {"r": {"start": [], "watch": ["f"], "operate": ["*"]}},
    }


def test_entries_are_sorted_by_name_and_steps_stay_in_their_order():
    for name in ("b", "a", "B", "ä"):
        make_script(name)
    flow = make_flow("flow")
    flow.steps.filter(name="flow-0").update(position=9)

    document = export_configuration()

    names = [script["name"] for script in document["scripts"]]
    assert names == ["B", "a", "b", "flow-0", "flow-1", "flow-2", "ä"]
    assert [step["name"] for step in document["flows"][0]["steps"]] == [
        "flow-1",
        "flow-2",
        "flow-0",
    ]


def test_a_group_without_a_right_is_no_role():
    Group.objects.create(name="editors")

    assert export_configuration()["rbac"] == {}


def test_export_import_export_gives_the_same_bytes():
    import_configuration(demo_document())
    first = export_configuration()
    empty: dict[str, Any] = {"scripts": [], "queues": [], "flows": [], "rbac": {}}
    import_configuration(empty, prune=True)
    assert export_configuration() == {"libraries": [], **empty}

    import_configuration(first)

    assert write_document(export_configuration()) == write_document(first)


def test_the_keys_of_a_schema_are_sorted_so_that_every_database_gives_the_same_bytes():
    schema = {"type": "object", "properties": {"b": {}, "a": {"title": "A", "minimum": 1.5}}}
    make_script("s", input_schema=schema)

    exported = export_configuration()["scripts"][0]["inputSchema"]

    assert exported == schema
    assert list(exported) == ["properties", "type"]
    assert list(exported["properties"]) == ["a", "b"]
