import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from flows.monitoring import kept
from flows.starts import rates
from flows.starts.refusals import refusals
from flows.store import store
from flows.store.asked import Asked
from flows.store.telling import flow_webhooks
from flows.testing.transactions import count_starts_at_once
from flows.worker.this_worker import this_worker
from scripts.models.configuration_values import forget_configuration_values
from scripts.models.secret_values import forget_secrets
from scripts.pool.host_pool import HostPool
from scripts.services.flow_states import pending_states
from tests import bytecode, flushing, parts_of_pages, static_files
from tests.databases import copies, is_postgresql, template_databases
from tests.halves import is_on_both, running_halves
from tests.hosts.zygotes import Zygotes
from tests.sampling import (
    has_long_tests,
    leave_to_long_runs,
    require_that_long_tests_are_found,
)
from tests.waiting import PATIENCE

# It has a suite of its own, which a test runs.
collect_ignore = ["project"]

pytest_plugins = ["flows.pytest_plugin"]

# The machine may be busy: how long an example takes says nothing. Explaining a failure traces each
# line of all that runs, for minutes.
PATIENT = hypothesis_settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
# How many examples a test tries, where it does not say so itself. `.ci/run` tries more.
hypothesis_settings.register_profile("default", PATIENT, max_examples=10)
hypothesis_settings.register_profile("ci", PATIENT, max_examples=100)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# As in pyproject.toml.
DEFAULT_MARKS = "not chaos and not long"
HALVES = pytest.StashKey[ExitStack]()
TEMPLATES = pytest.StashKey[ExitStack]()
TESTS = Path(__file__).parent
# Rings whose tests wait for other processes, those first that wait longest.
WAITING = ("pipes", "acceptance", "abuse", "hosts")


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """Forget what a process has kept of the database of the test before.

    Keys come back, of queues and flows on SQLite, and names.
    """
    yield
    for each in (kept, flow_webhooks, rates, refusals):
        each.forget()
    for kept_by_key in (Asked.rooms_of, store().full_at, pending_states):
        kept_by_key.clear()
    forget_secrets()
    forget_configuration_values()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the compiled tests even where no byte code is to be written beside the sources.

    Each process of the run would compile all of them.
    """
    if sys.dont_write_bytecode:
        directory = config.rootpath / ".pytest_cache" / "bytecode"
        bytecode.share_installed(directory)
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(directory)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(directory)


def pytest_xdist_auto_num_workers() -> int:
    """Use a process more than there are cores, for many tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the tests on PostgreSQL beside the others where the whole suite runs."""
    config = session.config
    if not hasattr(config, "workerinput"):
        config.stash[TEMPLATES] = ExitStack()
        config.stash[TEMPLATES].enter_context(template_databases())
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_selected = config.option.keyword or config.option.markexpr != DEFAULT_MARKS
    is_worker = hasattr(config, "workerinput")
    if is_whole and config.getoption("numprocesses", None) and not is_worker:
        bytecode.compile_all(_modules(config.rootpath))
    if is_whole and not (is_selected or is_worker or config.option.collectonly or is_postgresql()):
        stack = config.stash[HALVES] = ExitStack()
        os.environ["ENGINE_TEST_HALVES"] = str(stack.enter_context(running_halves()))


def _modules(root: Path) -> list[str]:
    """Return the names of all modules of the tests."""
    files = (file.relative_to(root).with_suffix("") for file in TESTS.rglob("*.py"))
    return [".".join(file.parts) for file in files if file.name.isidentifier()]


def pytest_sessionfinish(session: pytest.Session) -> None:
    for key in (HALVES, TEMPLATES):
        if stack := session.config.stash.get(key, None):
            stack.close()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules without a long test where only long ones are asked for."""
    is_test_module = collection_path.match("test_*.py")
    if not (is_test_module and config.option.markexpr.startswith("long")):
        return None
    return None if has_long_tests(collection_path) else True


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what is in no sample, before pytest selects by marks, and order what it selects.

    Tests that wait for other processes run beside those that compute: their modules take turns, so
    that no core is idle. What waits for the other half comes last.
    """
    leave_to_long_runs(items)
    for item in items:
        if is_on_both(item.path):
            item.add_marker("on_both")
    require_that_long_tests_are_found(items)
    yield
    places = _places([item.path for item in items])
    items.sort(key=lambda item: places[item.path])


def _places(modules: list[Path]) -> dict[Path, tuple[bool, int, bool]]:
    """Return by what to sort the tests of each module."""
    places: dict[Path, tuple[bool, int, bool]] = {}
    turns: Counter[bool] = Counter()
    for path in sorted(dict.fromkeys(modules), key=_rank):
        computes = _rank(path) == len(WAITING)
        places[path] = (path.name == "test_postgresql.py", turns[computes], computes)
        turns[computes] += 1
    return places


def _rank(path: Path) -> int:
    """Return the place of a module's ring among those that wait, after them if it is another."""
    waiting = (n for n, ring in enumerate(WAITING) if TESTS / ring in path.parents)
    return next(waiting, len(WAITING))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays: thousands of tests and all modules.

    And have it look seldom: pages make many objects, and an eighth of their time was its own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@pytest.fixture(autouse=True, scope="session")
