from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from flows import engine
from flows.admin import flow_trial
from flows.admin.flow_trial import try_flow
from flows.configuration import import_configuration
from flows.errors import PayloadInvalid
from flows.models import DeadLetter, Flow, Message, RoleMapping, Run, StepRun
from scripts.models import Script, TrialRecord
from tests.builders import ECHO

SPLIT = "def run(m, c):\n    return [{'payload': {'n': n}} for n in m['payload']['parts']]"
ADD = "def run(m, c):\n    c.log('adding')\n    m['payload']['n'] += 1\n    return m"
GATHER = "def run(m, c):\n    return {'payload': {'sum': sum(p['n'] for p in m['payload'])}}"
FAIL = (
    "def run(m, c):\n"
    "    if m['payload'].get('n') == 3:\n"
    "        raise ValueError('three')\n"
    "    return m"
)


@pytest.fixture
def flow(db):
    """Return a function that makes a flow of scripts with these codes; "+" marks a join."""

    def make(*codes: str, **fields) -> Flow:
        steps, scripts, queues = [], [], []
        for number, code in enumerate(codes):
            name = f"s{number}"
            join = code.startswith("+")
            scripts.append({"name": name, "code": code.lstrip("+"), **fields})
            queues.append({"name": f"q{number}"})
            steps.append({"name": name, "script": name, "queue": f"q{number}", "join": join})
        flows = [{"name": "tried", "steps": steps}]
        import_configuration({"scripts": scripts, "queues": queues, "flows": flows})
        return Flow.objects.get(name="tried")

    return make


def states(trial):
    return [(each.step.name, each.branch, each.state) for each in trial.tried]


def test_a_message_goes_through_all_steps_and_nothing_is_stored(flow, superuser):
    made = flow(ADD, ADD)

    trial = try_flow(made, '{"n": 1}', superuser)

    assert states(trial) == [("s0", "", "passed"), ("s1", "", "passed")]
    assert json.loads(trial.result)["payload"] == {"n": 3}
    assert [line["text"] for each in trial.tried for line in each.trial.logs] == ["adding"] * 2
    assert trial.stop == ""
    stored = (Run, Message, StepRun, DeadLetter, TrialRecord)
    assert [model.objects.count() for model in stored] == [0] * 5


def test_a_list_fans_out_and_a_join_gathers_it(flow, superuser):
    made = flow(SPLIT, ADD, f"+{GATHER}")

    trial = try_flow(made, '{"parts": [1, 2]}', superuser)

    assert states(trial) == [
        ("s0", "", "passed"),
        ("s1", "1", "passed"),
        ("s1", "2", "passed"),
        ("s2", "", "passed"),
    ]
    assert json.loads(trial.result)["payload"] == {"sum": 5}


def test_without_a_join_the_result_is_the_list_of_all_outputs(flow, superuser):
    trial = try_flow(flow(SPLIT, ADD), '{"parts": [1, 2]}', superuser)

    assert [each["payload"]["n"] for each in json.loads(trial.result)] == [2, 3]


@pytest.mark.parametrize(("join", "result"), [(f"+{GATHER}", {"sum": 0}), (ADD, None)])
def test_an_empty_list_goes_on_at_the_join_or_ends_the_run(flow, superuser, join, result):
    trial = try_flow(flow(SPLIT, join), '{"parts": []}', superuser)

    output = json.loads(trial.result)
    assert (output["payload"] if result else output) == (result or [])


def test_numbers_keep_their_digits_on_their_way(flow, superuser):
    trial = try_flow(flow(ECHO, ECHO), '{"n": 12345678901234567890.10}', superuser)

    assert "12345678901234567890.10" in trial.result


def test_the_trial_stops_where_a_branch_fails(flow, superuser):
    made = flow(SPLIT, FAIL, f"+{GATHER}")

    trial = try_flow(made, '{"parts": [1, 3, 2]}', superuser)

    assert states(trial)[1:] == [("s1", "1", "passed"), ("s1", "2", "failed")]
    assert "ValueError: three" in trial.tried[-1].trial.traceback
    assert trial.result is None
    assert "'s1' failed" in trial.stop


@pytest.mark.parametrize(
    ("code", "state", "text"),
    [
        ("raise Retry(60, 'busy')", "retry", "asked to be run again after 60 s"),
        ("raise Reject('no')", "rejected", "rejected the message"),
        ("return 5", "failed", "failed"),
    ],
)
def test_what_gives_no_output_ends_the_trial_with_the_reason(flow, superuser, code, state, text):
    trial = try_flow(flow(f"def run(m, c):\n    {code}", ADD), "{}", superuser)

    assert states(trial) == [("s0", "", state)]
    assert text in trial.stop


def test_the_number_of_scripts_and_the_time_are_bounded(flow, superuser, monkeypatch):
    made = flow(SPLIT, ADD)
    monkeypatch.setattr(flow_trial, "MOST_TRIALS", 3)

    many = try_flow(made, json.dumps({"parts": list(range(50))}), superuser)
    monkeypatch.setattr(flow_trial, "MAX_SECONDS", 0.0)
    late = try_flow(made, '{"parts": [1]}', superuser)

    assert (len(many.tried), many.stop) == (3, "A trial of a flow runs 3 scripts at the most.")
    assert (len(late.tried), late.stop) == (0, "A trial of a flow ends after 0 s.")


