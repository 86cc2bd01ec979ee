"""Alert targets and thresholds of alarms in the configuration document."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from flows.configuration import export_configuration, import_configuration
from flows.configuration.document_schema import document_schema
from flows.models import AlertTarget, AlertThresholds, AuditEntry, Flow, FlowVersion, Queue
from scripts.models import Secret
from tests.builders import ECHO
from tests.integration.configuration_imports import faults_of, lines

pytestmark = pytest.mark.django_db

ADDRESS = "jsons://hooks.example.org/s3cr3t-t0k3n"
DOCUMENT: dict[str, Any] = {
    "scripts": [{"name": "s", "code": ECHO}],
    "queues": [{"name": "q", "alertThresholds": {"standingStillSeconds": 0.5}}],
    "flows": [
        {
            "name": "f",
            "alertThresholds": {"newDeadLetters": 10, "failedPercent": 2.5},
            "steps": [{"script": "s", "queue": "q"}],
        }
    ],
    "alertTargets": [
        {"name": "mail"},
        {
            "name": "team",
            "addressSecret": "TEAM",
            "active": False,
            "level": "critical",
            "rules": ["queue-full", "conservation"],
            "quietSeconds": 0,
            "repeatSeconds": 3600,
            "tellsEnd": False,
        },
    ],
    "alertThresholds": {"queueFullPercent": 80, "workersGoneSeconds": 60},
}
CHANGED = {
    "alertTargets": [{"name": "team", "addressSecret": "OTHER", "quietSeconds": 60}],
    "alertThresholds": {"queueFullPercent": 70},
    "queues": [{"name": "q"}],
    "flows": [
        {
            "name": "f",
            "alertThresholds": {"failedPercent": 3, "failedFactor": 4},
            "steps": [{"script": "s", "queue": "q"}],
        }
    ],
}


@pytest.fixture
def secret() -> Secret:
    secret = Secret(name="TEAM")
    secret.set_value(ADDRESS)
    secret.save()
    return secret


def alerts_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a document says of alerts."""
    sections = {"alertTargets", "alertThresholds"}
    found = {key: value for key, value in document.items() if key in sections}
    for key in ("queues", "flows"):
        found[key] = {
            each["name"]: each["alertThresholds"]
            for each in document.get(key, [])
            if "alertThresholds" in each
        }
    return found


def test_what_is_imported_is_exported_and_a_second_import_changes_nothing(secret):
    import_configuration(DOCUMENT)

    exported = export_configuration()
    again = lines(DOCUMENT), lines(exported)

    wanted = alerts_of(DOCUMENT)
    wanted["alertTargets"][1] |= {"rules": ["conservation", "queue-full"]}
    assert alerts_of(exported) == wanted
    assert again == (["Nothing to change."],) * 2
    team = AlertTarget.objects.get(name="team")
    assert (team.address_secret, team.encrypted) == ("TEAM", "")
    assert (team.quiet_time, team.repeat_after) == (timedelta(0), timedelta(hours=1))
    [row] = AlertThresholds.objects.filter(queue__name="q")
    assert row.standing_still == timedelta(seconds=0.5)


def test_an_export_has_nothing_of_alerts_where_nothing_is_set_and_never_an_address(secret):
    target = AlertTarget(name="own")
    target.set_url(ADDRESS)
    target.save()
    AlertThresholds.objects.create()

    exported = export_configuration()

    assert alerts_of(exported) == {"alertTargets": [{"name": "own"}], "queues": {}, "flows": {}}
    assert "s3cr3t" not in json.dumps(exported)
    assert target.encrypted not in json.dumps(exported)


def test_a_dry_run_says_each_change_and_makes_none(secret):
    import_configuration(DOCUMENT)
    before = export_configuration()

    said = lines(CHANGED, dry_run=True)

    assert said == [
        'changed queue "q": alertThresholds.standingStillSeconds 0.5 → null',
        'changed flow "f": alertThresholds.newDeadLetters 10 → null;'
        " alertThresholds.failedPercent 2.5 → 3; alertThresholds.failedFactor null → 4",
        'changed alert target "team": addressSecret "TEAM" → "OTHER"; active false → null;'
        ' level "critical" → null; rules ["conservation", "queue-full"] → null;'
        " quietSeconds 0 → 60; repeatSeconds 3600 → null; tellsEnd false → null",
        'changed alert thresholds "installation": queueFullPercent 80 → 70;'
        " workersGoneSeconds 60 → null",
        "0 added, 4 changed, 0 removed.",
    ]
    assert export_configuration() == before
    assert lines(CHANGED) == said
    assert lines(CHANGED) == ["Nothing to change."]


