import json
from collections import Counter
from typing import Any

import jsonschema_rs
import orjson
import pytest

from flows import demo, engine
from flows.configuration import export_configuration
from flows.models import Flow, Run
from scripts.callables import Reject
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Program
from tests.applications import make_sample
from tests.builders import work_until_idle

SAMPLE: list[dict[str, Any]] = json.loads(demo.SAMPLE.read_text(encoding="utf-8"))
EXAMPLE: dict[str, Any] = json.loads(demo.example_application())
DECISIONS = {"APPROVED", "REFERRED", "DECLINED"}


class Context:
    def log(self, text: str, level: str = "info") -> None:
        assert text


@pytest.fixture(scope="module")
def scripts() -> dict[str, dict[str, Any]]:
    return {script["name"]: script for script in demo.demo_document()["scripts"]}


@pytest.fixture(scope="module")
def steps(scripts) -> list:
    names = [step["script"] for step in demo.demo_document()["flows"][0]["steps"]]
    return [plain_run(scripts[name]["code"]) for name in names]


def plain_run(code: str):
    scope: dict[str, Any] = {}
    exec(compile(code, "script", "exec"), scope)
    return scope["run"]


def decision_on(steps: list, **changes: Any) -> dict[str, Any]:
    message = {"correlationId": "0190", "payload": {**EXAMPLE, **changes}, "channel": "web"}
    for run in steps:
        message = json.loads(json.dumps(run(message, Context())))
    assert message["channel"] == "web"
    assert message["correlationId"] == "0190"
    payload = message["payload"]
    assert isinstance(payload, dict)
    return payload


def test_the_sample_is_the_one_that_its_generator_makes():
    assert demo.SAMPLE.read_text(encoding="utf-8") == make_sample()
    assert demo.SAMPLE.stat().st_size < 300_000
    assert len(SAMPLE) == len({application["applicationId"] for application in SAMPLE}) == 1000


def test_the_sample_and_the_example_fit_the_input_schema_and_every_field_is_documented(scripts):
    schema = scripts["validate-application"]["inputSchema"]
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)

    for application in [EXAMPLE, *SAMPLE]:
        validator.validate(application)

    assert set(schema["properties"]) == set(schema["required"]) == set(EXAMPLE)
    for field in schema["properties"].values():
        assert field["title"]
        assert field["description"]
        assert jsonschema_rs.is_valid(field, field["examples"][0])


def test_every_application_of_the_sample_gets_a_decision_and_all_kinds_occur(scripts, steps):
    output = jsonschema_rs.validator_for(scripts["decide-application"]["outputSchema"])

    results = [decision_on(steps, **application) for application in SAMPLE]

    for result in results:
        output.validate(result)
        assert 0 <= result["score"] <= 1000
        assert (result["offer"] is not None) == (result["decision"] == "APPROVED")
    counts = Counter(result["decision"] for result in results)
    assert set(counts) == DECISIONS
    assert min(counts.values()) >= 50
    assert any(result["conditions"] for result in results)


def test_the_monthly_payment_is_the_annuity(steps):
    offer = decision_on(steps)["offer"]

    # 12,000 in 48 months at 5.35 % a year.
    rate = 0.0535 / 12
    assert offer["yearlyRatePercent"] == 5.35
    assert offer["monthlyPayment"] == round(12_000 * rate / (1 - (1 + rate) ** -48), 2)
    assert offer["totalRepayment"] == pytest.approx(48 * offer["monthlyPayment"])


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        ({}, "APPROVED", "or more"),
        ({"birthDate": "2010-01-01"}, "DECLINED", "not of age"),
        ({"birthDate": "1945-01-01"}, "DECLINED", "older than 80"),
        ({"monthlyIncome": 0}, "DECLINED", "more than 60%"),
        ({"missedPayments": 5}, "DECLINED", "four or more payments"),
        ({"monthlyIncome": 1100, "yearsEmployed": 0}, "REFERRED", "below 750"),
        ({"employment": "self-employed", "yearsEmployed": 1}, "REFERRED", "self-employed for less"),
    ],
)
def test_a_decision_comes_with_its_reason(steps, changes, decision, reason):
    result = decision_on(steps, **changes)

    assert result["decision"] == decision
    assert any(reason in given for given in result["reasons"])


def test_a_faulty_application_is_rejected_with_all_its_faults(steps):
    with pytest.raises(Reject) as caught:
        decision_on(
            steps, name=5, iban="DE10000000000000000001", amount="12000", birthDate="2027-01-01"
        )

    assert str(caught.value) == (
        "name is missing; iban is not valid: its check digits do not fit; amount must be a number; "
        "birthDate must be before submittedOn"
    )


def test_an_iban_may_have_spaces_and_small_letters(steps):
    assert decision_on(steps, iban="de09 0000 0000 0000 0000 01")["decision"] == "APPROVED"


def test_names_of_the_sample_are_made_up():
    assert all(
        application["name"] == f"Applicant {number:04}"
        for number, application in enumerate(SAMPLE, start=1)
    )


def test_the_sample_runs_through_real_script_hosts(scripts):
    pool = HostPool()
    bodies = {
        number: orjson.dumps({"correlationId": f"c{number}", "payload": application})
        for number, application in enumerate(SAMPLE)
    }
    try:
        for index, name in enumerate(scripts):
            program = Program(index, name, "python", scripts[name]["code"], 5, 128)
            site = CallSite("loan-application", name, name, is_last=index == 2)
            calls = [Call(key, f"c{key}", 1, f"d{key}", body) for key, body in bodies.items()]
            pool.submit(program, site, calls, 2)
            bodies = {}
            while pool.outstanding():
                for outcome in pool.collect(10):
                    assert outcome.error is None
                    assert outcome.warning is None
                    assert outcome.logs
                    bodies[outcome.call.key] = outcome.output or b""
            assert len(bodies) == len(SAMPLE)
    finally:
        pool.close()

    decisions = Counter(orjson.loads(body)["payload"]["decision"] for body in bodies.values())
    assert set(decisions) == DECISIONS


@pytest.mark.django_db
def test_the_demo_is_installed_once():
    assert demo.install_demo()

    assert not demo.install_demo()

    document = export_configuration()
    assert [step["name"] for step in document["flows"][0]["steps"]] == [
        "validate",
        "score",
        "decide",
    ]
    assert document["rbac"] == {
        "loan-auditors": {"start": [], "watch": ["loan-application"], "operate": []},
        "loan-officers": {
            "start": ["loan-application"],
            "watch": ["loan-application"],
            "operate": [],
        },
        "operators": {"start": [], "watch": [], "operate": ["*"]},
    }


@pytest.mark.django_db
def test_the_example_runs_through_the_flow():
    demo.install_demo()
    started = engine.start(demo.FLOW_NAME, demo.example_application().encode())

    work_until_idle(Flow.objects.get(name=demo.FLOW_NAME))

    run = Run.objects.get(pk=started.correlation_id)
    assert run.status == Run.Status.COMPLETED
    assert run.warnings == 0
    result = json.loads(run.result or "")
    assert result["payload"]["decision"] == "APPROVED"
