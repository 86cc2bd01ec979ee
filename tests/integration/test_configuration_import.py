import copy
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection

from flows import engine
from flows.configuration import ConfigurationInvalid, export_configuration, import_configuration
from flows.models import ConfigurationRevision, Consumer, Flow, Queue, RoleMapping, Run, Step
from scripts.models import Script
from tests.builders import ECHO, TRAIL, make_flow, make_script, open_lease, work
from tests.integration.configuration_imports import DOCUMENT, faults_of, lines, steps_of

pytestmark = pytest.mark.django_db


def edited(**sections) -> dict:
    return {**copy.deepcopy(DOCUMENT), **sections}


def test_a_document_fills_an_empty_database():
    assert lines(DOCUMENT) == [
        'added script "s"',
        'added script "t"',
        'added queue "p"',
        'added queue "q"',
        'added flow "f"',
        'added flow "g"',
        'added role "officers"',
        "7 added, 0 changed, 0 removed.",
    ]

    assert steps_of("f") == [("one", "s", "q", 4), ("two", "t", "p", 2)]
    assert Queue.objects.get(name="p").rate_count == 5
    assert Queue.objects.get(name="q").depth == 0
    mappings = RoleMapping.objects.filter(role__name="officers")
    assert {(mapping.right, mapping.flow and mapping.flow.name) for mapping in mappings} == {
        ("start", "f"),
        ("operate", None),
    }


def test_importing_the_same_again_changes_nothing_and_says_so():
    import_configuration(DOCUMENT)
    revision = ConfigurationRevision.current()
    histories = [model.history.count() for model in (Script, Queue, Flow, Step, RoleMapping)]

    assert lines(DOCUMENT) == ["Nothing to change."]
    assert lines(export_configuration(), prune=True) == ["Nothing to change."]

    assert ConfigurationRevision.current() == revision
    assert histories == [
        model.history.count() for model in (Script, Queue, Flow, Step, RoleMapping)
    ]


def test_what_changes_is_told_field_by_field():
    import_configuration(DOCUMENT)
    document = edited()
    document["scripts"][0] |= {
        "code": TRAIL,
        "inputSchema": {"type": "object"},
        "description": "long " * 30,
    }
    document["queues"][0] |= {"size": 500, "backoff": {"multiplier": 3}}
    document["queues"][1]["rateLimit"] = None
    document["flows"][0]["active"] = False
    document["flows"][0]["steps"][0]["threads"] = 8
    document["rbac"]["officers"] = {"start": ["f", "g"], "operate": ["*"]}

    assert lines(document) == [
        'changed script "s": description changed; code changed; '
        'inputSchema {} → {"type": "object"}',
        'changed queue "p": rateLimit {"count": 5, "periodSeconds": 1} → null',
        'changed queue "q": size 10000 → 500; backoff.multiplier 2 → 3',
        'changed flow "f": active true → false; step "one" threads 4 → 8',
        'changed role "officers": start ["f"] → ["f", "g"]',
        "0 added, 5 changed, 0 removed.",
    ]


def test_a_change_of_the_steps_is_told_step_by_step():
    import_configuration(edited(queues=[{"name": "q"}, {"name": "p"}, {"name": "r"}]))
    steps = [
        {"name": "two", "script": "t", "queue": "r", "threads": 2},
        {"name": "one", "script": "s", "queue": "q"},
        {"name": "three", "script": "s", "queue": "p"},
    ]

    assert lines({"flows": [{"name": "f", "steps": steps}]}) == [
        'changed flow "f": step "two" queue "p" → "r"; step "three" added; '
        "steps in the order two, one, three",
        "0 added, 1 changed, 0 removed.",
    ]
    assert steps_of("f") == [("two", "t", "r", 2), ("one", "s", "q", 4), ("three", "s", "p", 4)]


def test_a_dry_run_tells_the_same_and_stores_nothing():
    first = lines(DOCUMENT, dry_run=True)
    assert not Script.objects.exists()
    assert not Group.objects.exists()
    assert first == lines(DOCUMENT)

    removal: dict[str, Any] = {"scripts": [], "queues": [], "flows": [], "rbac": {}}
    told = lines(removal, dry_run=True, prune=True)

    assert export_configuration()["flows"]
    assert told == lines(removal, prune=True)
    assert not Flow.objects.exists()


