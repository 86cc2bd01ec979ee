"""Flow arrays and RBAC configurations of the original engine, imported."""

import pytest

from flows.configuration import export_configuration, import_configuration
from flows.models import Flow, Queue
from tests.builders import ECHO, make_flow, make_script
from tests.integration.configuration_imports import faults_of, lines, steps_of

pytestmark = pytest.mark.django_db


class TestOriginal:
    DOCUMENT = [
        {
            "flowName": "loan",
            "queueMappings": [
                {"sourceQueueName": "second", "endpointName": "s", "maxThreads": 2},
                {
                    "sourceQueueName": "first",
                    "endpointName": "s",
                    "targetQueueName": "second",
                    "initial": True,
                },
            ],
        }
    ]

    def test_the_flow_array_is_read_and_makes_its_queues(self):
        make_script("s")

        assert lines(self.DOCUMENT) == [
            'added queue "first"',
            'added queue "second"',
            'added flow "loan"',
            "3 added, 0 changed, 0 removed.",
        ]
        assert steps_of("loan") == [("first", "s", "first", 4), ("second", "s", "second", 2)]
        assert lines(self.DOCUMENT) == ["Nothing to change."]

    def test_queues_that_exist_stay_as_they_are(self):
        make_script("s")
        Queue.objects.create(name="first", size=7)

        import_configuration(self.DOCUMENT)

        assert Queue.objects.get(name="first").size == 7

    def test_an_unknown_script_is_named_with_its_place(self):
        assert faults_of(self.DOCUMENT) == [
            '[0].queueMappings[1].endpointName: there is no script "s"',
            '[0].queueMappings[0].endpointName: there is no script "s"',
        ]

    def test_a_queue_of_another_flow_is_refused(self):
        make_flow("flow", [ECHO])
        mapping = {"sourceQueueName": "flow-0", "endpointName": "flow-0", "initial": True}

        assert faults_of([{"flowName": "loan", "queueMappings": [mapping]}]) == [
            '[0].queueMappings[0].sourceQueueName: the queue "flow-0" feeds the step "flow-0" of '
            'the flow "flow" already'
        ]

    def test_the_flow_array_stands_in_a_document_with_scripts_and_rbac(self):
        document = {
            "scripts": [{"name": "s", "code": ECHO}],
            "flows": self.DOCUMENT,
            "rbac": {"officers": ["loan"]},
        }

        import_configuration(document)

        assert export_configuration()["rbac"]["officers"]["start"] == ["loan"]
        assert Flow.objects.get().steps.count() == 2

    def test_prune_leaves_the_queues_of_the_mappings(self):
        document = {"scripts": [{"name": "s", "code": ECHO}], "flows": self.DOCUMENT}
        import_configuration(document)

        assert lines({**document, "queues": []}, prune=True) == ["Nothing to change."]

    def test_an_rbac_config_is_read(self):
        make_flow("loan", [ECHO])

        import_configuration({"officers": ["loan"], "managers": ["*"]})

        assert export_configuration()["rbac"] == {
            "managers": {"start": ["*"], "watch": [], "operate": []},
            "officers": {"start": ["loan"], "watch": [], "operate": []},
        }

    def test_an_rbac_config_with_an_unknown_flow_is_refused(self):
        assert faults_of({"officers": ["loan"]}) == ['officers: there is no flow "loan"']


def test_a_queue_that_an_original_flow_would_make_is_named_by_the_rule():
    mapping = {"sourceQueueName": "a/pause", "endpointName": "s", "initial": True}
    flow = {"flowName": "original", "queueMappings": [mapping]}
    make_script("s")

    [fault] = faults_of([flow])

    assert "must not contain a slash" in fault
