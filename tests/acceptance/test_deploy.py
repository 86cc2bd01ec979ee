"""The files of deployment: linted, and the services of the compose file run as processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography.fernet import Fernet

from asyncengine.settings import database
from flows.up.children import web
from tests.acceptance.installation import PASSWORD, ROOT, Installation
from tests.databases import free_port, fresh_database
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

DEPLOY = ROOT / "asyncengine" / "deploy"
BESIDE_PYTHON = Path(sys.executable).parent
COMPOSE = ("docker-compose", "docker compose", "podman-compose")
GIVEN = {"POSTGRES_PASSWORD": "p", "ASYNCENGINE_SECRET_KEY": "k" * 50}
GIVEN_KEYS = {
    "ASYNCENGINE_SECRET_KEY": "k" * 50,
    "ASYNCENGINE_SECRETS_KEYS": Fernet.generate_key().decode(),
}
ADMINISTRATOR = {
    "DJANGO_SUPERUSER_USERNAME": "operator",
    "DJANGO_SUPERUSER_EMAIL": "operator@example.org",
    "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
}
# The commands of the image in this checkout.
HERE = {"asyncengine": [sys.executable, "manage.py"], "granian": [sys.executable, "-m", "granian"]}
# As Kubernetes and OpenShift run containers: a root of its own that is read-only but for $1, and a
# user without a name and capabilities. $2 is the working directory, $3 what the root has, in words.
READ_ONLY = """
set -e
umask 022
mount --make-rprivate /
mount --types tmpfs --options mode=755 tmpfs "$1/root"
for at in /dev /proc /sys "$1/data" "$1/tmp" $3; do
    mkdir --parents "$1/root$at"
    mount --rbind "$at" "$1/root$at"
done
for at in $3; do mount --options remount,bind,ro "$1/root$at"; done
mount --options remount,ro "$1/root"
export TMPDIR="$1/tmp"
root="$1/root" here="$2"
shift 3
user="--reuid 123456 --regid 0 --clear-groups --bounding-set=-all --no-new-privs"
exec chroot "$root" env --chdir "$here" setpriv $user -- "$@"
"""
FLOW = {
    "scripts": [{"name": "echo", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": "q"}],
    "flows": [{"name": "f", "steps": [{"name": "s", "script": "echo", "queue": "q"}]}],
}


def program(name: str) -> str:
    path = os.pathsep.join((str(BESIDE_PYTHON), os.environ["PATH"]))
    found = shutil.which(name, path=path)
    return found or pytest.skip(f"{name} is not installed")


def require_good(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_containerfile_is_good() -> None:
    require_good(program("hadolint"), DEPLOY / "Containerfile")


def test_the_manifests_are_valid(tmp_path: Path) -> None:
    files = []
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        files.append(tmp_path / file.name)
        # The validator writes the name, and knows none that the server makes.
        files[-1].write_text(
            re.sub(r"generateName: (\S+)-$", r"name: \1-x1", file.read_text(), flags=re.M)
        )

    require_good(program("kubernetes-validate"), "--strict", *files)


def test_the_units_are_valid(tmp_path: Path) -> None:
    units = []
    for unit in (DEPLOY / "systemd").glob("*.service"):
        units.append(tmp_path / unit.name.replace("@", "@1"))
        text = unit.read_text().replace("/opt/asyncengine/bin/asyncengine", sys.executable)
        units[-1].write_text(text.replace("/opt/asyncengine/bin/granian", sys.executable))

    assert len(units) == 2
    assert require_good(program("systemd-analyze"), "verify", "--man=no", *units) == ""


def test_each_file_kills_workers_after_their_grace_alone() -> None:
    grace = "ASYNCENGINE_GRACE_SECONDS"
    workers, *_ = yaml.safe_load_all((DEPLOY / "kubernetes" / "workers.yaml").read_text())
    pod = workers["spec"]["template"]["spec"]
    given = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["workers"]
    unit = (DEPLOY / "systemd" / "asyncengine-workers@.service").read_text()
    lines = [line.removeprefix("Environment=") for line in unit.splitlines()]
    settings = dict(line.split("=", 1) for line in lines if "=" in line)

    assert {
        "kubernetes": (int(given[grace]), pod["terminationGracePeriodSeconds"]),
        "compose": (int(service["environment"][grace]), service["stop_grace_period"]),
        "systemd": (int(settings[grace]), int(settings["TimeoutStopSec"])),
    } == {"kubernetes": (60, 90), "compose": (60, "90s"), "systemd": (60, 90)}


def test_no_deploy_takes_back_what_the_autoscaler_has_added() -> None:
    texts = yaml.safe_load_all((DEPLOY / "kubernetes" / "workers.yaml").read_text())
    found = {each["kind"]: each["spec"] for each in texts}

    assert found["HorizontalPodAutoscaler"]["minReplicas"] == 2
    assert "replicas" not in found["Deployment"]


def test_each_web_server_takes_as_many_connections_as_that_of_up() -> None:
    command = web("127.0.0.1", 8000).command
    given = dict(pairwise(command))
    expected = {
        f"GRANIAN_{name.upper()}": given[f"--{name}"] for name in ("backlog", "backpressure")
    }

    # The other files run the image.
    for file in ("Containerfile", "systemd/asyncengine-web.service"):
        found = re.findall(r"(GRANIAN_BACK\w+)=(\d+)", (DEPLOY / file).read_text())
        assert dict(found) == expected
    for file in ("compose.yaml", "kubernetes/web.yaml"):
        assert "image: asyncengine" in (DEPLOY / file).read_text()


def test_the_compose_file_is_understood() -> None:
    for each in COMPOSE:
        name, *more = each.split()
        command = [shutil.which(name) or "", *more]
        if command[0] and not subprocess.run([*command, "version"], capture_output=True).returncode:
            variables = os.environ | GIVEN | {"ASYNCENGINE_SECRETS_KEYS": "k"}
            require_good(*command, "-f", DEPLOY / "compose.yaml", "config", env=variables)
            return
    pytest.skip(f"none of {', '.join(COMPOSE)} is installed")


def test_any_password_reaches_postgresql_and_the_engine_as_it_is() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    url = services["web"]["environment"]["DATABASE_URL"]

    given = services["database"]["environment"]["POSTGRES_PASSWORD"]
    for name in ("migrate", "web", "workers"):
        # What libpq takes where the URL has none.
        assert services[name]["environment"]["PGPASSWORD"] == given
    config = database(url)
    assert (config["USER"], config["PASSWORD"]) == ("asyncengine", "")
    assert (config["HOST"], config["NAME"]) == ("database", "asyncengine")


def test_the_compose_file_passes_on_how_many_proxies_there_are() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]

    given = services["web"]["environment"]["ASYNCENGINE_PROXIES"]
    assert given == "${ASYNCENGINE_PROXIES:-0}"


def service(name: str) -> tuple[list[str], dict[str, str]]:
    """Return the command of a service in this checkout, and what the file gives it."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    first, *arguments = services[name]["command"]
    environment = services[name]["environment"].items()
    given = {each: value for each, value in environment if "${" not in value}
    del given["DATABASE_URL"]
    return [*HERE[first], *arguments], given


