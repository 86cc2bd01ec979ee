from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

import orjson
from django.core.management.base import BaseCommand, CommandError

from flows import engine
from flows.dead_letters import DeadLetterFilter
from flows.errors import FlowError, PayloadUnreadable
from flows.message.envelope import payload_of
from flows.models import DeadLetter, FlowVersion
from flows.monitoring.times import rfc3339
from scripts.checks import ENGINE
from scripts.protocol.json_layout import indented

MOST = 100
FILTERS = {
    "flow": "flow_name",
    "queue": "queue",
    "step": "step",
    "script": "script",
    "reason": "reason",
    "code": "code",
    "text": "text",
}


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Lists open dead letters, shows one, puts them back or discards them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="Print the open ones, newest first.")
        listing.add_argument(
            "--limit", type=int, default=MOST, metavar="N", help=f"At most these. Default: {MOST}"
        )
        listing.add_argument("--json", action="store_true", help="Print one JSON object a line.")
        showing = verbs.add_parser(
            "show", help="Print one as a JSON object, with its payload and the details of a Reject."
        )
        showing.add_argument("id", metavar="ID", type=int)
        back = verbs.add_parser("reprocess", help="Put them back at the step where they failed.")
        back.add_argument(
            "--newest",
            action="store_true",
            help="Go on with the flow and its scripts as they are now.",
        )
        back.add_argument(
            "--payload", metavar="JSON", help="Another payload; for a single dead letter."
        )
        discard = verbs.add_parser("discard", help="Give them up.")
        for verb in (back, discard):
            verb.add_argument("ids", metavar="ID", type=int, nargs="*")
        for verb in (listing, back, discard):
            for name in FILTERS:
                verb.add_argument(
                    f"--{name}", metavar=name.upper(), help=f"Only those with this {name}."
                )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "show":
            self.stdout.write(indented(_whole(options["id"])))
            return
        chosen: dict[str, Any] = {
            of: options[name] for name, of in FILTERS.items() if options[name] is not None
        }
        if options["verb"] == "list":
            letters = DeadLetterFilter(**chosen).open(None)
            unread = letters.unread().select_related("step__flow_version")
            found = unread.order_by("-id")[: max(options["limit"], 0)]
            for letter in found:
                self.stdout.write(
                    json.dumps(_document(letter)) if options["json"] else _text(letter)
                )
            if not letters.exists():
                self._tell_of_none(chosen)
            return
        ids = tuple(options["ids"])
        if bool(ids) == bool(chosen):
            raise CommandError("Name the ids of dead letters or a filter, one of the two.")
        chosen_ids = _chosen(ids, chosen)
        self._decide(chosen_ids, options)
        if not chosen_ids:
            self._tell_of_none(chosen)

    def _tell_of_none(self, chosen: dict[str, Any]) -> None:
        """Tell that none matches. Raises CommandError for a name that no flow has or had."""
        name = chosen.get("flow_name")
        if name is not None and not FlowVersion.objects.filter(flow_name=name).exists():
            raise CommandError(f"There is no flow {name!r}.")
        self.stderr.write("No open dead letter matches.")

    def _decide(self, ids: list[int], options: dict[str, Any]) -> None:
        """Reprocess or discard each, oldest first. The rest follows where one is refused."""
        payload = options.get("payload")
        if payload is not None and len(ids) != 1:
            raise CommandError("--payload goes with a single dead letter.")
        refused = 0
        letters = DeadLetter.objects.unread().select_related("step__flow_version__flow")
        for pk in ids:
            letter = letters.get(pk=pk)
            try:
                if options["verb"] == "discard":
                    run = engine.discard(letter)
                else:
                    given = None if payload is None else payload.encode()
                    run = engine.reprocess(letter, newest_script=options["newest"], payload=given)
            except FlowError as error:
                refused += 1
                self.stderr.write(self.style.ERROR(f"{pk}: {error}"))
            else:
                self.stdout.write(f"{pk}  {run.pk}  {run.status}")
        if refused:
            raise CommandError(f"{refused} of {len(ids)} dead letters were refused.")


def _chosen(ids: tuple[int, ...], chosen: dict[str, Any]) -> list[int]:
    if not ids:
        return list(
            DeadLetterFilter(**chosen).open(None).order_by("id").values_list("pk", flat=True)
        )
    found = set(DeadLetter.objects.filter(pk__in=ids).values_list("pk", flat=True))
    if missing := [pk for pk in ids if pk not in found]:
        raise CommandError(f"There are no dead letters {', '.join(map(str, missing))}.")
    return list(ids)


def _whole(pk: int) -> str:
    try:
        letter = DeadLetter.objects.select_related("step__flow_version").get(pk=pk)
    except DeadLetter.DoesNotExist:
        raise CommandError(f"There is no dead letter {pk}.") from None
    except PayloadUnreadable as error:
        raise CommandError(str(error)) from error
    payload, details = payload_of(letter.body), letter.details
    bodies = {
        "details": None if details is None else orjson.Fragment(details),
        "payload": None if payload is None else orjson.Fragment(payload),
    }
    return orjson.dumps({**_document(letter), **bodies}).decode()


def _document(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.pk,
        "correlationId": str(letter.run_id),
        "flowName": letter.step.flow_version.flow_name,
        "stepName": letter.step.name,
        "queueName": letter.step.queue_name,
        "reason": letter.reason,
        "code": letter.code,
        "error": letter.error,
        "deliveries": letter.deliveries,
        "deadAt": rfc3339(letter.dead_at),
    }


def _text(letter: DeadLetter) -> str:
    shown = _document(letter)
    names = ("id", "deadAt", "flowName", "stepName", "reason", "correlationId")
    error = (letter.error.strip().splitlines() or [""])[0]
    return "  ".join([*(str(shown[name]) for name in names), error[:200]])
