"""The command `asyncengine-client`: the verbs of callers and operators, from a shell."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from asyncengine_client.client import Client
from asyncengine_client.errors import ApiError, ClientError, RunNotEnded
from asyncengine_client.settings import TOKEN

# 1: refused, or the run failed. 2: a wrong command line, as argparse has it. 3: not ended in time.
REFUSED, NOT_ENDED = 1, 3

# What a command does, and what adds one by name and text.
Act = Callable[[Client, Any], int]
Verb = Callable[[str, str, Act], argparse.ArgumentParser]


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        with Client(options.url, token=options.token, patience=options.patience) as engine:
            code: int = options.act(engine, options)
            return code
    except RunNotEnded as error:
        print_json(error.run)
        return NOT_ENDED
    except ApiError as error:
        print(f"{error.detail} ({error.type or error.status})", file=sys.stderr)
        for each in error.problem.get("errors", []):
            print(f"  {json.dumps(each, ensure_ascii=False)}", file=sys.stderr)
        if error.type == "not-authenticated" and not (options.token or os.environ.get(TOKEN)):
            print(f"The token is missing: give it, or set {TOKEN}.", file=sys.stderr)
    except (ClientError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return REFUSED


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="asyncengine-client", description="Calls an Async Engine by HTTP. Answers are JSON."
    )
    top.add_argument("--url", help="of the engine; else ASYNCENGINE_URL")
    top.add_argument("--token", help="of the caller; better in ASYNCENGINE_TOKEN")
    top.add_argument(
        *("--patience", "-p"),
        type=float,
        default=0.0,
        help="seconds in which a call is tried again while the engine is away or the queue full",
    )
    verbs = top.add_subparsers(required=True, metavar="command")

    def verb(name: str, text: str, act: Act) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(act=act)
        return added

    add_starts(verb)
    add_runs(verb)
    add_letters(verb)
    add_queues(verb)
    return top


def add_starts(verb: Verb) -> None:
    start = verb("start", "Starts a run.", do_start)
    start.add_argument("flow")
    start.add_argument("payload", help="a JSON object, @FILE, or - for standard input")
    start.add_argument("--key", help="the idempotency key")
    start.add_argument("--wait", type=float, metavar="SECONDS", help="for the end of the run")
    add_options_of_starts(start)

    batch = verb("batch", "Starts a run for each line of a file of JSON objects.", do_batch)
    batch.add_argument("flow")
    batch.add_argument("file", help="or - for standard input")
    batch.add_argument("--key-field", help="the member that is a line's key: may be sent again")
    batch.add_argument("--wait", type=float, default=60.0, help="for room for a line, in seconds")
    add_options_of_starts(batch)


def add_runs(verb: Verb) -> None:
    for name, text, act in (
        ("run", "Shows a run.", do_run),
        ("wait", "Waits for the end of a run.", do_wait),
        ("events", "Prints what happens in a run, an event a line.", do_events),
        ("cancel", "Cancels a run.", do_cancel),
        ("again", "Starts a finished run anew.", do_again),
    ):
        of_run = verb(name, text, act)
        of_run.add_argument("correlation_id")
        if name == "wait":
            of_run.add_argument("--seconds", type=float, default=60.0)
        if name == "again":
            of_run.add_argument("--from-step")
            of_run.add_argument("--payload", help="in place of its own: JSON, @FILE or -")
            of_run.add_argument("--key", help="the idempotency key")
            of_run.add_argument("--wait", type=float, metavar="SECONDS", help="for its end")

    many = verb("cancel-runs", "Cancels the runs that match, or all.", do_cancel_runs)
    many.add_argument("--flow")
    many.add_argument("--status", action="append")
    many.add_argument("--label", action="append", type=label, default=[])
    many.add_argument("--started-by")
    add_options_of_many(many)

    runs = verb("runs", "Lists runs, one a line.", do_runs)
    runs.add_argument("--flow")
    runs.add_argument("--status", action="append")
    runs.add_argument("--label", action="append", type=label, default=[])
    runs.add_argument("--started-by")
    runs.add_argument("--limit", type=int, default=100)


def add_letters(verb: Verb) -> None:
    letters = verb("dead-letters", "Lists open dead letters, one a line.", do_letters)
    letters.add_argument("--flow")
    letters.add_argument("--limit", type=int, default=100)
    reprocess = verb("reprocess", "Has a dead letter go on.", do_reprocess)
    reprocess.add_argument("id", type=int)
    reprocess.add_argument("--payload", help="in place of its own: JSON, @FILE or -")
    reprocess.add_argument("--newest-script", action="store_true")
    reprocess.add_argument("--wait", type=float, metavar="SECONDS", help="for the end of its run")
    many = verb("reprocess-many", "Reprocesses the dead letters that match, or all.", do_many)
    many.add_argument("--flow")
    many.add_argument("--queue")
    many.add_argument("--newest-script", action="store_true")
    add_options_of_many(many)
    discard = verb("discard", "Discards a dead letter.", do_discard)
    discard.add_argument("id", type=int)


def add_queues(verb: Verb) -> None:
    for name, text, act in (
        ("pause", "Pauses a queue.", do_pause),
        ("resume", "Resumes a queue.", do_resume),
    ):
        of_queue = verb(name, text, act)
        of_queue.add_argument("queue")
        of_queue.add_argument("--reason")
    for name, text, act in (
        ("pause-flow", "Pauses a flow.", do_pause_flow),
        ("resume-flow", "Resumes a flow.", do_resume_flow),
    ):
        of_flow = verb(name, text, act)
        of_flow.add_argument("flow")
        of_flow.add_argument("--reason")
    verb("queues", "Lists queues, one a line.", lambda engine, _: print_lines(engine.queues()))
    verb("flows", "Lists flows, one a line.", lambda engine, _: print_lines(engine.flows()))


def add_options_of_many(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="in place of a filter")
    parser.add_argument("--dry-run", action="store_true", help="count, and do nothing")
    parser.add_argument("--reason", help="for the audit log")


def add_options_of_starts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", action="append", type=label, default=[], metavar="KEY:VALUE")
    parser.add_argument("--priority", type=int, choices=range(10))
    parser.add_argument("--start-at", metavar="TIME", help="RFC 3339")
    parser.add_argument("--deadline", metavar="TIME", help="RFC 3339, or seconds")
    parser.add_argument("--callback-url", metavar="URL", help="is told the end of a run")


def options_of_start(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "labels": labels_of(options),
        "priority": options.priority,
        "start_at": options.start_at,
        "deadline": options.deadline,
        "callback_url": options.callback_url,
    }


def label(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY:VALUE")
    return key, value


def labels_of(options: argparse.Namespace) -> dict[str, str]:
    """Return labels by their keys. Raises ClientError for a key that is given twice."""
    found: dict[str, str] = {}
    for key, value in options.label:
        if key in found:
            raise ClientError(f"The key {key!r} of a label is given more than once.")
        found[key] = value
    return found


def payload_of(text: str) -> bytes:
    """Return the text of a payload, which goes as it is."""
    if text == "-":
        raw = sys.stdin.buffer.read()
    elif text.startswith("@"):
        raw = Path(text[1:]).read_bytes()
    else:
        raw = text.encode()
    try:
        json.loads(raw)
    except ValueError as error:
        raise ClientError(f"The payload is no JSON: {error}.") from None
    return raw


def do_start(engine: Client, options: argparse.Namespace) -> int:
    payload, given = payload_of(options.payload), options_of_start(options)
    if options.wait:
        run = engine.start_and_wait(
            options.flow, payload, seconds=options.wait, key=options.key, **given
        )
        return print_run(run)
    return print_json(engine.start(options.flow, payload, key=options.key, **given))


def do_batch(engine: Client, options: argparse.Namespace) -> int:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with (
        lines_in(options.file) as file,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task(options.flow, total=file.stat().st_size)
        done = engine.start_batch(
            options.flow,
            file,
            key_field=options.key_field,
            wait=options.wait,
            progress=lambda sent, _: bar.update(task, completed=sent),
            **options_of_start(options),
        )
    print_json(done)
    return REFUSED if done["rejectedCount"] else 0


@contextmanager
def lines_in(name: str) -> Iterator[Path]:
    """Yield the file; standard input is kept in one, for lines may have to be sent again."""
    if name != "-":
        yield Path(name)
        return
    with NamedTemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield Path(kept.name)


def do_run(engine: Client, options: argparse.Namespace) -> int:
    return print_json(engine.run(options.correlation_id))


def do_wait(engine: Client, options: argparse.Namespace) -> int:
    return print_run(engine.wait(options.correlation_id, seconds=options.seconds))


def do_events(engine: Client, options: argparse.Namespace) -> int:
    return print_lines(engine.run_events(options.correlation_id))


def do_cancel(engine: Client, options: argparse.Namespace) -> int:
    return print_json(engine.cancel(options.correlation_id))


def do_again(engine: Client, options: argparse.Namespace) -> int:
    payload = None if options.payload is None else payload_of(options.payload)
    given = {"payload": payload, "from_step": options.from_step, "key": options.key}
    if options.wait:
        id = options.correlation_id
        return print_run(engine.run_again_and_wait(id, seconds=options.wait, **given))
    return print_json(engine.run_again(options.correlation_id, **given))


def do_cancel_runs(engine: Client, options: argparse.Namespace) -> int:
    chosen = {
        "flowName": options.flow,
        "status": options.status,
        "labels": labels_of(options) or None,
        "startedBy": options.started_by,
    }
    return print_json(engine.cancel_runs(filter_of(chosen), **options_of_many(options)))


def filter_of(chosen: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in chosen.items() if value is not None} or None


def options_of_many(options: argparse.Namespace) -> dict[str, Any]:
    return {"all": options.all, "dry_run": options.dry_run, "reason": options.reason}


def do_runs(engine: Client, options: argparse.Namespace) -> int:
    found = engine.runs(
        flow=options.flow,
        status=options.status,
        labels=labels_of(options),
        started_by=options.started_by,
    )
    return print_lines(found, options.limit)


def do_letters(engine: Client, options: argparse.Namespace) -> int:
    return print_lines(engine.dead_letters(flow=options.flow), options.limit)


def do_reprocess(engine: Client, options: argparse.Namespace) -> int:
    payload = None if options.payload is None else payload_of(options.payload)
    newest = options.newest_script or None
    if options.wait:
        run = engine.reprocess_and_wait(
            options.id, seconds=options.wait, payload=payload, newest_script=newest
        )
        return print_run(run)
    return print_json(engine.reprocess(options.id, payload=payload, newest_script=newest))


def do_many(engine: Client, options: argparse.Namespace) -> int:
    chosen = filter_of({"flowName": options.flow, "queue": options.queue})
    given = options_of_many(options) | {"newest_script": options.newest_script}
    return print_json(engine.reprocess_many(chosen, **given))


def do_discard(engine: Client, options: argparse.Namespace) -> int:
    engine.discard(options.id)
    return 0


def do_pause(engine: Client, options: argparse.Namespace) -> int:
    return print_json(engine.pause(options.queue, options.reason))


def do_resume(engine: Client, options: argparse.Namespace) -> int:
    return print_json(engine.resume(options.queue, options.reason))


def do_pause_flow(engine: Client, options: argparse.Namespace) -> int:
    return print_json(engine.pause_flow(options.flow, options.reason))


def do_resume_flow(engine: Client, options: argparse.Namespace) -> int:
    return print_json(engine.resume_flow(options.flow, options.reason))


def print_run(run: Any) -> int:
    print_json(run)
    return 0 if run["status"] == "COMPLETED" else REFUSED


def print_json(answer: Any) -> int:
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 0


def print_lines(answers: Iterable[Any], limit: int | None = None) -> int:
    for number, answer in enumerate(answers):
        if limit is not None and number >= limit:
            print(f"There are more than {limit}: give a larger --limit.", file=sys.stderr)
            break
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    return 0
