"""The tutorial of the Service Pipes as it stands in its README: each block becomes its file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.installation import PASSWORD, ROOT, Installation, free_port
from tests.waiting import PATIENCE, wait_for

PIPES = ROOT / "flows" / "pipes"
APPLICATION = (ROOT / "flows" / "demo" / "application.json").read_bytes()
BAD = "def run(message, context):\n    raise Reject('no luck')\n"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("mvn") and shutil.which("javac")),
        reason="needs Maven and a JDK of Java 17 or newer: mvn and javac are not on the path",
    ),
]


def block(language: str, beginning: str) -> str:
    """Return the block of the README in a language whose text begins so."""
    readme = (PIPES / "README.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    return next(text for text in blocks if text.startswith(beginning))


def write_application(directory: Path, form: str, port: int) -> None:
    resources = directory / "src" / "main" / "resources"
    java = directory / "src" / "main" / "java"
    (resources / "camel").mkdir(parents=True)
    java.mkdir(parents=True)
    pom = block("xml", "<project")
    properties = block("properties", "camel.server.enabled")
    (resources / "application.properties").write_text(properties.replace("8080", str(port)))
    if form == "yaml":
        shutil.copy(PIPES / "async-engine.camel.yaml", resources / "camel")
        routes = resources / "camel" / "applications.camel.yaml"
        routes.write_text(block("yaml", "- onException"))
    else:
        pom = pom.replace("org.apache.camel.main.Main", "Applications")
        (java / "Applications.java").write_text(block("java", "import asyncengine"))
    (directory / "pom.xml").write_text(pom)


@contextmanager
def running(directory: Path, engine: Installation, port: int) -> Iterator[httpx.Client]:
    # The tutorial's own time limit would make the test wait for a minute.
    environment = os.environ | {
        "ASYNCENGINE_PASSWORD": PASSWORD,
        "ASYNCENGINE_URL": f"http://127.0.0.1:{engine.port}",
        "ASYNCENGINE_STARTTIMEOUT": "3s",
    }
    log = directory / "application.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["mvn", "--batch-mode", "compile", "exec:java"],
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:

                def is_up() -> bool:
                    assert process.poll() is None, log.read_text()[-5_000:]
                    try:
                        # The server answers before it has the routes.
                        return http.get("/applications").status_code != 404
                    except httpx.TransportError:
                        return False

                wait_for(is_up, 300, "the application")
                yield http
        finally:
            process.terminate()
            process.wait()


def failure(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.is_error else None


@pytest.fixture(scope="module")
def component() -> None:
    """Install the component as the tutorial says, for both forms."""
    install = block("sh", "mvn -q -f").replace("$ENGINE", str(ROOT)).split()
    subprocess.run([word.strip('"') for word in install], check=True, timeout=900)


@pytest.mark.parametrize("form", ["yaml", "java"])
def test_the_tutorial_works_as_it_stands(
    component: None, installation: Installation, tmp_path: Path, form: str
):
    installation.up()
    port = free_port()
    write_application(tmp_path / "app", form, port)

    with running(tmp_path / "app", installation, port) as http:
        headers = {"Content-Type": "application/json"}
        started = http.post("/applications", content=APPLICATION, headers=headers)
        decided = http.post("/decisions", content=APPLICATION, headers=headers)
        refused = http.post("/applications", content=b"[1", headers=headers)
        installation.configure(
            {
                "scripts": [{"name": "bad", "code": BAD}],
                "queues": [{"name": "bad"}],
                "flows": [
                    {
                        "name": "loan-application",
                        "steps": [{"name": "bad", "script": "bad", "queue": "bad"}],
                    }
                ],
            }
        )
        # A running engine follows within a second.
        failed = wait_for(
            lambda: failure(http.post("/decisions", content=APPLICATION, headers=headers)),
            what="the new version of the flow",
        )
        installation.stop()
        away = http.post("/applications", content=APPLICATION, headers=headers)

    assert started.status_code == 202
    assert started.json()["status"] == "QUEUED"
    assert decided.status_code == 200
    assert "correlationId" in decided.json()
    for answer, status in ((refused, 400), (failed, 500), (away, 503)):
        assert answer.status_code == status
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.json()["status"] == status
    assert "no luck" in failed.json()["detail"]