def test_a_callable_is_not_run_and_ends_the_trial(flow, superuser):
    made = flow(ADD, ADD)
    Script.objects.filter(name="s1").update(language="callable", code="tests.callables.record")

    trial = try_flow(made, '{"n": 1}', superuser)

    assert states(trial) == [("s0", "", "passed"), ("s1", "", "skipped")]
    assert "a callable runs in the workers' own processes" in trial.stop


def test_a_script_with_outside_calls_is_recorded_as_in_a_trial_of_its_own(flow, superuser):
    made = flow(ADD, network=True, allowedHosts=["example.org"])

    try_flow(made, '{"n": 1}', superuser)

    record = TrialRecord.objects.get()
    assert (record.script_name, record.user, record.hosts) == ("s0", superuser, ["example.org"])


@pytest.mark.parametrize("payload", ["{", "[]", '{"a": 1, "a": 2}', '{"a": "\\u0000"}'])
def test_what_could_not_be_started_is_not_tried(flow, superuser, payload):
    made = flow(ADD)

    with pytest.raises(PayloadInvalid):
        try_flow(made, payload, superuser)


# --- the page ----------------------------------------------------------------------------------


def send(client, flow, payload):
    page = reverse("admin:flows_flow_start", args=[flow.pk])
    return client.post(page, {"payload": payload, "_try": "1"})


def test_the_page_shows_each_step_and_leads_to_the_script_that_failed(client, flow):
    made = flow(ADD, FAIL, ADD)

    response = send(client, made, '{"n": 2, "text": "</script>"}')

    html = response.content.decode()
    assert [each["state"] for each in response.context["trial"]["tried"]] == ["passed", "failed"]
    assert response.context["trial"]["untried"] == ["s2"]
    bench = reverse("admin:scripts_script_change", args=[Script.objects.get(name="s1").pk])
    assert f'href="{bench}" data-bench=' in html
    sample = html.split("data-bench=")[1].split('<script type="application/json">')[1]
    assert json.loads(sample.split("</script>")[0])["payload"] == {"n": 3, "text": "</script>"}
    assert Run.objects.count() == 0


def test_a_bad_payload_is_refused_at_its_field(client, flow):
    response = send(client, flow(ADD), "{")

    assert "not valid JSON" in response.context["form"].errors["payload"][0]
    assert response.context["trial"] is None


def caller(django_user_model, client, *rights):
    """Log in a user whose role has these rights to every flow."""
    user = django_user_model.objects.create_user("clerk", is_staff=True)
    role = Group.objects.create(name="clerks")
    user.groups.add(role)
    for right in rights:
        RoleMapping.objects.create(role=role, right=right)
    client.force_login(user)
    return client


def test_who_may_only_start_the_flow_may_not_try_it(client, flow, django_user_model):
    made = flow(ADD)
    clerk = caller(django_user_model, client, "start")

    shown = clerk.get(reverse("admin:flows_flow_start", args=[made.pk])).content.decode()

    assert 'name="_try"' not in shown
    assert send(clerk, made, '{"n": 1}').status_code == 403


def test_who_may_not_try_a_script_is_told_so_and_nothing_runs(
    client, flow, django_user_model, monkeypatch
):
    made = flow(ADD)
    clerk = caller(django_user_model, client, "start", "operate")
    monkeypatch.setattr(engine, "start", None)

    response = send(clerk, made, '{"n": 1}')

    assert response.context["trial"]["tried"] == []
    assert "you may not try the script" in response.content.decode()


def test_who_configures_all_flows_needs_the_grants_of_their_scripts(
    client, flow, django_user_model
):
    made = flow(ADD, network=True)
    clerk = caller(django_user_model, client, "start", "configure")

    refused = send(clerk, made, '{"n": 1}').context["trial"]
    Script.objects.update(network=False)
    allowed = send(clerk, made, '{"n": 1}').context["trial"]

    assert "scripts.call_any_host" in refused["stop"]
    assert [each["state"] for each in allowed["tried"]] == ["passed"]


def test_a_trial_ends_where_a_script_finishes_the_run(flow, superuser):
    finish = "def run(m, c):\n    return c.finish({'n': 9})"

    trial = try_flow(flow(finish, FAIL), '{"n": 1}', superuser)

    assert states(trial) == [("s0", "", "passed")]
    assert (json.loads(trial.result), trial.stop) == ({"n": 9}, "")


def test_a_branch_that_finishes_is_gathered_in_its_place(flow, superuser):
    finish = (
        "def run(m, c):\n"
        "    if m['payload']['n'] == 1:\n"
        "        c.finish({'payload': {'n': 50}})\n"
        "    return m"
    )

    trial = try_flow(flow(SPLIT, finish, ADD, f"+{GATHER}"), '{"parts": [1, 2]}', superuser)

    assert [state[:2] for state in states(trial)[3:]] == [("s2", "2"), ("s3", "")]
    assert json.loads(trial.result)["payload"] == {"sum": 53}


def test_the_page_tells_what_each_script_has_decided(client, flow):
    code = "def run(m, c):\n    raise Reject('no', 'J2', {'n': 1})"

    page = send(client, flow(code), "{}").content.decode()

    assert "The code of the rejection is &#x27;J2&#x27;." in page
    assert "The details of the rejection are {&quot;n&quot;:1}." in page