def test_a_key_that_is_left_out_goes_back_to_its_default():
    import_configuration(edited(queues=[{"name": "q", "size": 5}, {"name": "p"}]))

    assert lines({"queues": [{"name": "q"}]}) == [
        'changed queue "q": size 5 → 10000',
        "0 added, 1 changed, 0 removed.",
    ]


def test_a_queue_that_an_operator_paused_stays_paused_unless_the_document_speaks_of_it():
    import_configuration(edited(queues=[{"name": "q"}, {"name": "p"}]))
    engine.pause(Queue.objects.get(name="q"))

    silent = lines({"queues": [{"name": "q"}]})
    other_change = lines({"queues": [{"name": "q", "size": 5}]})
    speaking = lines({"queues": [{"name": "q", "size": 5, "paused": False}]})

    assert silent == ["Nothing to change."]
    assert other_change == ['changed queue "q": size 10000 → 5', "0 added, 1 changed, 0 removed."]
    assert speaking == ['changed queue "q": paused true → false', "0 added, 1 changed, 0 removed."]
    assert not Queue.objects.get(name="q").paused


def test_a_section_alone_leaves_the_others_as_they_are():
    import_configuration(DOCUMENT)

    import_configuration({"rbac": {"auditors": {"watch": ["f"]}}})
    import_configuration({"flows": [{"name": "h"}]}, prune=False)

    document = export_configuration()
    assert set(document["rbac"]) == {"auditors", "officers"}
    assert [flow["name"] for flow in document["flows"]] == ["f", "g", "h"]


def test_durations_keep_their_fraction():
    queue = {"name": "q", "pollingMs": 0.25, "backoff": {"initialSeconds": 0.123456}}
    import_configuration({"queues": [queue], "flows": [{"name": "f", "retentionDays": 1 / 3}]})

    assert Queue.objects.get().polling == timedelta(microseconds=250)
    assert export_configuration()["queues"][0]["backoff"]["initialSeconds"] == 0.123456
    assert lines(export_configuration()) == ["Nothing to change."]
    assert lines({"flows": [{"name": "f", "retentionDays": 1 / 3}]}) == ["Nothing to change."]


def test_an_unfinished_thing_of_the_document_stops_all_of_it():
    document = edited()
    document["flows"][0]["steps"][1] |= {"script": "x", "queue": "y"}
    document["rbac"]["officers"]["watch"] = ["z"]
    document["scripts"][1]["code"] = "def walk(): ..."

    assert faults_of(document) == [
        'scripts[1].code: does not define run(message, context) (in "t")',
        'flows[0].steps[1].script: there is no script "x"',
        'flows[0].steps[1].queue: there is no queue "y"',
        'rbac.officers.watch: there is no flow "z"',
    ]


def test_scripts_and_queues_of_the_database_can_be_named_too():
    make_script("s")
    Queue.objects.create(name="q")

    import_configuration({"flows": [{"name": "f", "steps": [{"script": "s", "queue": "q"}]}]})

    assert steps_of("f") == [("s", "s", "q", 4)]


def test_a_queue_feeds_one_step():
    make_flow("flow")
    flows = [
        {"name": "f", "steps": [{"script": "s", "queue": "q"}, {"script": "t", "queue": "q"}]},
        {"name": "g", "steps": [{"script": "s", "queue": "flow-1"}]},
    ]

    assert faults_of(edited(flows=flows, rbac={})) == [
        'flows[0].steps[1].queue: the queue "q" feeds the step "s" of the flow "f" already',
        'flows[1].steps[0].queue: the queue "flow-1" feeds the step "flow-1" of the flow "flow" '
        "already",
    ]


def test_queues_can_move_between_steps_and_flows_in_one_import():
    import_configuration(DOCUMENT)
    flows = [
        {
            "name": "f",
            "steps": [
                {"name": "one", "script": "s", "queue": "p"},
                {"name": "two", "script": "t", "queue": "r"},
            ],
        },
        {"name": "g", "steps": [{"name": "one", "script": "s", "queue": "q"}]},
    ]

    import_configuration({"queues": [{"name": "r"}], "flows": flows})

    assert steps_of("f") == [("one", "s", "p", 4), ("two", "t", "r", 4)]
    assert steps_of("g") == [("one", "s", "q", 4)]