def static_files_are_looked_for_once() -> Iterator[None]:
    with static_files.looked_for_once():
        yield


@pytest.fixture(autouse=True, scope="session")
def parts_of_pages_are_made_seldom() -> Iterator[None]:
    with parts_of_pages.made_seldom():
        yield


@pytest.fixture(autouse=True, scope="session")
def databases_are_flushed_fast() -> Iterator[None]:
    with flushing.only_what_has_rows():
        yield


@pytest.fixture(autouse=True, scope="session")
def passwords_are_hashed_fast() -> Iterator[None]:
    """Hash passwords as cheaply as can be: an installation takes a third of a second each."""
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    with override_settings(PASSWORD_HASHERS=hashers):
        yield


@pytest.fixture(autouse=True, scope="session")
def script_hosts_end_with_the_tests() -> Iterator[None]:
    yield
    this_worker.close_hosts()


@pytest.fixture(scope="session")
def zygotes() -> Iterator[Zygotes]:
    zygotes = Zygotes()
    yield zygotes
    zygotes.end()


@pytest.fixture(autouse=True, scope="session")
def trials_take_over_warm_zygotes(zygotes: Zygotes) -> Iterator[None]:
    """Spare most trials the start of a zygote, which takes longer than the rest of the trial."""

    def pool(**options: Any) -> HostPool:
        pool = HostPool(**options)
        # A zygote ends with the thread that has started it.
        if threading.current_thread() is threading.main_thread():
            zygotes.lend_to(pool)
        return pool

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.trials.trial.HostPool", pool)
        yield


@pytest.fixture
def time_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a host at its time limit tell where its script is, however busy the machine is."""
    monkeypatch.setattr("scripts.pool.host_client._TELLING_SECONDS", PATIENCE)


@pytest.fixture(autouse=True)
def starts_are_counted_at_once(request: pytest.FixtureRequest) -> None:
    """Count the starts of a test whose transaction never comes to its commit."""
    marker = request.node.get_closest_marker("django_db")
    if "db" in request.fixturenames or (marker and not marker.kwargs.get("transaction")):
        request.getfixturevalue("db")
        count_starts_at_once()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> Iterator[None]:
    """Have one process migrate, and the others copy what it has made."""
    with copies():
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """End the sessions that threads and poolers of tests still have when all tests have run.

    PostgreSQL drops no database that another session uses, and a thread may connect again.
    """
    yield
    if is_postgresql():
        with django_db_blocker.unblock():
            name = connection.settings_dict["NAME"]
            connection.close()
            with connection._nodb_cursor() as cursor:
                cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
                cursor.execute(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                    " WHERE datname = %s",
                    [name],
                )
