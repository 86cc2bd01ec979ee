"""The client for callers, against an installation that runs."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncengine_client import (
    ApiError,
    AsyncClient,
    BatchInterrupted,
    Client,
    ClientError,
    NoConnection,
    NotFound,
    QueueFull,
    Refused,
    RunNotEnded,
    calls,
)
from asyncengine_client.command import main, parser

from tests.acceptance.installation import (
    PASSWORD,
    ROOT,
    Installation,
    free_port,
    installation_in,
)
from tests.waiting import PATIENCE, wait_for

DOUBLE = (
    "def run(message, context):\n    return message | {'payload': message['payload']['n'] * 2}\n"
)
FAILING = "def run(message, context):\n    raise ValueError('never')\n"
CONFIGURATION: Any = {
    "scripts": [{"name": "double", "code": DOUBLE}, {"name": "failing", "code": FAILING}],
    "queues": [
        {"name": "double"},
        {"name": "narrow", "size": 5},
        {"name": "failing", "maxDeliveries": 1},
    ],
    "flows": [
        {"name": f"{flow} ä?b", "steps": [{"name": "s", "script": script, "queue": queue}]}
        for flow, script, queue in (
            ("double", "double", "double"),
            ("narrow", "double", "narrow"),
            ("failing", "failing", "failing"),
        )
    ],
}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "asyncengine" / "client")}
DOUBLES, NARROW, FAILS = "double ä?b", "narrow ä?b", "failing ä?b"


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The installation before it is started."""
    with installation_in(tmp_path_factory.mktemp("client")) as installation:
        yield installation


