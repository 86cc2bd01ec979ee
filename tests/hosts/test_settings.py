"""What is wrong with the surroundings is said in a line that names it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parent.parent.parent


SHOWN = """
from django.core.management import call_command
from django.template import loader
print(loader.render_to_string("admin/login.html"))
call_command("check", deploy=True)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    return install(tmp_path)


def install(directory: Path) -> Path:
    """Copy the project's own files."""
    for name in ("flows", "scripts"):
        (directory / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "manage.py", directory)
    # A link would be followed: BASE_DIR is where the settings are.
    shutil.copytree(ROOT / "asyncengine", directory / "asyncengine")
    return directory


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation of an earlier version, which left its files open, with a page of its own."""
    directory = install(tmp_path_factory.mktemp("used"))
    (directory / "var").mkdir()
    (directory / "var").chmod(0o755)
    (directory / "data").mkdir()
    database = directory / "data" / "db.sqlite3"
    for suffix in ("-wal", "-shm", "-turn", "-journal"):
        (directory / "data" / f"db.sqlite3{suffix}").touch(0o666)
        (directory / "data" / f"db.sqlite3{suffix}").chmod(0o664)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE kept (id)")
    database.chmod(0o664)
    page = directory / "templates" / "admin" / "login.html"
    page.parent.mkdir(parents=True)
    page.write_text("{% extends 'admin/login.html' %}{% block title %}Our own{% endblock %}")
    return directory


@pytest.fixture(scope="module")
def shown(used: Path) -> subprocess.CompletedProcess[str]:
    """What its login page looks like, and what the deploy check says."""
    url = f"sqlite:///{used}/data/db.sqlite3"
    return manage(used, "shell", "-v0", "-c", SHOWN, DATABASE_URL=url)


@pytest.mark.long
def test_the_sqlite_database_is_its_users_alone(tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite3"

    done = manage(ROOT, "migrate", "contenttypes", "-v0", DATABASE_URL=f"sqlite:///{database}")

    assert done.returncode == 0, done.stderr
    assert database.stat().st_size > 0
    assert modes(tmp_path) == {"0o600"}


@pytest.mark.long
def test_what_an_earlier_version_left_open_is_closed(
    used: Path, shown: subprocess.CompletedProcess[str]
) -> None:
    assert shown.returncode == 0, shown.stderr
    assert modes(used / "data") == {"0o600"}


def test_var_is_its_users_alone(used: Path, shown: subprocess.CompletedProcess[str]) -> None:
    assert shown.returncode == 0, shown.stderr
    assert (used / "var").stat().st_mode & 0o777 == 0o700
    assert modes(used / "var") <= {"0o600", "0o700"}


def modes(directory: Path) -> set[str]:
    return {oct(path.stat().st_mode & 0o777) for path in directory.iterdir()}


def manage(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=directory,
        env=inherited | environment,
        capture_output=True,
        text=True,
    )


def test_directory_that_cannot_hold_the_key_is_named(installed: Path):
    (installed / "var").write_text("not a directory")

    finished = manage(installed, "check")

    assert finished.returncode == 1
    assert finished.stderr.splitlines() == [
        f"{installed}/var cannot hold the secret key, which is kept there: File exists"
    ]


def test_directory_that_cannot_hold_the_database_is_named(installed: Path):
    (installed / "here").write_text("not a directory")

    finished = manage(installed, "check", DATABASE_URL="sqlite:///here/asyncengine.sqlite3")

    assert finished.returncode == 1
    assert "/here cannot hold the SQLite database: File exists" in finished.stderr
    assert "Traceback" not in finished.stderr


KEYS = {"secret_key": "ASYNCENGINE_SECRET_KEY", "secrets_key": "ASYNCENGINE_SECRETS_KEYS"}


@pytest.mark.parametrize("damage", [b"", b"\n", b"\0" * 44, b"\xff\xfe"], ids=repr)
@pytest.mark.parametrize("name", KEYS)
def test_kept_key_that_is_empty_or_damaged_is_refused_with_what_to_do(
    installed: Path, name: str, damage: bytes
):
    (installed / "var").mkdir()
    path = installed / "var" / name
    path.write_bytes(damage)

    finished = manage(installed, "check")

    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"{path} is {'damaged' if damage.strip() else 'empty'}: ")
    assert KEYS[name] in line
    assert "remove the file" in line
    assert path.read_bytes() == damage


@pytest.mark.parametrize("command", [["doctor"], ["up"], ["secrets", "set", "T"]], ids=" ".join)
def test_each_command_refuses_a_key_of_secrets_that_is_cut_off(installed: Path, command: list[str]):
    (installed / "var").mkdir()
    (installed / "var" / "secrets_key").write_text(Fernet.generate_key().decode()[:20])

    finished = manage(installed, *command)

    assert finished.returncode == 1
    assert finished.stderr.startswith(f"{installed}/var/secrets_key is damaged: ")
    assert len(finished.stderr.splitlines()) == 1


def test_kept_keys_that_an_editor_has_ended_with_a_line_are_as_before(installed: Path):
    (installed / "var").mkdir()
    for name in KEYS:
        (installed / "var" / name).write_text(f"{Fernet.generate_key().decode()}\n")

    assert manage(installed, "check").returncode == 0


@pytest.mark.parametrize("name", KEYS)
def test_kept_key_that_cannot_be_read_is_named(installed: Path, name: str):
    (installed / "var" / name).mkdir(parents=True)

    finished = manage(installed, "check")

    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"{installed}/var/{name}, which has the {name.replace('_', ' ')}, ")
    assert "cannot be read: Is a directory" in line


@pytest.fixture
def without_rights() -> list[str]:
    """Return what goes before a command so that root, too, may read and write its own files alone.

    Files of the test that are to be another user's are given to one.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("files of another user take root and setpriv")
    rights = "-dac_override,-dac_read_search,-fowner,-chown"
    return ["setpriv", f"--bounding-set={rights}"]


