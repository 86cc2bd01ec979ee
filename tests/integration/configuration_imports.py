"""What tests of imports of configuration documents share."""

from typing import Any

import pytest

from flows.configuration import ConfigurationInvalid, export_configuration, import_configuration
from flows.models import Step
from tests.builders import ECHO, TRAIL

DOCUMENT: dict[str, Any] = {
    "scripts": [{"name": "s", "code": ECHO}, {"name": "t", "code": TRAIL}],
    "queues": [{"name": "q"}, {"name": "p", "rateLimit": {"count": 5, "periodSeconds": 1}}],
    "flows": [
        {
            "name": "f",
            "steps": [
                {"name": "one", "script": "s", "queue": "q"},
                {"name": "two", "script": "t", "queue": "p", "threads": 2},
            ],
        },
        {"name": "g"},
    ],
    "rbac": {"officers": {"start": ["f"], "operate": ["*"]}},
}


def lines(document, **options) -> list[str]:
    return str(import_configuration(document, **options)).splitlines()


def faults_of(document, **options) -> list[str]:
    before = export_configuration()
    with pytest.raises(ConfigurationInvalid) as caught:
        import_configuration(document, **options)
    assert export_configuration() == before
    return str(caught.value).splitlines()


def steps_of(flow: str) -> list[tuple[str, str, str, int]]:
    steps = Step.objects.filter(flow__name=flow)
    return list(steps.values_list("name", "script__name", "queue__name", "threads"))
