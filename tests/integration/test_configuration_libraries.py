"""Libraries, and what scripts may reach, in a configuration document."""

import copy
import re
from typing import Any

import pytest

from flows.configuration import export_configuration, import_configuration
from flows.models import Flow
from scripts.models import Library, Script
from tests.builders import ECHO
from tests.integration.configuration_imports import faults_of, lines

pytestmark = pytest.mark.django_db

USES_PRICES = "import prices\ndef run(message, context): return prices.net(message)\n"
SHOP: dict[str, Any] = {
    "libraries": [
        {"name": "prices", "language": "python", "code": "def net(x): return x"},
        {"name": "rates", "language": "python", "code": "VAT = 1"},
    ],
    "scripts": [
        {
            "name": "s",
            "code": USES_PRICES,
            "libraries": ["rates", "prices"],
            "network": True,
            "allowedHosts": ["example.org"],
            "privateAddresses": True,
            "secrets": ["shop.key"],
        }
    ],
    "queues": [{"name": "q"}],
    "flows": [{"name": "f", "steps": [{"name": "one", "script": "s", "queue": "q"}]}],
}


def test_libraries_and_what_a_script_may_reach_come_in_and_go_out():
    import_configuration(SHOP)

    document = export_configuration()
    assert document["libraries"] == SHOP["libraries"]
    assert SHOP["scripts"][0].items() <= document["scripts"][0].items()
    assert not import_configuration(document)
    assert not import_configuration(SHOP)
    assert Script.objects.get().versions.count() == 1


def test_a_changed_library_gives_its_scripts_and_their_flows_new_versions():
    import_configuration(SHOP)
    flow = Flow.objects.get()
    changed = copy.deepcopy(SHOP)
    changed["libraries"][0]["code"] = "def net(x): return None"

    assert lines(changed, dry_run=True) == [
        'changed library "prices": code changed',
        "0 added, 1 changed, 0 removed.",
    ]
    assert Script.objects.get().versions.count() == flow.versions.count() == 1
    import_configuration(changed)

    version = Script.objects.get().current_version
    assert (version.number, version.libraries[1]["code"]) == (2, "def net(x): return None")
    assert flow.versions.count() == 2


def test_one_import_may_change_a_library_and_the_script_that_uses_it():
    import_configuration(SHOP)
    changed = copy.deepcopy(SHOP)
    changed["libraries"][0]["code"] = "def gross(x): return x"
    changed["scripts"][0]["code"] = USES_PRICES.replace("net", "gross")

    import_configuration(changed)

    version = Script.objects.get().current_version
    assert version.code == changed["scripts"][0]["code"]
    assert version.libraries[1]["code"] == "def gross(x): return x"


def test_what_is_left_out_of_a_script_is_taken_away_and_named():
    import_configuration(SHOP)
    changed = {"scripts": [{"name": "s", "code": ECHO, "network": True}]}

    assert lines(changed) == [
        'changed script "s": code changed; libraries ["rates", "prices"] → []; '
        'allowedHosts ["example.org"] → null; privateAddresses true → null; '
        'secrets ["shop.key"] → null',
        "0 added, 1 changed, 0 removed.",
    ]
    assert not Script.objects.get().secrets


@pytest.mark.parametrize(
    ("script", "warning"),
    [
        (
            {"name": "n", "language": "javascript", "code": "log('x')"},
            "scripts[0].code: never calls setData(output)",
        ),
    ],
)
def test_what_a_script_fails_of_only_when_it_comes_to_it_is_a_warning(script, warning):
    changes = import_configuration({"scripts": [script]})

    assert [re.split(r"; | \(", found)[0] for found in changes.warnings] == [warning]
    assert Script.objects.get().code == script["code"]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (
            {"scripts": [{"name": "n", "code": "import none\n" + ECHO}]},
            "scripts[0].code: line 1: module 'none' may not be imported",
        ),
        (
            {"scripts": [{"name": "n", "code": ECHO + "\ndef later():\n    import os\n"}]},
            "module 'os' may not be imported",
        ),
        (
            {"libraries": [{"name": "files", "code": "import os"}]},
            "libraries[0].code: line 1: module 'os' may not be imported",
        ),
        (
            {"scripts": [{"name": "n", "code": "from json import nothing\n" + ECHO}]},
            "scripts[0].code: line 1: the module 'json' has no 'nothing'",
        ),
        (
            {"libraries": [{"name": "dates", "code": "from datetime import datum"}]},
            "libraries[0].code: line 1: the module 'datetime' has no 'datum'",
        ),
        (
            {
                "scripts": [
                    {"name": "n", "language": "javascript", "code": "setData(1);\nrequire('fs')"}
                ]
            },
            "scripts[0].code: line 2: require is not defined: list a library",
        ),
        (
            {
                "libraries": [
                    {"name": "Web", "language": "javascript", "code": "var Web = () => fetch(1)"}
                ]
            },
            "libraries[0].code: line 1: fetch is not defined: use http.get(url)",
        ),
        (
            {"scripts": [{"name": "n", "language": "javascript", "code": "import x from 'y'"}]},
            "scripts[0].code: line 1: ",
        ),
    ],
)
def test_code_that_imports_what_is_not_there_is_refused(document, fault):
    [found] = faults_of(document)

    assert fault in found
    assert not Script.objects.exists()


def test_an_import_whose_failure_the_code_handles_is_taken():
    code = "try:\n    import none\nexcept ImportError:\n    none = None\n" + ECHO

    import_configuration({"scripts": [{"name": "n", "code": code}]})

    assert Script.objects.get().code == code


def test_a_library_that_is_used_is_not_pruned():
    import_configuration(SHOP)

    assert faults_of({"libraries": []}, prune=True) == [
        'libraries: the library "rates" cannot be removed: the script "s" uses it',
        'libraries: the library "prices" cannot be removed: the script "s" uses it',
    ]
    assert lines({"libraries": [], "scripts": [{"name": "s", "code": ECHO}]}, prune=True)[-1] == (
        "0 added, 1 changed, 2 removed."
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"scripts": [{"name": "n", "code": ECHO, "libraries": ["none"]}]},
            'scripts[0].libraries[0]: there is no library "none"',
        ),
        (
            {
                "scripts": [
                    {
                        "name": "n",
                        "language": "javascript",
                        "code": "setData(context.Data)",
                        "libraries": ["prices"],
                    }
                ]
            },
            'scripts[0].libraries[0]: the library "prices" is of another language',
        ),
        (
            {"libraries": [{"name": "prices", "language": "javascript", "code": "1"}]},
            'libraries[0].language: the script "s" uses it, which is of another language',
        ),
    ],
)
def test_a_library_that_does_not_fit_is_refused_with_its_place(change, fault):
    import_configuration(SHOP)

    assert faults_of(change)[0].startswith(fault)


def test_javascript_that_does_not_compile_is_refused_whichever_libraries_it_has():
    Library.objects.create(name="saved", language="javascript", code="var Saved = 1")
    entry = {"name": "n", "language": "javascript", "code": "let x = ;", "libraries": ["saved"]}

    [found] = faults_of({"scripts": [entry]})

    assert found.startswith("scripts[0].code: line 1: ")
