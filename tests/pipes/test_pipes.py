"""The Service Pipes, in a real Camel against a running engine.

The tests themselves are in flows/pipes/java/src/test; here they get an engine, and its restarts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flows.pipes.snippets import snippets
from tests.acceptance.installation import PASSWORD, ROOT, Installation
from tests.waiting import wait_for

PIPES = ROOT / "flows" / "pipes"
# Every character that means something to Java, XML, YAML, Camel or a URL.
FLOW_NAME = "a \"b\" 'c' & größe <1> {{x}} \\u0041 $1 +%20#;"
CLERK_PASSWORD = "a&b=c+d%20) } \" ' ö€"
STRANGER_PASSWORD = "a password of a stranger"
ECHO = "def run(message, context):\n    return message\n"
RESULT = "def run(message, context):\n    return message['payload']['result']\n"
BAD = "def run(message, context):\n    raise Reject('no luck')\n"
LANGUAGES = ("java", "xml", "yaml")
CALLS = 500
LINES = 2_000
# The oldest and the newest; Camel's XML DSL of the newest version is not to be had everywhere, and
# the newest that is takes its time in the long runs.
VERSIONS = {"4.14.0": LANGUAGES, "4.18.0": ("xml",), "4.22.0": ("java", "yaml")}
OLDEST = "4.14.0"
LONG_RUNS = ("4.18.0",)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("mvn") and shutil.which("javac")),
        reason="needs Maven and a JDK of Java 17 or newer: mvn and javac are not on the path",
    ),
]


def flow(name: str, script: str = "echo", queue: str = "") -> dict[str, object]:
    return {"name": name, "steps": [{"name": "s", "script": script, "queue": queue or name}]}


FULL = [f"full-{name}{kind}" for name in LANGUAGES for kind in ("", "-paused", "-said")]
RATED = [f"rated-{name}" for name in LANGUAGES]
OPEN = [f"restart-{name}{kind}" for name in LANGUAGES for kind in ("", "-once")]
CONFIGURATION = {
    "scripts": [
        {"name": "echo", "code": ECHO},
        {"name": "result", "code": RESULT},
        {"name": "bad", "code": BAD},
    ],
    "queues": [
        *({"name": name} for name in ("odd", "echo", "result", "bad", "lines", *OPEN, *RATED)),
        *({"name": name, "size": 1, "paused": True} for name in FULL),
    ],
    "flows": [
        flow(FLOW_NAME, queue="odd"),
        *(flow(name) for name in ("echo", "lines", *OPEN, *FULL)),
        *(flow(name) | {"startRate": {"count": 1, "periodSeconds": 10}} for name in RATED),
        flow("result", "result"),
        flow("bad", "bad"),
    ],
    "rbac": {"clerks": {"start": ["*"], "watch": ["*"]}},
}
USERS = f"""
from django.contrib.auth.models import Group, User
clerk = User.objects.create_user("clerk", password={CLERK_PASSWORD!r})
clerk.groups.add(Group.objects.get(name="clerks"))
User.objects.create_user("stranger", password={STRANGER_PASSWORD!r})
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its classes, compiled with the oldest Camel, for all tests that need it."""
    pipes = copy_sources(tmp_path_factory.mktemp("compiled") / "pipes")
    ran = maven(pipes / "java", "test-compile")
    assert ran.returncode == 0, ran.stdout[-20_000:]
    return pipes


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=[pytest.mark.chaos] * (version in LONG_RUNS))
        for version in VERSIONS
    ],
)
def test_the_pipes_keep_their_promises_in_every_language(
    installation: Installation, compiled: Path, tmp_path: Path, version: str
):
    languages = VERSIONS[version]
    installation.up("--no-demo")
    installation.configure(CONFIGURATION)
    installation.manage("shell", "-c", USERS)
    describe_engine(installation, tmp_path)
    if version == OLDEST:
        project, goal = shutil.copytree(compiled, tmp_path / "pipes"), "surefire:test"
    else:
        project, goal = copy_sources(tmp_path / "pipes"), "test"

    code, output = run_maven(installation, project / "java", goal, version)

    assert code == 0, output
    for language in languages:
        tests, not_run = report(project / "java", language)
        assert tests >= 20
        assert not_run == 0
        require_each_run_once(installation, f"restart-{language}")


def test_the_component_outlasts_every_fault_of_a_scripted_engine(compiled: Path, tmp_path: Path):
    project = shutil.copytree(compiled, tmp_path / "pipes")

    ran = maven(project / "java", "surefire:test", "-Dtest=!*PipesTest")

    assert ran.returncode == 0, ran.stdout[-20_000:]
    assert number_of_tests(project / "java" / "target" / "surefire-reports") > 100


def test_the_starter_configures_an_application_of_spring_boot(compiled: Path):
    install(compiled)

    ran = maven(compiled / "java-spring-boot", "test")

    assert ran.returncode == 0, ran.stdout[-20_000:]
    reports = compiled / "java-spring-boot" / "target" / "surefire-reports"
    assert number_of_tests(reports) >= 5


def test_a_file_of_two_thousand_lines_is_as_many_runs_over_kills_of_engine_and_application(
    installation: Installation, compiled: Path, tmp_path: Path
):
    installation.up("--no-demo")
    installation.configure(CONFIGURATION)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    lines = [json.dumps({"n": n}) for n in range(LINES)]
    (inbox / "lines.ndjson").write_text("\n".join(lines))

    with application(installation, compiled, inbox):
        runs_reach(installation, LINES // 6)
        kill_and_start(installation)
        runs_reach(installation, LINES // 3)
    with application(installation, compiled, inbox):
        runs_reach(installation, LINES // 2)
        kill_and_start(installation)
        wait_for((inbox / ".camel" / "lines.ndjson").exists, 600, "the end of the file")

    assert number_of_runs(installation) == LINES
    require_each_run_once(installation, "lines", LINES)


@contextmanager
def application(installation: Installation, project: Path, inbox: Path) -> Iterator[None]:
    """Run an application that starts a flow for each line of the files in a folder; kill it."""
    command = ["mvn", "--batch-mode", "--quiet", "org.codehaus.mojo:exec-maven-plugin:3.6.2:java"]
    command += ["-Dexec.mainClass=asyncengine.pipes.LinesApplication"]
    command += ["-Dexec.classpathScope=test", f"-Dexec.args={inbox}"]
    environment = os.environ | {
        "ASYNCENGINE_URL": f"http://127.0.0.1:{installation.port}",
        "ASYNCENGINE_USERNAME": "admin",
        "ASYNCENGINE_PASSWORD": PASSWORD,
    }
    with (installation.directory / "application.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=project / "java", env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def kill_and_start(installation: Installation) -> None:
    installation.stop(signal.SIGKILL)
    installation.up("--no-demo")


def number_of_runs(installation: Installation) -> int:
    sql = (
        "SELECT COUNT(*) FROM flows_run r JOIN flows_flowversion v ON v.id = r.flow_version_id"
        " WHERE v.flow_name = 'lines'"
    )
    return int(installation.rows(sql)[0][0])


def runs_reach(installation: Installation, number: int) -> None:
    wait_for(lambda: number_of_runs(installation) >= number, 300, f"{number} runs")


def copy_sources(directory: Path) -> Path:
    return shutil.copytree(PIPES, directory, ignore=shutil.ignore_patterns("target"))


def install(project: Path) -> None:
    """Put the module into the local repository."""
    installed = maven(project / "java", "install", "-DskipTests", "-Dmaven.javadoc.skip")
    assert installed.returncode == 0, installed.stdout[-20_000:]


def maven(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mvn", "--batch-mode", "--quiet", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=900,
    )


def number_of_tests(reports: Path) -> int:
    suites = [ElementTree.parse(suite).getroot() for suite in reports.glob("TEST-*.xml")]
    return sum(int(suite.get("tests", "0")) for suite in suites)


def describe_engine(installation: Installation, directory: Path) -> None:
    """Leave what the tests of the Java side read: where the engine is, and the snippets."""
    properties = {
        "engine.url": f"http://127.0.0.1:{installation.port}",
        "engine.password": PASSWORD,
        "clerk.password": CLERK_PASSWORD,
        "stranger.password": STRANGER_PASSWORD,
    }
    lines = [f"{key}={value}\n" for key, value in properties.items()]
    (directory / "engine.properties").write_text("".join(lines))
    (directory / "flow-name").write_text(FLOW_NAME)
    java, xml, yaml = (snippet.code for snippet in snippets(FLOW_NAME))
    (directory / "Snippet.java").write_text(
        "public class Snippet extends org.apache.camel.builder.RouteBuilder {\n"
        f'public void configure() {{ from("direct:in")\n{java}\n}} }}\n'
    )
    (directory / "snippet.xml").write_text(
        f'<routes><route><from uri="direct:in"/>\n{xml}\n</route></routes>\n'
    )
    steps = "".join(f"        {line}\n" for line in yaml.splitlines())
    (directory / "snippet.yaml").write_text(
        f"- route:\n    from:\n      uri: direct:in\n      steps:\n{steps}"
    )


def run_maven(
    installation: Installation, project: Path, goal: str, version: str
) -> tuple[int, str]:
    """Run the tests, and restart the engine when they ask for it. Returns exit code and output."""
    directory = installation.directory
    command = ["mvn", "--batch-mode", "--quiet", goal, f"-Dcamel.version={version}"]
    command.append(f"-DargLine=-Dengine.directory={directory}")
    tests = [f"{language.capitalize()}PipesTest" for language in VERSIONS[version]]
    command.append(f"-Dtest={','.join(tests)}")
    if "xml" not in VERSIONS[version]:
        command.append("-Dwithout.xml")
    log = directory / "maven.log"
    with log.open("wb") as output:
        maven = subprocess.Popen(command, cwd=project, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: restarted(installation) or maven.poll() is not None, 600, "Maven")
        finally:
            maven.kill()
    return maven.wait(), log.read_text(errors="replace")[-20_000:]


def restarted(installation: Installation) -> bool:
    """Kill the engine and start it again where a test asks for it. Never true: goes on."""
    for language in LANGUAGES:
        wish = installation.directory / f"restart-{language}"
        if wish.exists():
            installation.stop(signal.SIGKILL)
            wish.rename(installation.directory / f"restarted-{language}")
            installation.up("--no-demo")
    return False


def report(project: Path, language: str) -> tuple[int, int]:
    """Return how many tests there were, and how many of them were skipped or failed."""
    name = f"TEST-asyncengine.pipes.{language.capitalize()}PipesTest.xml"
    suite = ElementTree.parse(project / "target" / "surefire-reports" / name).getroot()
    not_run = sum(int(suite.get(kind, "0")) for kind in ("skipped", "failures", "errors"))
    return int(suite.get("tests", "0")), not_run


def require_each_run_once(installation: Installation, flow_name: str, number: int = CALLS) -> None:
    sql = (
        "SELECT r.status, r.result FROM flows_run r"
        " JOIN flows_flowversion v ON v.id = r.flow_version_id"
        f" WHERE v.flow_name = '{flow_name}'"
    )

    def all_completed() -> bool:
        return all(status == "COMPLETED" for status, _ in installation.rows(sql))

    wait_for(all_completed, 30, "the end of all runs")
    payloads = [json.loads(result)["payload"]["n"] for _, result in installation.rows(sql)]
    assert sorted(payloads) == list(range(number))