@pytest.fixture(scope="module")
def early_call(away: Installation) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command that calls the engine before there is one."""
    with subprocess.Popen(
        [*command(f"http://127.0.0.1:{away.port}", "none"), "-p", "600", "queues"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    ) as call:
        yield call
        call.kill()


@pytest.fixture(scope="module")
def installation(away: Installation, early_call: subprocess.Popen[bytes]) -> Installation:
    away.up("--no-demo")
    away.configure(CONFIGURATION)
    return away


@pytest.fixture(scope="module")
def url(installation: Installation) -> str:
    return f"http://127.0.0.1:{installation.port}"


@pytest.fixture(scope="module")
def token(installation: Installation) -> str:
    answer = installation.http.post(
        "/api/auth/token", json={"userName": "admin", "password": PASSWORD}
    )
    token: str = answer.json()["accessToken"]
    return token


@pytest.fixture
def engine(url: str, token: str) -> Iterator[Client]:
    with Client(url, token=token) as engine:
        yield engine


def test_a_run_is_started_awaited_and_found(engine: Client) -> None:
    run = engine.start_and_wait(DOUBLES, {"n": 21}, seconds=PATIENCE, labels={"order": "4711"})

    assert (run["status"], run["result"]["payload"]) == ("COMPLETED", 42)
    assert run["labels"] == {"order": "4711"}
    assert [each["correlationId"] for each in engine.runs(labels={"order": "4711"})] == [
        run["correlationId"]
    ]
    assert engine.run(run["correlationId"]) == run
    kinds = [event["event"] for event in engine.run_events(run["correlationId"])]
    assert kinds == ["step-finished", "run-finished"]


def test_the_same_key_is_the_same_run(engine: Client) -> None:
    first, second = (engine.start(DOUBLES, {"n": 1}, key="one") for _ in range(2))

    assert first["correlationId"] == second["correlationId"]
    with pytest.raises(Refused, match="idempotency-conflict"):
        engine.start(DOUBLES, {"n": 2}, key="one")


def test_a_full_queue_raises_or_is_waited_for(engine: Client, url: str, token: str) -> None:
    engine.pause("narrow", "a test")
    for number in range(5):
        engine.start(NARROW, {"n": number})

    with pytest.raises(QueueFull) as refusal:
        engine.start(NARROW, {"n": 5})

    assert refusal.value.retry_after

    engine.resume("narrow")
    with Client(url, token=token, patience=PATIENCE) as patient:
        run = patient.start_and_wait(NARROW, {"n": 4}, seconds=PATIENCE)
    assert run["result"]["payload"] == 8


def test_a_file_goes_into_a_queue_that_is_smaller(engine: Client, tmp_path: Path) -> None:
    file, told = tmp_path / "lines.ndjson", []
    lines = [json.dumps({"n": number, "id": f"line {number}"}) for number in range(40)]
    lines[7] = "{no JSON"
    file.write_text("\n".join(lines))

    done = engine.start_batch(
        NARROW, file, key_field="id", wait=1, progress=lambda *sent: told.append(sent)
    )
    again = engine.start_batch(NARROW, file, key_field="id", wait=1)

    assert (done["accepted"], done["rejectedCount"]) == (39, 1)
    assert [each["line"] for each in done["rejected"]] == [8]
    assert done["correlationIds"] == again["correlationIds"]
    assert told[-1][0] >= told[-1][1] == file.stat().st_size


def test_a_batch_gives_up_where_the_queue_stays_full(engine: Client) -> None:
    engine.pause("narrow")
    try:
        with pytest.raises(BatchInterrupted, match="line 6: The first queue"):
            engine.start_batch(NARROW, [{"n": n} for n in range(9)], wait=0, patience=0)
    finally:
        engine.resume("narrow")


def test_a_dead_letter_is_found_and_reprocessed(engine: Client) -> None:
    run = engine.start_and_wait(FAILS, {"n": 1}, seconds=PATIENCE)
    assert run["status"] == "FAILED"

    [letter] = engine.dead_letters(correlation_id=run["correlationId"])

    assert [letter["id"]] == run["deadLetterIds"]
    assert engine.dead_letter(letter["id"])["error"] == letter["error"]
    assert engine.reprocess(letter["id"])["correlationId"] == run["correlationId"]
    failed = engine.wait(run["correlationId"], seconds=PATIENCE)
    [letter] = engine.dead_letters(correlation_id=failed["correlationId"])
    engine.discard(letter["id"])
    assert not list(engine.dead_letters(correlation_id=failed["correlationId"]))


def test_what_is_done_anew_is_awaited(engine: Client) -> None:
    exact = b'{"n": 123456789012345678901234567890.10}'
    run = engine.start_and_wait(DOUBLES, {"n": 21}, seconds=PATIENCE)
    failed = engine.start_and_wait(FAILS, exact, seconds=PATIENCE)
    [letter] = failed["deadLetterIds"]

    new = engine.run_again_and_wait(
        run["correlationId"], payload=b'{"n": 4}', key="anew", seconds=PATIENCE
    )
    again = engine.run_again(run["correlationId"], payload={"n": 4}, key="anew")
    dead = engine.reprocess_and_wait(letter, payload=exact, seconds=PATIENCE)

    assert (new["result"]["payload"], new["repeats"]) == (8, run["correlationId"])
    assert again["correlationId"] == new["correlationId"]
    assert (dead["status"], dead["correlationId"]) == ("FAILED", failed["correlationId"])
    [other] = set(dead["deadLetterIds"]) - {letter}
    assert engine._answer(calls.one("dead-letters", other)).content.count(exact) == 1


def test_many_are_counted_cancelled_and_reprocessed(engine: Client) -> None:
    engine.pause("double")
    started = {
        engine.start(DOUBLES, {"n": n}, labels={"many": "yes"})["correlationId"] for n in range(5)
    }
    chosen = {"flowName": DOUBLES, "labels": {"many": "yes"}}
    listed = engine.runs(labels={"many": "yes"}, page_size=2)

    assert {run["correlationId"] for run in listed} == started
    assert engine.count_runs(labels={"many": "yes"})["QUEUED"] == 5
    assert engine.cancel_runs(chosen, dry_run=True)["matched"] == 5
    with pytest.raises(Refused, match="payload-invalid"):
        engine.cancel_runs({})
    assert engine.cancel_runs(chosen, reason="a test")["matched"] == 5
    wait_for(lambda: engine.count_runs(labels={"many": "yes"})["CANCELLED"] == 5, what="the end")
    engine.resume("double")
    engine.start_and_wait(FAILS, {"n": 1}, seconds=PATIENCE)
    letters = len(list(engine.dead_letters(flow=FAILS, page_size=1)))
    assert engine.reprocess_many(all=True, dry_run=True)["matched"] == letters > 0


def test_errors_tell_what_is_wrong(engine: Client, url: str) -> None:
    with pytest.raises(NotFound):
        engine.run("01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e")
    with pytest.raises(ApiError, match="401"), Client(url, token="none") as stranger:
        stranger.start(DOUBLES, {})
    with pytest.raises(NoConnection), Client(f"http://127.0.0.1:{free_port()}") as absent:
        absent.start(DOUBLES, {})
    with pytest.raises(ClientError, match="http"):
        Client("engine.example")
    # One that is empty by mistake would be another with each call.
    for key in ("", "ä", "a\n"):
        with pytest.raises(ValueError, match="idempotency key"):
            engine.start(DOUBLES, {"n": 1}, key=key)
    with pytest.raises(ValueError, match="colon"):
        engine.start(DOUBLES, {"n": 1}, labels={"a:b": "c"})
    engine.pause("double")
    started = engine.start(DOUBLES, {"n": 1})
    with pytest.raises(RunNotEnded) as waited:
        engine.wait(started["correlationId"], seconds=0)
    assert waited.value.run["status"] == "QUEUED"
    assert engine.cancel(started["correlationId"])["status"] == "CANCELLED"
    engine.resume("double")


def test_a_call_outlasts_an_engine_that_is_away(
    installation: Installation, early_call: subprocess.Popen[bytes]
) -> None:
    # It has been asked, and has refused the token.
    assert b"(not-authenticated)" in early_call.communicate(timeout=PATIENCE)[0]
    assert early_call.returncode == 1


def test_the_client_for_asyncio_does_the_same(url: str, token: str) -> None:
    async def many() -> list[Any]:
        async with AsyncClient(url, token=token) as engine:
            starts = (engine.start_and_wait(DOUBLES, {"n": n}, seconds=PATIENCE) for n in range(9))
            runs = await asyncio.gather(*starts)
            done = await engine.start_batch(DOUBLES, [{"n": 1}, {"n": 2}])
            events = [each async for each in engine.run_events(runs[0]["correlationId"])]
            flows = [each["name"] async for each in engine.flows()]
            again = await engine.run_again_and_wait(runs[0]["correlationId"], seconds=PATIENCE)
            counts = await engine.count_runs(flow=DOUBLES)
            assert again["repeats"] == runs[0]["correlationId"]
            assert counts["COMPLETED"] >= len(runs)
            return [runs, done["accepted"], events[-1]["event"], flows]

    runs, accepted, last, flows = asyncio.run(many())

    assert [run["result"]["payload"] for run in runs] == [2 * n for n in range(9)]
    assert (accepted, last) == (2, "run-finished")
    assert {DOUBLES, NARROW, FAILS} <= set(flows)


def test_both_clients_take_the_same() -> None:
    def methods(of: type) -> dict[str, list[str]]:
        public = inspect.getmembers(of, inspect.isfunction)
        return {
            name: [str(each) for each in inspect.signature(method).parameters.values()]
            for name, method in public
            if not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)


def test_the_page_shows_commands_that_there_are() -> None:
    page = (ROOT / "asyncengine" / "client" / "README.md").read_text()
    shown = re.findall(r"^asyncengine-client (\w+)", page, re.MULTILINE)

    assert shown
    for verb in shown:
        with pytest.raises(SystemExit) as end:
            parser().parse_args([verb, "--help"])
        assert end.value.code == 0


def command(url: str, token: str) -> list[str]:
    code = "from asyncengine_client.command import main; raise SystemExit(main())"
    return [sys.executable, "-c", code, "--url", url, "--token", token]


def test_the_command_is_a_process_of_a_shell(url: str, token: str) -> None:
    done = subprocess.run(
        [*command(url, token), "start", DOUBLES, '{"n": 4}', "--wait", str(PATIENCE)],
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    )

    assert json.loads(done.stdout)["result"]["payload"] == 8


def test_the_command_takes_the_lines_of_a_batch_from_standard_input(url: str, token: str) -> None:
    done = subprocess.run(
        [*command(url, token), "batch", DOUBLES, "-"],
        input=b'{"n": 1}\n{"n": 2}\n',
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    )

    assert json.loads(done.stdout)["accepted"] == 2


def test_the_command_says_where_a_token_is_to_be_given(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASYNCENGINE_TOKEN", raising=False)

    assert main(["--url", url, "runs"]) == 1

    assert "The token is missing: give it, or set ASYNCENGINE_TOKEN." in capsys.readouterr().err


@pytest.mark.long
def test_the_command_does_what_the_client_does(
    url: str, token: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*arguments: str, code: int = 0) -> list[Any]:
        returned = main(["--url", url, "--token", token, *arguments])
        shown = capsys.readouterr()
        assert returned == code, shown.err
        try:
            return [json.loads(shown.out)]
        except json.JSONDecodeError:
            return [json.loads(line) for line in shown.out.splitlines()] or [shown.err]

    [run] = asked("start", DOUBLES, '{"n": 4}', "--wait", "60", "--label", "from:shell")
    assert run["result"]["payload"] == 8
    assert asked("runs", "--label", "from:shell")[0]["correlationId"] == run["correlationId"]
    (tmp_path / "lines").write_text('{"n": 1}\n{"n": 2}\n')
    assert asked("batch", DOUBLES, str(tmp_path / "lines"))[0]["accepted"] == 2
    assert [each["event"] for each in asked("events", run["correlationId"])][-1] == "run-finished"
    assert asked("pause", "double")[0]["paused"]
    [started] = asked("start", DOUBLES, '{"n": 5}')
    assert asked("wait", started["correlationId"], "--seconds", "0", code=3)
    assert asked("cancel", started["correlationId"])[0]["status"] == "CANCELLED"
    assert not asked("resume", "double")[0]["paused"]
    assert asked("pause-flow", DOUBLES, "--reason", "a test")[0]["paused"]
    assert not asked("resume-flow", DOUBLES)[0]["paused"]
    [again] = asked("again", run["correlationId"], "--payload", '{"n": 6}', "--wait", "60")
    assert (again["result"]["payload"], again["repeats"]) == (12, run["correlationId"])
    assert "filter" in asked("cancel-runs", code=1)[0]
    assert asked("cancel-runs", "--all", "--dry-run")[0]["cancelled"] == 0
    assert asked("cancel-runs", "--label", "from:nowhere")[0]["matched"] == 0
    [failed] = asked("start", FAILS, '{"n": 1}', "--wait", "60", code=1)
    [letter] = failed["deadLetterIds"]
    assert asked("reprocess", str(letter), "--wait", "60", code=1)[0]["status"] == "FAILED"
    assert asked("reprocess-many", "--all", "--dry-run")[0]["matched"] >= 1
    [refusal] = asked("start", "nosuch", "{}", code=1)
    assert "nosuch" in refusal
    assert "no JSON" in asked("start", DOUBLES, "{", code=1)[0]
    wait_for(lambda: asked("runs", "--status", "COMPLETED"), PATIENCE, "a completed run")


@pytest.mark.long
def test_it_is_installed_without_django(url: str, token: str, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip: list[str | Path] = [environment / "bin" / "pip", "install", "--quiet"]
    # Its build leaves files beside the source.
    source = shutil.copytree(ROOT / "asyncengine" / "client", tmp_path / "client")
    subprocess.run([*pip, source], check=True)

    asked = subprocess.run(
        [environment / "bin" / "asyncengine-client", "--url", url, "--token", token, "flows"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert DOUBLES in asked.stdout
    absent = subprocess.run([environment / "bin" / "python", "-c", "import django"])
    assert absent.returncode == 1