def test_two_steps_can_swap_their_queues():
    import_configuration(DOCUMENT)
    steps = [
        {"name": "one", "script": "s", "queue": "p"},
        {"name": "two", "script": "t", "queue": "q", "threads": 2},
    ]

    import_configuration({"flows": [{"name": "f", "steps": steps}]})

    assert steps_of("f") == [("one", "s", "p", 4), ("two", "t", "q", 2)]


def test_a_step_that_keeps_its_name_and_queue_keeps_its_row_and_history():
    import_configuration(DOCUMENT)
    step = Step.objects.get(name="two")
    steps = [{"name": "two", "script": "s", "queue": "p", "threads": 3}]

    import_configuration({"flows": [{"name": "f", "steps": steps}]})

    assert Step.objects.filter(flow__name="f").get().pk == step.pk
    assert [row.threads for row in step.history.all()] == [3, 2]


def test_the_flows_touched_have_a_new_version_and_others_do_not():
    import_configuration(DOCUMENT)
    other = make_flow("other")
    other.make_version()

    import_configuration(edited(scripts=[{"name": "s", "code": TRAIL}, DOCUMENT["scripts"][1]]))

    assert Flow.objects.get(name="f").versions.count() == 2
    assert other.versions.count() == 1


def test_the_right_to_configure_is_written_only_where_it_is_given():
    import_configuration(DOCUMENT | {"rbac": {"editors": {"configure": ["f"], "start": ["*"]}}})
    exported = export_configuration()["rbac"]
    again = import_configuration({"rbac": exported})
    import_configuration({"rbac": {"editors": {"start": ["*"]}}})

    nothing: dict[str, Any] = {"watch": [], "operate": []}
    assert exported == {"editors": {"start": ["*"], **nothing, "configure": ["f"]}}
    assert str(again) == "Nothing to change."
    assert export_configuration()["rbac"] == {"editors": {"start": ["*"], **nothing}}


def test_a_role_gets_exactly_the_rights_of_the_document():
    import_configuration(DOCUMENT)
    Group.objects.get(name="officers").user_set.add(User.objects.create(username="u"))

    import_configuration({"rbac": {"officers": ["g"]}})

    assert export_configuration()["rbac"] == {
        "officers": {"start": ["g"], "watch": [], "operate": []}
    }
    assert User.objects.get().groups.count() == 1


def test_a_role_without_rights_is_made_once():
    assert lines({"rbac": {"new": {}}})[0] == 'added role "new"'
    assert lines({"rbac": {"new": {}}}) == ["Nothing to change."]