@pytest.mark.long
@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("name", ["secret_key", "secrets_key", "db.sqlite3", "db.sqlite3-wal"])
@pytest.mark.parametrize("command", ["check", "up", "migrate"])
def test_file_of_another_user_is_named(
    installed: Path, without_rights: list[str], command: str, name: str, mode: int
):
    if name.endswith("_key") and mode == 0o644:
        pytest.skip("a key is read alone")
    (installed / "var").mkdir()
    path = installed / "var" / name
    path.write_text(Fernet.generate_key().decode())
    path.chmod(mode)
    os.chown(path, 12345, 12345)

    finished = subprocess.run(
        [*without_rights, sys.executable, "manage.py", command],
        cwd=installed,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": "sqlite:///var/db.sqlite3"},
        capture_output=True,
        text=True,
    )

    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"{path}, ")
    assert line.endswith("Give it to the user that runs this.")


UNWRITABLE = """
from django.db import connection
from flows.store import store
connection.settings_dict["NAME"] = "other.sqlite3"
print(store().database.unwritable())
"""


@pytest.mark.long
def test_ready_does_not_call_a_file_of_another_user_writable(
    installed: Path, without_rights: list[str]
):
    with closing(sqlite3.connect(installed / "other.sqlite3")) as connection:
        connection.execute("CREATE TABLE kept (id)")
    (installed / "other.sqlite3").chmod(0o644)
    os.chown(installed / "other.sqlite3", 12345, 12345)

    finished = subprocess.run(
        [*without_rights, sys.executable, "manage.py", "shell", "-v0", "-c", UNWRITABLE],
        cwd=installed,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )

    assert "may not write the files of the database" in finished.stdout, finished.stderr


