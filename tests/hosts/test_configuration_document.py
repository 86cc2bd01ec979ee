"""What is found wrong with a document before it meets the database."""

import pytest

from tests.desired_states import faults_of, read

CODE = "def run(message, context):\n    return message\n"


def script(**values) -> dict:
    return {"scripts": [{"name": "s", "code": CODE, **values}]}


def library(**values) -> dict:
    return {"libraries": [{"name": "prices", "code": "x = 1", **values}]}


def queue(**values) -> dict:
    return {"queues": [{"name": "q", **values}]}


def flow(**values) -> dict:
    return {"flows": [{"name": "f", **values}]}


def step(**values) -> dict:
    return flow(steps=[{"script": "s", "queue": "q", **values}])


def test_keys_that_are_left_out_take_the_documented_defaults():
    desired = read({**script(), **queue(), **step()})

    assert desired.scripts["s"].values == {
        "name": "s",
        "description": "",
        "language": "python",
        "code": CODE,
        "libraries": [],
        "inputSchema": {},
        "outputSchema": {},
        "timeoutSeconds": 30,
        "memoryMb": 256,
        "network": False,
    }
    assert desired.queues["q"].values == {
        "name": "q",
        "size": 10000,
        "pollingMs": 100,
        "maxDeliveries": 5,
        "backoff": {"initialSeconds": 1, "multiplier": 2, "maxSeconds": 300, "jitter": 0.2},
        "rateLimit": None,
    }
    assert desired.flows["f"].values == {
        "name": "f",
        "description": "",
        "active": True,
        "retentionDays": 30,
        "steps": [{"name": "s", "script": "s", "queue": "q", "threads": 4}],
    }


def test_a_part_of_the_backoff_leaves_the_rest_at_the_defaults():
    desired = read(queue(backoff={"maxSeconds": 60.0}))

    assert desired.queues["q"].values["backoff"] == {
        "initialSeconds": 1,
        "multiplier": 2,
        "maxSeconds": 60,
        "jitter": 0.2,
    }


def test_the_short_form_of_rbac_gives_start():
    desired = read({"rbac": {"short": ["b", "*", "a"], "long": {"operate": ["*"]}}})

    assert desired.roles["short"].values == {"start": ["*", "a", "b"], "watch": [], "operate": []}
    assert desired.roles["long"].values == {"start": [], "watch": [], "operate": ["*"]}