class TestPrune:
    def test_what_the_document_does_not_name_is_removed(self):
        import_configuration(DOCUMENT)
        document = {
            "scripts": [DOCUMENT["scripts"][0]],
            "queues": [{"name": "q"}],
            "flows": [{"name": "f", "steps": [{"name": "one", "script": "s", "queue": "q"}]}],
            "rbac": {},
        }

        assert lines(document, prune=True) == [
            'removed script "t"',
            'removed queue "p"',
            'changed flow "f": step "two" removed',
            'removed flow "g"',
            'removed role "officers"',
            "0 added, 1 changed, 4 removed.",
        ]
        assert export_configuration()["rbac"] == {}
        assert lines(document, prune=True) == ["Nothing to change."]

    def test_without_it_nothing_is_removed(self):
        import_configuration(DOCUMENT)

        assert lines({"scripts": [], "queues": [], "flows": [], "rbac": {}}) == [
            "Nothing to change."
        ]

    def test_a_section_that_is_not_there_is_left_alone(self):
        import_configuration(DOCUMENT)

        assert lines({"rbac": {}}, prune=True) == [
            'removed role "officers"',
            "0 added, 0 changed, 1 removed.",
        ]
        assert lines({}, prune=True) == ["Nothing to change."]

    def test_groups_that_have_users_or_permissions_lose_their_rights_only(self):
        import_configuration(DOCUMENT)
        role = Group.objects.get(name="officers")
        role.user_set.add(User.objects.create(username="u"))
        Group.objects.create(name="editors")

        assert lines({"rbac": {}}, prune=True) == [
            'changed role "officers": start ["f"] → []; operate ["*"] → []',
            "0 added, 1 changed, 0 removed.",
        ]
        assert set(Group.objects.values_list("name", flat=True)) == {"officers", "editors"}

    def test_the_rights_to_a_removed_flow_go_with_it(self):
        import_configuration(DOCUMENT)

        assert lines({"flows": [{"name": "g"}]}, prune=True) == [
            'removed flow "f"',
            'changed role "officers": start ["f"] → []',
            "0 added, 1 changed, 1 removed.",
        ]

    def test_what_a_flow_that_stays_uses_cannot_be_removed(self):
        import_configuration(DOCUMENT)

        assert faults_of({"scripts": [], "queues": [{"name": "q"}]}, prune=True) == [
            'scripts: the script "s" cannot be removed: the step "one" of the flow "f" uses it',
            'scripts: the script "t" cannot be removed: the step "two" of the flow "f" uses it',
            'queues: the queue "p" cannot be removed: the step "two" of the flow "f" uses it',
        ]

    def test_what_the_document_removes_cannot_be_used_in_it(self):
        import_configuration(DOCUMENT)
        document = edited(scripts=[DOCUMENT["scripts"][0]])

        assert faults_of(document, prune=True) == [
            'flows[0].steps[1].script: the script "t" is removed, since the document does not '
            "name it"
        ]

    def test_a_queue_with_messages_and_a_flow_with_unfinished_runs_stay(self):
        make_flow("flow")
        engine.start("flow", {})

        assert faults_of({"queues": [], "flows": []}, prune=True) == [
            'queues: the queue "flow-0" cannot be removed: messages in it: 1',
            'queues: the queue "flow-1" cannot be removed: unfinished runs still need it',
            'queues: the queue "flow-2" cannot be removed: unfinished runs still need it',
            'flows: the flow "flow" cannot be removed: unfinished runs: 1',
        ]

    def test_a_queue_that_a_worker_holds_stays(self):
        make_flow("flow", [ECHO])
        engine.start("flow", {})
        work("flow-0")
        open_lease("flow-0")
        assert Consumer.objects.exists()

        (fault,) = faults_of({"queues": [], "flows": []}, prune=True)

        assert fault.startswith('queues: the queue "flow-0" cannot be removed: ')

    def test_runs_that_are_finished_do_not_keep_a_flow(self):
        make_flow("flow", [ECHO])
        started = engine.start("flow", {})
        work("flow-0")

        import_configuration({"scripts": [], "queues": [], "flows": []}, prune=True)

        run = Run.objects.get(pk=started.correlation_id)
        assert run.status == Run.Status.COMPLETED
        assert run.flow_version.flow_name == "flow"
        assert not Queue.objects.exists()


def test_the_number_of_queries_does_not_grow_with_what_is_there(django_assert_max_num_queries):
    for number in range(5):
        make_flow(f"flow-{number}")
    document = export_configuration()

    with django_assert_max_num_queries(30, connection=connection):
        assert not import_configuration(document)


def test_a_join_and_a_longest_age_come_in_and_go_out_where_they_are_set():
    document = {
        "scripts": [{"name": "s", "code": "def run(message, context):\n    return message\n"}],
        "queues": [{"name": "a"}, {"name": "b"}],
        "flows": [
            {
                "name": "f",
                "maxAgeSeconds": 90,
                "steps": [
                    {"name": "one", "script": "s", "queue": "a"},
                    {"name": "two", "script": "s", "queue": "b", "join": True},
                ],
            }
        ],
    }

    import_configuration(document)

    [flow] = export_configuration()["flows"]
    assert flow["maxAgeSeconds"] == 90
    assert [step.get("join") for step in flow["steps"]] == [None, True]
    assert not import_configuration(export_configuration())


