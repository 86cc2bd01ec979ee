"""What `check` says of callables that are not there, and of connections without their guards."""

from copy import deepcopy

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from asyncengine.settings import database
from flows.checks.callables import callables_are_there, connections_have_their_guards, faults_of
from tests.builders import make_script

PG = "postgres://user@localhost/name"


def ids(messages):
    return sorted(message.id for message in messages)


def guards(config, **changes):
    """Return what the check says of a configuration with these options; None: without it."""
    config = deepcopy(config)
    config["ENGINE"] = changes.pop("engine", config["ENGINE"])
    for name, value in changes.items():
        config["OPTIONS"].pop(name, None)
        if value is not None:
            config["OPTIONS"][name] = value
    return ids(faults_of(config))


@pytest.mark.django_db
def test_each_callable_that_cannot_run_here_is_named(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]
    make_script("whole", "tests.callables.trail", language="callable")
    make_script("moved", "tests.callables.moved_away", language="callable")
    make_script("foreign", "os.system", language="callable")
    make_script("python")

    found = callables_are_there(databases=["default"])

    assert ids(found) == ["flows.W010"] * 2
    assert "'foreign'" in found[0].msg
    assert "module os is not allowed" in found[0].msg
    assert "has no function 'moved_away'" in found[1].msg
    assert callables_are_there(databases=None) == []


@pytest.mark.django_db
def test_the_command_tells_of_a_callable_that_is_not_there(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]
    make_script("moved", "tests.callables.moved_away", language="callable")

    with pytest.raises(SystemCheckError, match=r"flows\.W010"):
        call_command("check", databases=["default"], fail_level="WARNING")


def test_the_settings_of_the_engine_have_all_guards(tmp_path):
    assert connections_have_their_guards() == []
    assert guards(database(PG)) == []
    assert guards(database(f"sqlite:///{tmp_path}/db.sqlite3")) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pool": True}, ["flows.E003"]),
        ({"pool": {"min_size": 2}}, ["flows.E003"]),
        ({"pool": False}, []),
        ({"engine": "django.db.backends.postgresql"}, ["flows.W007"]),
        ({"session_settings": None}, ["flows.W008"]),
        ({"tcp_user_timeout": None}, ["flows.W009"]),
    ],
)
def test_what_a_pool_or_a_missing_guard_means_is_told(changes, expected):
    assert guards(database(PG), **changes) == expected


def test_databases_written_by_hand_are_told_what_they_lack(tmp_path):
    postgresql = {"ENGINE": "django.db.backends.postgresql", "NAME": "name"}
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "db.sqlite3"}

    for config, expected in (
        (postgresql, ["flows.W007", "flows.W009"]),
        (sqlite, ["flows.W006", "flows.W019"]),
        (sqlite | {"OPTIONS": {"init_command": "pragma journal_mode = wal;"}}, ["flows.W006"]),
    ):
        assert ids(faults_of(config)) == expected
