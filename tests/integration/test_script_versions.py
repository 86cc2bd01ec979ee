"""Every change of what runs makes a version, which keeps it for good."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import ProtectedError

from flows.engine import start
from flows.models import Run
from scripts.models import Library, Script
from tests.builders import make_flow, run_of, work_until_idle
from tests.databases import is_postgresql
from tests.waiting import PATIENCE

NET = "def net(gross):\n    return gross / 2\n"
USES_NET = (
    "import prices\n"
    "def run(message, context):\n"
    "    message['payload']['net'] = prices.net(message['payload']['gross'])\n"
    "    return message\n"
)


@pytest.fixture
def prices(db) -> Library:
    return Library.objects.create(name="prices", code=NET)


@pytest.fixture
def script(prices) -> Script:
    script = Script(name="bill", code=USES_NET)
    script.libraries = [prices]
    script.save()
    return script


def test_a_version_has_its_libraries_code(script, prices):
    version = script.current_version

    assert version.number == 1
    assert version.libraries == [{"name": "prices", "code": NET}]
    assert version.content() == script.content()


def test_saving_a_library_makes_a_version_of_the_scripts_that_use_it(script, prices):
    other = Script.objects.create(name="other", code="def run(m, c): return m")
    author = User.objects.create_user("ann")
    prices.code = NET.replace("2", "4")
    prices._history_user = author

    prices.save()
    prices.save()

    old, new = script.versions.order_by("number")
    assert old.libraries[0]["code"] == NET
    assert new.libraries[0]["code"] == prices.code
    assert new.author == author
    assert other.versions.count() == 1


def test_the_order_of_libraries_counts_and_is_kept(script, prices):
    first = Library.objects.create(name="aaa", code="x = 1")
    script.libraries = [prices, first]
    script.save()
    script.libraries = [first, prices]
    script.save()
    script.libraries = [first, prices]
    script.save()

    names = [
        [library["name"] for library in version.libraries]
        for version in script.versions.order_by("number")
    ]
    assert names == [["prices"], ["prices", "aaa"], ["aaa", "prices"]]
    assert Script.objects.get(pk=script.pk).libraries == [first, prices]


def test_what_a_script_may_reach_is_part_of_its_version(script):
    for change in (
        {"allowed_hosts": ["example.org"]},
        {"private_addresses": True},
        {"secrets": ["shop.key"]},
    ):
        for name, value in change.items():
            setattr(script, name, value)
        script.save()

    latest = script.current_version
    assert latest.number == 4
    assert (latest.allowed_hosts, latest.private_addresses, latest.secrets) == (
        ["example.org"],
        True,
        ["shop.key"],
    )


def test_a_library_in_use_cannot_be_deleted(script, prices):
    with pytest.raises(ProtectedError):
        prices.delete()

    script.libraries = []
    script.save()
    prices.delete()


@pytest.mark.parametrize("name", ["two words", "class", "json", "os", "1st", ""])
def test_a_python_library_needs_a_name_that_can_be_imported_and_hides_nothing(db, name):
    with pytest.raises(ValidationError) as caught:
        Library(name=name, code="x = 1").full_clean()

    assert "name" in caught.value.message_dict


def test_a_library_that_does_not_compile_is_refused_with_the_line(db):
    with pytest.raises(ValidationError) as caught:
        Library(name="prices", code="x = 1\ny = (").full_clean()

    assert caught.value.message_dict["code"][0].startswith("line 2: ")


def test_libraries_and_their_scripts_have_one_language(script, prices):
    prices.language = "javascript"
    with pytest.raises(ValidationError, match="bill"):
        prices.full_clean()

    script.language = "javascript"
    with pytest.raises(ValidationError, match="prices"):
        script.full_clean()


def test_a_library_in_use_keeps_its_name(script, prices):
    prices.name = "tariffs"
    with pytest.raises(ValidationError, match="bill"):
        prices.full_clean()

    script.libraries = []
    script.save()
    prices.full_clean()


@pytest.mark.skipif(not is_postgresql(), reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_script_and_its_library_saved_at_once_leave_the_newest_of_both(script, prices):
    def save(change):
        try:
            for number in range(31):
                change(number)
        finally:
            connection.close()

    def change_library(number):
        library = Library.objects.get(pk=prices.pk)
        library.code = f"# {number}\n{NET}"
        library.save()

    def change_script(number):
        edited = Script.objects.get(pk=script.pk)
        edited.code = f"# {number}\n{USES_NET}"
        edited.libraries = [] if number % 2 else [prices]
        edited.save()

    with ThreadPoolExecutor() as threads:
        for saving in [threads.submit(save, each) for each in (change_library, change_script)]:
            saving.result(PATIENCE)

    edited = Script.objects.get(pk=script.pk)
    assert edited.current_version.content() == edited.content()
    assert edited.code.startswith("# 30\n")
    assert edited.libraries[0].code.startswith("# 30\n")


def test_a_run_keeps_the_library_that_it_started_with(script, prices):
    flow = make_flow("shop", [USES_NET])
    step_script = flow.steps.get().script
    step_script.libraries = [prices]
    step_script.save()
    before = start("shop", {"gross": 8})
    prices.code = NET.replace("2", "4")
    prices.save()
    after = start("shop", {"gross": 8})

    work_until_idle(flow)

    nets = []
    for started in (before, after):
        run = run_of(started.correlation_id)
        assert run.status == Run.Status.COMPLETED, run.error
        nets.append(json.loads(run.result)["payload"]["net"])
    assert nets == [4, 2]