def test_a_longest_age_can_be_set_on_a_flow_that_had_none_and_taken_away():
    import_configuration({"flows": [{"name": "f"}]})

    assert lines({"flows": [{"name": "f", "maxAgeSeconds": 90}]})[0] == (
        'changed flow "f": maxAgeSeconds null → 90'
    )
    assert lines({"flows": [{"name": "f"}]})[0] == 'changed flow "f": maxAgeSeconds 90 → null'


def test_a_webhook_comes_in_and_goes_out_where_it_is_set_and_is_checked():
    flow = {"name": "f", "webhookUrl": "http://10.0.0.1/hook", "privateWebhooks": True}

    import_configuration({"flows": [flow]})

    [exported] = export_configuration()["flows"]
    assert exported.items() >= flow.items()
    assert lines({"flows": [{"name": "f"}]})
    [exported] = export_configuration()["flows"]
    assert not {"webhookUrl", "privateWebhooks"} & exported.keys()
    for url in ("http://10.0.0.1/hook", "example.org", "https://u:p@example.org/"):
        [fault] = faults_of({"flows": [{"name": "f", "webhookUrl": url}]})
        assert fault.startswith("flows[0].webhookUrl")


def test_a_start_rate_comes_in_and_goes_out_where_it_is_set():
    document = {"flows": [{"name": "f", "startRate": {"count": 100, "periodSeconds": 60}}]}

    import_configuration(document)

    [flow] = export_configuration()["flows"]
    assert flow["startRate"] == {"count": 100, "periodSeconds": 60}
    assert not import_configuration(export_configuration())
    assert lines({"flows": [{"name": "f"}]})[0].startswith('changed flow "f": startRate {')
    assert "startRate" not in export_configuration()["flows"][0]


@pytest.mark.parametrize(
    "rate",
    [{"count": 0, "periodSeconds": 1}, {"count": 1}, {"count": 1, "periodSeconds": 0.5}, "100/s"],
)
def test_what_is_no_start_rate_is_refused(rate: Any):
    with pytest.raises(ConfigurationInvalid, match="startRate"):
        import_configuration({"flows": [{"name": "f", "startRate": rate}]})


def test_an_unknown_section_with_an_empty_list_makes_no_role():
    with pytest.raises(ConfigurationInvalid, match="unknown key"):
        import_configuration({"flow": []})


@pytest.mark.parametrize("name", ["..", "a/start", "a//b"])
def test_new_names_that_are_other_addresses_are_refused_and_stored_ones_stay(name):
    document = edited(queues=[*DOCUMENT["queues"], {"name": name}], flows=[{"name": name}])
    del document["rbac"]

    faults = faults_of(document)

    assert [fault.split(":")[0].strip() for fault in faults] == ["queues[2].name", "flows[0].name"]
    Queue.objects.create(name=name)
    Flow.objects.create(name=name)
    assert not any(name in line for line in lines(document) if line.startswith("added"))


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"backoff": {"initialSeconds": 10, "maxSeconds": 1}}, "queues[0].backoff.initialSeconds"),
        ({"pollingMs": 3_600_001}, "queues[0].pollingMs"),
    ],
)
def test_durations_of_a_queue_that_are_too_long_are_refused_where_they_are_new(values, place):
    document = {"queues": [{"name": "q", **values}]}

    with pytest.raises(ConfigurationInvalid) as refusal:
        import_configuration(document)
    assert [fault["path"] for fault in refusal.value.errors] == [place]

    Queue.objects.create(
        name="q",
        polling=timedelta(milliseconds=values.get("pollingMs", 100)),
        backoff_initial=timedelta(seconds=values.get("backoff", {}).get("initialSeconds", 1)),
        backoff_max=timedelta(seconds=values.get("backoff", {}).get("maxSeconds", 300)),
    )
    assert not import_configuration(document)


def test_a_refused_import_says_where_the_list_of_modules_is():
    scripts = [
        {"name": name, "code": f"import {module}\ndef run(message, context): return message\n"}
        for name, module in (("a", "os"), ("b", "numpy"), ("c", "socket"))
    ]

    with pytest.raises(ConfigurationInvalid) as refused:
        import_configuration({"scripts": scripts})

    details = [each["detail"] for each in refused.value.errors]
    assert len(details) == 3
    assert not any("graphlib" in detail for detail in details)
    assert all("manage.py script modules lists those that may" in each for each in details)