def run_a_flow(
    installation: Installation, data: Path, around: Callable[[list[str]], list[str]]
) -> None:
    """Have the services of the compose file run a flow, as commands that `around` returns."""
    port = free_port()

    def begin(name: str) -> subprocess.Popen[bytes]:
        command, given = service(name)
        own = {"ASYNCENGINE_DATA_DIR": str(data), "GRANIAN_PORT": str(port), "HOME": "/"}
        return subprocess.Popen(
            around(command),
            cwd=ROOT,
            env=installation.environment | given | own | GIVEN_KEYS,
            start_new_session=True,
        )

    assert begin("migrate").wait(4 * PATIENCE) == 0
    installation.configure(FLOW)
    installation.environment |= ADMINISTRATOR
    installation.manage("createsuperuser", "--noinput")
    processes = [begin("web"), begin("workers")]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/async") as http:

            def is_ready() -> bool:
                try:
                    return http.get("/health/ready").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(is_ready, PATIENCE, "the web server")
            assert http.get("/api/flows", auth=("operator", PASSWORD)).status_code == 200
        installation.manage("start", "f", "--wait", str(PATIENCE))
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(PATIENCE) for process in processes]
        installation.http.close()
    assert codes == [0, 0]


def test_the_services_of_the_compose_file_run_a_flow(tmp_path: Path) -> None:
    with fresh_database(tmp_path) as url:
        run_a_flow(Installation(url, tmp_path), tmp_path / "data", list)


@pytest.fixture
def writable() -> Iterator[Path]:
    """Return a directory that any user may write to; pytest's own are for its user alone."""
    made = Path(tempfile.mkdtemp(prefix="asyncengine-writable-"))
    made.chmod(0o755)
    for name in ("root", "data", "tmp"):
        (made / name).mkdir()
        (made / name).chmod(0o1777)
    yield made
    shutil.rmtree(made)


def require_read_only(around: Callable[[list[str]], list[str]], writable: Path) -> None:
    """Skip the test where such a root cannot be made, and fail it where it is not what it says."""
    if os.geteuid() != 0:
        pytest.skip("a root of its own for another user takes root")
    for name in ("unshare", "chroot", "setpriv"):
        program(name)
    looked = (
        "import os, sys, pathlib\n"
        "for at in sys.argv[1:]:\n"
        "    try: pathlib.Path(at, 'written').touch()\n"
        "    except OSError as error: print(error.strerror)\n"
        "    else: print('written')\n"
        "print(os.getuid(), sys.prefix)"
    )
    tried = [sys.executable, "-c", looked, str(ROOT), "/", "/etc", str(writable / "data")]
    done = subprocess.run(around(tried), capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        pytest.skip(f"no root can be made: {done.stderr.strip()}")
    found = [*["Read-only file system"] * 3, "written", f"123456 {sys.prefix}"]
    assert done.stdout.splitlines() == found


def test_the_services_run_a_flow_on_a_read_only_root_as_any_user(
    tmp_path: Path, writable: Path
) -> None:
    of_system = [each for each in ("/bin", "/etc", "/lib", "/lib64", "/usr") if Path(each).exists()]
    parts = " ".join(dict.fromkeys([*of_system, sys.base_prefix, sys.prefix, str(ROOT)]))

    def around(command: list[str]) -> list[str]:
        script = ["sh", "-c", READ_ONLY, "sh", str(writable), str(ROOT), parts]
        return ["unshare", "--mount", *script, *command]

    require_read_only(around, writable)
    with fresh_database(writable / "data") as url:
        run_a_flow(Installation(url, tmp_path), writable / "data", around)
