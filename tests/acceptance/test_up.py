"""What `manage.py up` shows and does."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.acceptance.children import by_age
from tests.acceptance.installation import ROOT, Installation, ended
from tests.acceptance.processes import is_at_work
from tests.databases import fresh_database
from tests.waiting import PATIENCE, wait_for

TRAIL = (
    "import time\n"
    "def run(message, context):\n"
    "    time.sleep(0.01)\n"
    "    message['payload'].setdefault('trail', []).append(context.step)\n"
    "    return message\n"
)
THREE_STEPS = {
    "scripts": [{"name": "trail", "code": TRAIL}],
    "queues": [{"name": f"q{n}"} for n in range(3)],
    "flows": [
        {
            "name": "three",
            "steps": [{"name": f"s{n}", "script": "trail", "queue": f"q{n}"} for n in range(3)],
        }
    ],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """As the first command of the README makes one: in an empty database, its password drawn."""
    directory = tmp_path_factory.mktemp("shared")
    with fresh_database(directory) as url, ended(Installation(url, directory)) as shared:
        shared.environment |= {
            "ASYNCENGINE_ADMIN_PASSWORD": "",
            "ASYNCENGINE_CALLABLE_MODULES": "math",
        }
        shared.up()
        wait_for(lambda: "curl" in shared.output.read_text(), what="the curl call")
        password = shared.output.read_text().split("with the password ")[1].split()[0]
        shared.http.auth = httpx.BasicAuth("admin", password)
        shared.configure(THREE_STEPS)
        yield shared


@pytest.fixture
def running(shared: Installation) -> Installation:
    """Start it again where the test before has ended it."""
    assert shared.process is not None
    if shared.process.poll() is not None:
        shared.up("--no-demo")
    return shared


@pytest.mark.long
def test_every_run_completes_exactly_once_though_a_worker_is_killed(running: Installation):
    ids = [running.start("three", {"n": n}) for n in range(300)]
    victim = wait_for(running.workers, what="a working worker")[0]

    victim.kill()

    for n, correlation_id in enumerate(ids):
        run = running.run(correlation_id, wait=30)
        assert run["status"] == "COMPLETED", run
        assert run["result"]["payload"] == {"n": n, "trail": ["s0", "s1", "s2"]}
        assert [step["status"] for step in run["steps"]] == ["COMPLETED"] * 3
        assert all(outcomes(step).count("COMPLETED") == 1 for step in run["steps"])


def outcomes(step):
    return [attempt["outcome"] for attempt in step["attempts"]]


@pytest.mark.long
def test_the_bench_measures_with_the_cluster_that_runs_and_leaves_nothing(running: Installation):
    before = running.manage("config", "export").stdout

    figures = json.loads(running.manage("bench", "flow3", "--runs", "200", "--json").stdout)

    assert figures["runs"] == 200
    assert figures["stepsPerSecond"] > 0
    assert set(figures["latencyMs"]) == {"p50", "p95"}
    assert running.manage("config", "export").stdout == before


@pytest.mark.long
def test_the_original_flow_array_is_imported_into_a_running_system(running: Installation):
    running.configure(
        [
            {
                "flowName": "original",
                "queueMappings": [
                    {"sourceQueueName": "b", "endpointName": "trail", "targetQueueName": "c"},
                    {
                        "sourceQueueName": "a",
                        "endpointName": "trail",
                        "targetQueueName": "b",
                        "maxThreads": 2,
                        "initial": True,
                    },
                ],
            }
        ]
    )
    run = running.run(running.start("original", {}), wait=30)

    assert run["status"] == "COMPLETED"
    assert run["result"]["payload"]["trail"] == ["a", "b"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what processes share")
def test_what_keeps_the_processes_running_shares_what_is_loaded_with_them(running: Installation):
    assert running.process is not None
    keeper = psutil.Process(running.process.pid)
    web, cluster = by_age(keeper.children())

    assert keeper.cmdline()[1:3] == ["-m", "flows.up.keeping"]
    assert [web.is_running(), cluster.is_running()] == [True, True]
    assert "flows.up.server" in web.cmdline()
    assert "qcluster" in cluster.cmdline()
    for process in (keeper, web, cluster):
        memory = process.memory_full_info()
        assert memory.uss < memory.rss / 3
    assert keeper.num_threads() == 1
    assert keeper.net_connections() == []
    assert [each.path for each in keeper.open_files() if "sqlite" in each.path] == []


@pytest.mark.long
def test_a_port_that_is_taken_is_said_at_once(running: Installation):
    second = running.manage("up", "--port", str(running.port), check=False)

    assert second.returncode != 0
    assert f"cannot listen on 127.0.0.1:{running.port}" in second.stderr


@pytest.mark.long
def test_tasks_and_schedules_of_django_q2_run_on_the_same_cluster(running: Installation):
    code = (
        "from django_q.tasks import async_task, schedule, result\n"
        "from django_q.models import Schedule\n"
        "task = async_task('math.copysign', 2, -2)\n"
        f"print(result(task, wait={PATIENCE * 1000}))\n"
    )

    shown = running.manage("shell", "-c", code).stdout

    assert "-2.0" in shown


def test_the_curl_call_that_up_prints_starts_the_demo_flow(running: Installation):
    output = running.output.read_text()
    curl = next(line for line in output.splitlines() if line.strip().startswith("curl"))

    answer = subprocess.run(
        ["bash", "-c", f"{curl.strip()} --silent"], capture_output=True, text=True, check=True
    )

    started = json.loads(answer.stdout)
    assert started["status"] == "QUEUED"
    run = running.run(started["correlationId"], wait=30)
    assert run["status"] == "COMPLETED"
    assert len(run["steps"]) == 3


@pytest.mark.long
def test_the_sample_of_the_demo_runs_through(running: Installation):
    sample = ROOT / "flows" / "demo" / "applications.json"

    started = running.manage("start", "loan-application", "--payload", f"@{sample}")

    ids = started.stdout.split()
    assert len(ids) == 1000
    assert {running.run(id, wait=60)["status"] for id in ids} == {"COMPLETED"}


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_stop_signal_drains_and_ends_with_0_and_a_kill_leaves_no_process(
    running: Installation, number: int
):
    ids = [running.start("three", {"n": n}) for n in range(50)]
    family = running.family()

    code = running.stop(number)

    assert code == 0
    assert [process for process in family if is_at_work(process)] == []
    running.up("--no-demo")
    assert {running.run(id, wait=30)["status"] for id in ids} == {"COMPLETED"}
    assert_no_process_is_left_when_it_is_killed(running)


def assert_no_process_is_left_when_it_is_killed(installation: Installation) -> None:
    """Kill an installation that has done some work: one more start would show no more."""
    family = installation.family()
    assert installation.process is not None
    assert len(family) > 3

    installation.process.kill()
    installation.process.wait()

    wait_for(lambda: not any(map(is_at_work, family)), 10, "the end of every process")
    assert [process for process in family if is_at_work(process)] == []


@pytest.mark.long
def test_a_part_that_is_killed_is_started_again(running: Installation):
    assert running.process is not None
    parts = psutil.Process(running.process.pid).children()
    assert len(parts) == 2
    family = running.family()

    for part in parts:
        part.kill()

    # A web process that has not yet seen its server die still answers, and dies with the answer.
    wait_for(lambda: not any(map(is_at_work, family)), 30, "the end of what the parts had started")
    wait_for(running.is_ready, 30, "the web server's return")
    run = running.run(running.start("three", {}), wait=30)
    assert run["status"] == "COMPLETED"


@pytest.mark.long
def test_no_web_process_is_left_when_its_server_is_killed_while_they_start(
    installation: Installation,
):
    port = str(installation.port)
    serve = ["flows.up.server", "--interface", "asginl", "--port", port, "--workers", "2"]
    server = psutil.Popen(
        [sys.executable, "-m", *serve, "flows.up.asgi:application"],
        cwd=ROOT,
        env=installation.environment,
        stderr=subprocess.DEVNULL,
    )
    workers = wait_for(server.children, 20, "the first web process")

    server.kill()
    server.wait()

    wait_for(lambda: not any(map(is_at_work, workers)), 20, "the end of every web process")
    assert [process for process in (server, *workers) if is_at_work(process)] == []
