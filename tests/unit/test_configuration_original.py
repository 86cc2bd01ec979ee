import pytest

from tests.desired_states import faults_of, read


def mapping(source: str, target: str | None = None, **values) -> dict:
    given = {"sourceQueueName": source, "endpointName": f"script-{source}"}
    if target is not None:
        given["targetQueueName"] = target
    return {**given, **values}


def original(*mappings: dict, name: str = "f") -> dict:
    return {"flowName": name, "queueMappings": list(mappings)}


def test_the_order_follows_the_queues_and_not_the_list():
    document = [
        original(
            mapping("c", maxThreads=7),
            mapping("a", "b", initial=True, maxThreads=2),
            mapping("b", "c", initial=False),
        )
    ]

    desired = read(document)

    assert desired.flows["f"].values["steps"] == [
        {"name": "a", "script": "script-a", "queue": "a", "threads": 2},
        {"name": "b", "script": "script-b", "queue": "b", "threads": 4},
        {"name": "c", "script": "script-c", "queue": "c", "threads": 7},
    ]
    assert desired.sections == {"flows"}


@pytest.mark.parametrize(
    "last", [{}, {"targetQueueName": None}, {"targetQueueName": ""}, {"targetQueueName": "done"}]
)
def test_the_last_mapping_leads_nowhere(last):
    desired = read([original(mapping("a", "b", initial=True), {**mapping("b"), **last})])

    assert [step.values["name"] for step in desired.flows["f"].steps] == ["a", "b"]


def test_one_script_may_serve_several_steps():
    desired = read(
        [
            original(
                mapping("a", "b", initial=True, endpointName="same"),
                mapping("b", endpointName="same"),
            )
        ]
    )

    steps = desired.flows["f"].values["steps"]
    assert [(step["name"], step["script"]) for step in steps] == [("a", "same"), ("b", "same")]


def test_the_original_flows_are_found_inside_a_document_beside_flows_of_this_product():
    desired = read(
        {
            "flows": [{"name": "new"}, original(mapping("a", initial=True), name="old")],
            "rbac": {"officers": ["old"]},
        }
    )

    assert list(desired.flows) == ["new", "old"]
    assert desired.roles["officers"].values["start"] == ["old"]


def test_an_rbac_config_alone_is_a_document():
    desired = read({"officers": ["loan", "*"], "unknown": []})

    assert desired.sections == {"rbac"}
    assert desired.roles["officers"].values == {"start": ["*", "loan"], "watch": [], "operate": []}
    assert desired.roles["unknown"].values["start"] == []


@pytest.mark.parametrize(
    ("mappings", "fault"),
    [
        ([], '[0].queueMappings: no mapping is the initial one ("initial": true)'),
        (
            [mapping("a", "b"), mapping("b")],
            '[0].queueMappings: no mapping is the initial one ("initial": true)',
        ),
        (
            [mapping("a", "b", initial=True), mapping("b", initial=True)],
            "[0].queueMappings[1].initial: queueMappings[0] is the initial one already",
        ),
        (
            [mapping("a", "b", initial=True), mapping("b", "a")],
            '[0].queueMappings[1].targetQueueName: leads back to the queue "a": '
            "the flow would never end",
        ),
        (
            [mapping("a", "a", initial=True)],
            '[0].queueMappings[0].targetQueueName: leads back to the queue "a": '
            "the flow would never end",
        ),
        (
            [mapping("a", "nowhere", initial=True), mapping("b")],
            '[0].queueMappings[1]: no way from the initial mapping leads to queue "b"',
        ),
        (
            [mapping("a", "b", initial=True), mapping("b"), mapping("b")],
            '[0].queueMappings[2].sourceQueueName: queueMappings[1] reads the queue "b" already',
        ),
        (
            [mapping("a", initial=True, maxThreads=0)],
            "[0].queueMappings[0].maxThreads: must be at least 1",
        ),
        ([mapping("a", initial="yes")], "[0].queueMappings[0].initial: must be true or false or"),
        ([mapping("a", more=1)], '[0].queueMappings[0]: unknown key "more"'),
        ([{"initial": True}], '[0].queueMappings[0]: "endpointName" is missing'),
    ],
)
def test_a_flow_that_cannot_be_put_in_order_is_refused(mappings, fault):
    assert any(found.startswith(fault) for found in faults_of([original(*mappings)]))


def test_a_flow_that_leads_into_another_one_is_refused():
    document = [
        original(mapping("a", "b", initial=True), name="one"),
        original(mapping("b", initial=True), name="two"),
    ]

    assert faults_of(document) == [
        '[0].queueMappings[0].targetQueueName: the queue "b" belongs to the flow "two": '
        "a flow cannot lead into another one"
    ]


def test_flows_of_one_name_are_refused():
    document = [original(mapping("a", initial=True)), original(mapping("b", initial=True))]

    assert faults_of(document) == ['[1].flowName: "f" stands there twice']
