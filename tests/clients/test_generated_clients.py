"""Clients that generators make of our document, each with a call of every operation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import PASSWORD, Installation
from tests.clients.walk import WALK, flow_operations, steps, things

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
MINUTES = 600
# The programs live for seconds.
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# What openapi-generator says of the smallest document, too: of the version, and of itself.
OF_EVERY_DOCUMENT = (
    "in the Github repo: https://github.com/openAPITools/openapi-generator.",
    "ModelUtils - Failed to get the schema name: null",
)
# The programs of this environment first: openapi-python-client formats what it makes with ruff.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
ENVIRONMENT = os.environ | {"JAVA_TOOL_OPTIONS": SHORT_LIVED, "PATH": PATH}


def test_every_operation_has_a_call(document: Any) -> None:
    operations = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }

    assert operations == {*WALK, *flow_operations(document).values()}


def test_client_of_openapi_python_client(
    installation: Installation, document: Any, document_file: Path, tmp_path: Path
) -> None:
    said = run(
        *(needs_generator("openapi-python-client"), "generate", "--meta", "none"),
        *("--fail-on-warning", "--path", document_file, "--output-path", tmp_path / "walked"),
    )

    assert "Warning" not in said, said
    run(sys.executable, "-W", "error", "-m", "compileall", "-q", tmp_path / "walked")
    driver = HERE / "drivers" / "walk_openapi_python_client.py"
    walk(installation, document, tmp_path, sys.executable, driver, "walked")


def test_client_of_openapi_generator_for_python(
    installation: Installation, document: Any, document_file: Path, tmp_path: Path
) -> None:
    generate("python", document_file, tmp_path, "packageName=walked")

    run(sys.executable, "-W", "error", "-m", "compileall", "-q", tmp_path / "walked")
    driver = HERE / "drivers" / "walk_python.py"
    walk(installation, document, tmp_path, sys.executable, driver, "walked")


def test_client_of_openapi_generator_for_typescript(
    installation: Installation, document: Any, document_file: Path, tmp_path: Path
) -> None:
    tsc, node = needs_program("tsc"), needs_program("node")

    generate("typescript-fetch", document_file, tmp_path / "client", "importFileExtension=.js")

    shutil.copy(HERE / "drivers" / "walk.ts", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node.d.ts").write_text(NODE)
    run(
        *(tsc, "--strict", "--target", "es2022", "--module", "nodenext", "--types", ""),
        *("--lib", "es2022,dom,dom.iterable", "--outDir", tmp_path / "out"),
        *(tmp_path / "walk.ts", tmp_path / "node.d.ts"),
    )
    walk(installation, document, tmp_path, node, tmp_path / "out" / "walk.js")


# What the driver uses of Node.js.
NODE = """
declare module "node:fs" { export function readFileSync(path: string, form: string): string; }
declare const process: { argv: string[] };
"""


def test_client_of_openapi_generator_for_java(
    installation: Installation, document: Any, document_file: Path, tmp_path: Path
) -> None:
    mvn, javac, java = needs_program("mvn"), needs_program("javac"), needs_program("java")

    generate(
        "java",
        document_file,
        tmp_path / "client",
        "library=native,invokerPackage=walked,apiPackage=walked.api,modelPackage=walked.model",
    )

    run(
        *(mvn, "--quiet", "--batch-mode", "--file", HERE / "java" / "pom.xml"),
        *("dependency:copy-dependencies", f"-DoutputDirectory={tmp_path / 'jars'}"),
    )
    sources = [*(tmp_path / "client" / "src" / "main" / "java").rglob("*.java")]
    classes = f"{tmp_path / 'classes'}{os.pathsep}{tmp_path / 'jars'}{os.sep}*"
    run(
        *(javac, "-parameters", "-nowarn", "-proc:none", "-cp", classes),
        *("-d", tmp_path / "classes", *sources, HERE / "drivers" / "Walk.java"),
    )
    apis = [f"walked.api.{path.stem}" for path in sources if path.parent.name == "api"]
    walk(installation, document, tmp_path, java, "-cp", classes, "Walk", last=apis)


def needs_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on the path")
    return path


def needs_generator(name: str) -> Path:
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(f'{name} is not installed: pip install -e ".[clients]"')
    return program


def generate(generator: str, document_file: Path, directory: Path, properties: str) -> None:
    """Generate a client without a warning."""
    program = needs_generator("openapi-generator-cli")
    needs_program("java")
    said = run(
        *(program, "generate", "-g", generator),
        *("-i", document_file, "-o", directory, f"--additional-properties={properties}"),
        *("--global-property", "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"),
    )
    warnings = [line for line in said.splitlines() if "WARN" in line or "ERROR" in line]
    assert [line for line in warnings if not line.endswith(OF_EVERY_DOCUMENT)] == []


def run(*command: str | Path) -> str:
    finished = subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MINUTES,
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def walk(
    installation: Installation,
    document: Any,
    directory: Path,
    *command: str | Path,
    last: Sequence[str] = (),
) -> None:
    """Let a driver call every operation, and look at the answers."""
    token = installation.http.post(
        "/api/auth/token", json={"userName": "admin", "password": PASSWORD}
    )
    plan = {
        "url": f"http://127.0.0.1:{installation.port}",
        "token": token.json()["accessToken"],
        "steps": steps(document, things(installation)),
    }
    file = directory / "plan.json"
    file.write_text(json.dumps(plan))
    finished = subprocess.run(
        [str(part) for part in (*command, file, *last)],
        env=ENVIRONMENT | {"PYTHONPATH": str(directory)},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=MINUTES,
    )
    assert finished.returncode == 0, finished.stdout[-500:] + finished.stderr
    answers = [json.loads(line) for line in finished.stdout.splitlines()]
    expected = [(step["operationId"], step["status"]) for step in plan["steps"]]
    assert [(answer["operationId"], answer["status"]) for answer in answers] == expected
    events = {each["operationId"]: each["answer"] for each in answers}["streamRunEvents"]
    assert "event: run-finished\n" in events