def test_steps_without_a_name_are_named_after_their_script_or_where_that_is_taken_their_queue():
    desired = read(
        flow(
            steps=[
                {"script": "a", "queue": "q0"},
                {"script": "b", "queue": "q1"},
                {"script": "a", "queue": "q2"},
                {"script": "c", "queue": "q3", "name": "b"},
            ]
        )
    )

    names = [step.values["name"] for step in desired.flows["f"].steps]
    assert names == ["q0", "q1", "q2", "b"]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (7, "The document must be an object, not a number."),
        (None, "The document must be an object, not null."),
        (
            {"flow": [{}]},
            'unknown key "flow": known are libraries, scripts, queues, flows, rbac, tables, config'
            ", alertTargets, alertThresholds",
        ),
        ({"flows": {}}, "flows: must be a list, not an object"),
        ({"rbac": []}, "rbac: must be an object, not a list"),
        ({"scripts": ["s"]}, "scripts[0]: must be an object, not a string"),
        ({"scripts": [{"name": "s"}]}, 'scripts[0]: "code" is missing'),
        ({"queues": [{}]}, 'queues[0]: "name" is missing'),
        (script(name=""), "scripts[0].name: must not be empty"),
        (script(name="x" * 101), "scripts[0].name: must not be longer than 100 characters"),
        (script(name="a\nb"), "scripts[0].name: must not be blank or contain control characters"),
        (script(name=" "), "scripts[0].name: must not be blank or contain control characters"),
        (script(code=""), "scripts[0].code: must not be empty"),
        (script(code=" \n"), "scripts[0].code: must not be empty"),
        (
            script(code="def run(m, c):\n  x = (\n"),
            """scripts[0].code: line 2: '(' was never closed (in "s": x = ()""",
        ),
        (
            script(code="x = 1"),
            'scripts[0].code: does not define run(message, context) (in "s")',
        ),
        (
            script(language="perl"),
            'scripts[0].language: must be one of "python", "javascript", "callable"',
        ),
        (script(libraries=["x", "x"]), "scripts[0].libraries: names something twice"),
        (script(allowedHosts=[""]), "scripts[0].allowedHosts[0]: must not be empty"),
        (
            script(allowedHosts=["api.example.org", "https://example.org/path"]),
            "scripts[0].allowedHosts[1]: https://example.org/path is not the name of a host.",
        ),
        (script(secrets="key"), "scripts[0].secrets: must be a list, not a string"),
        ({"libraries": [{"name": "x"}]}, 'libraries[0]: "code" is missing'),
        (library(name="json"), "libraries[0].name: json is a module of Python."),
        (
            library(name="asyncengine_script"),
            "libraries[0].name: asyncengine_script is a module of the engine.",
        ),
        (
            library(code="x = ("),
            """libraries[0].code: line 1: '(' was never closed (in "prices": x = ()""",
        ),
        (
            {"libraries": [{"name": "x", "code": "y"}] * 2},
            'libraries[1].name: "x" stands there twice',
        ),
        (script(inputSchema=[]), "scripts[0].inputSchema: must be an object, not a list"),
        (script(timeoutSeconds=0), "scripts[0].timeoutSeconds: must be at least 0.001"),
        (script(memoryMb=1), "scripts[0].memoryMb: must be at least 16"),
        (script(network="no"), "scripts[0].network: must be true or false, not a string"),
        (script(extra=1, other=2), 'scripts[0]: unknown key "extra"'),
        (queue(size=0), "queues[0].size: must be at least 1"),
        (queue(size=0.5), "queues[0].size: must be a whole number, not 0.5"),
        (queue(size=True), "queues[0].size: must be a whole number, not a boolean"),
        (queue(size=2**31), "queues[0].size: must be at most 2147483647"),
        (queue(pollingMs=0), "queues[0].pollingMs: must be at least 0.001"),
        (queue(maxDeliveries=0), "queues[0].maxDeliveries: must be at least 1"),
        (queue(backoff=None), "queues[0].backoff: must be an object, not null"),
        (queue(backoff={"jitter": 1.5}), "queues[0].backoff.jitter: must be at most 1"),
        (queue(backoff={"multiplier": 0}), "queues[0].backoff.multiplier: must be at least 1"),
        (queue(backoff={"x": 0}), 'queues[0].backoff: unknown key "x"'),
        (queue(rateLimit=5), "queues[0].rateLimit: must be an object or null, not a number"),
        (queue(rateLimit={"count": 5}), 'queues[0].rateLimit: "periodSeconds" is missing'),
        (
            queue(rateLimit={"count": 0, "periodSeconds": 1}),
            "queues[0].rateLimit.count: must be at least 1",
        ),
        (flow(name="*"), 'flows[0].name: no flow can have the name "*": it means every'),
        (flow(retentionDays=0), "flows[0].retentionDays: must be at least 0.0001"),
        (flow(steps=[{"queue": "q"}]), 'flows[0].steps[0]: "script" is missing'),
        (step(threads=0), "flows[0].steps[0].threads: must be at least 1"),
        ({"rbac": {"r": "f"}}, "rbac.r: must be an object, not a string"),
        ({"rbac": {"r": [1]}}, "rbac.r[0]: must be a string, not a number"),
        ({"rbac": {"r": {"own": []}}}, 'rbac.r: unknown key "own"'),
        ({"rbac": {"r": {"start": ["f", "f"]}}}, "rbac.r.start: names something twice"),
        ({"rbac": {"": ["f"]}}, 'rbac[""]: must not be empty'),
        ({"queues": [{"name": "q"}] * 2}, 'queues[1].name: "q" stands there twice'),
        (
            flow(
                steps=[
                    {"name": "a", "script": "s", "queue": "q"},
                    {"name": "a", "script": "s", "queue": "p"},
                ]
            ),
            'flows[0].steps[1].name: the flow has two steps "a"',
        ),
    ],
)
def test_a_fault_is_named_with_its_place(document, fault):
    assert fault in faults_of(document)


def test_all_faults_are_found_at_once():
    document = {
        "scripts": [{"name": "s", "code": "x ="}, {"name": "t"}],
        "queues": [{"name": "q", "size": 0, "paused": 1}],
        "flows": [{"name": "f", "steps": [{"script": 1}]}],
        "more": 1,
    }

    assert faults_of(document) == [
        'unknown key "more": known are libraries, scripts, queues, flows, rbac, tables, config'
        ", alertTargets, alertThresholds",
        'scripts[0].code: line 1: invalid syntax (in "s": x =)',
        'scripts[1]: "code" is missing',
        "queues[0].size: must be at least 1",
        "queues[0].paused: must be true or false, not a number",
        'flows[0].steps[0]: "queue" is missing',
        "flows[0].steps[0].script: must be a string, not a number",
    ]


def test_a_huge_value_is_not_repeated_in_its_fault():
    assert all(len(fault) < 200 for fault in faults_of(queue(name=["x" * 10_000])))


def test_javascript_is_accepted_without_a_look_at_its_code():
    desired = read(script(language="javascript", code="setData(context.Data)"))

    assert desired.scripts["s"].values["language"] == "javascript"