@pytest.mark.long
@pytest.mark.parametrize("command", ["up", "migrate"])
def test_file_that_is_no_database_is_named(installed: Path, command: str):
    (installed / "var").mkdir()
    path = installed / "var" / "db.sqlite3"
    path.write_bytes(b"no database" * 1000)

    finished = manage(installed, command, DATABASE_URL=f"sqlite:///{path}")

    assert finished.returncode == 1
    assert finished.stderr.splitlines() == [
        f"The database {path} says: file is not a database",
        "It is damaged, or no database of SQLite. Restore that of a backup.",
    ]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["KEY", "plain"], "'plain' stands first or not at all, and here it is entry 2 of 2"),
        (["KEY", "no-key"], "holds something that is no Fernet key: entry 2 of 2"),
        (["Plain", "KEY"], "holds something that is no Fernet key: entry 1 of 2"),
    ],
)
def test_payload_key_at_fault_is_named_by_its_place(installed: Path, keys: list[str], told: str):
    given = ",".join(keys).replace("KEY", Fernet.generate_key().decode())

    finished = manage(installed, "check", ASYNCENGINE_PAYLOAD_KEYS=given)

    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith("ASYNCENGINE_PAYLOAD_KEYS")
    assert line.endswith(told)


def test_variable_that_is_none_of_the_engine_s_is_named_with_the_one_that_is_meant(installed: Path):
    finished = manage(
        installed, "check", ASYNCENGINE_WORKRES="3", ASYNCENGINE_PAYLOAD_KEY="k", ASYNCENGINE_ZZ=""
    )

    assert finished.returncode == 0
    assert finished.stderr.count("flows.W020") == 3
    assert "ASYNCENGINE_WORKRES is no variable of the engine" in finished.stderr
    assert "Is ASYNCENGINE_WORKERS meant?" in finished.stderr
    assert "Is ASYNCENGINE_PAYLOAD_KEYS meant?" in finished.stderr


@pytest.mark.parametrize("name", ["ASYNCENGINE_ALLOWED_HOSTS", "ASYNCENGINE_PAYLOAD_KEYS"])
def test_list_of_commas_alone_is_refused(installed: Path, name: str):
    finished = manage(installed, "check", **{name: " , "})

    assert finished.returncode == 1
    assert finished.stderr.splitlines() == [f"{name} has commas alone; leave it out for none"]


@pytest.mark.long
def test_nothing_needs_to_be_written_where_all_is_given(installed: Path):
    (installed / "var").write_text("not a directory")
    from cryptography.fernet import Fernet

    finished = manage(
        installed,
        "check",
        DATABASE_URL="postgres://user:password@localhost/name",
        ASYNCENGINE_SECRET_KEY="k" * 50,
        ASYNCENGINE_SECRETS_KEYS=Fernet.generate_key().decode(),
    )

    assert finished.returncode == 0, finished.stderr


def test_an_installation_changes_a_page_by_a_template_of_its_own(
    shown: subprocess.CompletedProcess[str],
):
    assert "Our own</title>" in shown.stdout, shown.stderr


def test_deploy_check_needs_no_migrated_database(shown: subprocess.CompletedProcess[str]):
    assert shown.returncode == 0, shown.stderr
    assert "drf_spectacular" not in shown.stderr
    assert "flows.W001" in shown.stderr


@pytest.mark.long
def test_deploy_check_has_nothing_to_say_of_an_installation_with_address_and_keys(installed: Path):
    options = {
        "ASYNCENGINE_URL": "https://engine.example.org/tools",
        "ASYNCENGINE_SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVW",
        "ASYNCENGINE_SECRETS_KEYS": Fernet.generate_key().decode(),
    }

    finished = manage(installed, "check", "--deploy", "--fail-level", "WARNING", **options)

    assert finished.returncode == 0, finished.stderr


@pytest.mark.long
def test_a_database_of_another_alias_is_migrated_too(tmp_path: Path):
    (tmp_path / "two_databases.py").write_text(
        "from asyncengine.settings import *\n"
        f"DATABASES['other'] = database('sqlite:///{tmp_path}/other.sqlite3')\n"
    )
    options = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/default.sqlite3",
        "DJANGO_SETTINGS_MODULE": "two_databases",
        "PYTHONPATH": str(tmp_path),
    }

    finished = manage(ROOT, "migrate", "-v0", "--database", "other", **options)

    assert finished.returncode == 0, finished.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_that_may_use_one_core_has_one_worker():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from django.conf import settings; print(settings.ASYNCENGINE_WORKERS)"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "asyncengine.settings"}
    environment.pop("ASYNCENGINE_WORKERS", None)
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )

    assert finished.stdout.strip() == "1"