def test_thresholds_alone_change_no_queue_and_no_flow(secret):
    import_configuration(DOCUMENT)
    Queue.history.all().delete()
    Flow.history.all().delete()

    import_configuration(CHANGED)

    assert not Queue.history.exists()
    assert not Flow.history.exists()
    assert FlowVersion.objects.count() == 1
    noted = AuditEntry.objects.filter(reason="configuration import", kind="alert thresholds")
    assert sorted(noted.values_list("verb", "name")) == [
        ("add", "flow f"),
        ("add", "installation"),
        ("add", "queue q"),
        ("change", "flow f"),
        ("change", "installation"),
        ("delete", "queue q"),
    ]


def test_sections_that_a_document_lacks_stay_and_prune_removes_targets(secret):
    import_configuration(DOCUMENT)
    import_configuration({"scripts": DOCUMENT["scripts"]}, prune=False)
    stayed = alerts_of(export_configuration())

    said = lines({"alertTargets": [{"name": "mail"}], "alertThresholds": {}}, prune=True)

    assert len(stayed["alertTargets"]) == 2
    assert said == [
        'removed alert target "team"',
        'changed alert thresholds "installation": queueFullPercent 80 → null;'
        " workersGoneSeconds 60 → null",
        "0 added, 1 changed, 1 removed.",
    ]
    assert not AlertThresholds.objects.filter(flow=None, queue=None).exists()


def test_an_address_of_its_own_stays_and_one_that_is_missing_is_warned_of():
    target = AlertTarget(name="own")
    target.set_url(ADDRESS)
    target.save()

    changes = import_configuration(
        {
            "alertTargets": [
                {"name": "own", "level": "critical"},
                {"name": "new"},
                {"name": "lost", "addressSecret": "GONE"},
            ]
        }
    )

    target.refresh_from_db()
    assert target.value() == ADDRESS
    assert changes.warnings == [
        'alertTargets[2].addressSecret: there is no secret "GONE"',
        'alertTargets[1]: the target "new" has no address here. Name a secret in'
        " `addressSecret`, or enter it on its page",
    ]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"alertTargets": [{"name": "t", "url": ADDRESS}]}, 'alertTargets[0]: unknown key "url"'),
        ({"alertTargets": {}}, "alertTargets: must be a list, not an object"),
        ({"alertTargets": [{}]}, 'alertTargets[0]: "name" is missing'),
        (
            {"alertTargets": [{"name": "t"}, {"name": "t"}]},
            'alertTargets[1].name: "t" stands there twice',
        ),
        (
            {"alertTargets": [{"name": "t", "quietSeconds": -1}]},
            "alertTargets[0].quietSeconds: must be at least 0",
        ),
        ({"alertThresholds": []}, "alertThresholds: must be an object, not a list"),
        ({"alertThresholds": {"full": 3}}, 'alertThresholds: unknown key "full"'),
        (
            {"alertThresholds": {"queueFullPercent": 101}},
            "alertThresholds.queueFullPercent: must be at most 100",
        ),
        (
            {"alertThresholds": {"newDeadLetters": 1.5}},
            "alertThresholds.newDeadLetters: must be a whole number, not 1.5",
        ),
        (
            {"alertThresholds": {"workersGoneSeconds": 5}},
            "alertThresholds.workersGoneSeconds: must be at least 15",
        ),
        (
            {"queues": [{"name": "q", "alertThresholds": {"newDeadLetters": 1}}]},
            'queues[0].alertThresholds: unknown key "newDeadLetters"',
        ),
        (
            {"flows": [{"name": "f", "alertThresholds": {"workersGoneSeconds": 60}}]},
            'flows[0].alertThresholds: unknown key "workersGoneSeconds"',
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(document, fault):
    assert fault in faults_of(document)


def test_an_unknown_rule_is_refused_with_those_that_there_are():
    [fault] = faults_of({"alertTargets": [{"name": "t", "rules": ["all"]}]})

    assert fault.startswith('alertTargets[0].rules[0]: must be one of "workers-gone", ')


def test_the_command_takes_its_own_export_into_another_installation(secret, tmp_path, capsys):
    import_configuration(DOCUMENT)
    call_command("config", "export", str(tmp_path / "all.json"))
    exported = json.loads((tmp_path / "all.json").read_text())
    for model in (AlertTarget, AlertThresholds):
        model.objects.all().delete()

    call_command("config", "import", str(tmp_path / "all.json"))

    assert export_configuration() == exported
    keys = document_schema()["properties"]
    assert {"alertTargets", "alertThresholds"} <= keys.keys()
