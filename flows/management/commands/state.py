from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flows.access import audit
from flows.encryption.payload_keys import recorded
from flows.errors import PayloadUnreadable
from flows.models import Flow, FlowState
from flows.models.payload_text import shown
from flows.monitoring.times import rfc3339
from flows.store import store
from flows.store.flow_state import change_by_hand
from scripts.checks import ENGINE
from scripts.protocol.flow_state import StateInvalid

MOST = 100
SHOWN = 200


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Shows what the messages of a flow have left by context.state, and changes it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("flow", metavar="FLOW")
        verbs = parser.add_mutually_exclusive_group()
        verbs.add_argument("--get", metavar="KEY", help="Print the value.")
        verbs.add_argument("--set", metavar=("KEY", "JSON"), nargs=2, help="Keep a value.")
        verbs.add_argument("--delete", metavar="KEY", help="Delete a value.")
        parser.add_argument(
            "--limit", type=int, default=MOST, metavar="N", help=f"At most these. Default: {MOST}"
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object a line.")

    def handle(self, *args: Any, **options: Any) -> None:
        flow = Flow.objects.filter(name=options["flow"]).first()
        if flow is None:
            raise CommandError(f"There is no flow {options['flow']!r}.")
        if options["get"] is not None:
            self._get(flow, options["get"])
        elif options["set"] is not None:
            self._change(flow, *options["set"])
        elif options["delete"] is not None:
            self._change(flow, options["delete"], None)
        else:
            self._list(flow, max(options["limit"], 0), options["json"])

    def _get(self, flow: Flow, key: str) -> None:
        try:
            found = self._live(flow).filter(key=key).first()
        except PayloadUnreadable as error:
            raise CommandError(str(error)) from error
        if found is None:
            raise CommandError(f"The flow {flow.name!r} has no value {key!r}.")
        self.stdout.write(found.value)

    def _change(self, flow: Flow, key: str, text: str | None) -> None:
        with store().database.transaction():
            try:
                before, after = change_by_hand(flow.pk, key, text, store().database.now())
            except StateInvalid as error:
                raise CommandError(str(error)) from error
            if before is None and after is None:
                raise CommandError(f"The flow {flow.name!r} has no value {key!r}.")
            audit.record(
                "change the state",
                flow,
                before={key: recorded(before)},
                after={key: recorded(after)},
            )

    def _list(self, flow: Flow, most: int, as_json: bool) -> None:
        rows = self._live(flow).defer("value").annotate(shown=shown("value"))
        for row in rows.order_by("key")[:most]:
            expires = row.expires_at and rfc3339(row.expires_at)
            if as_json:
                value = {"key": row.key, "value": row.shown, "expiresAt": expires}
                self.stdout.write(json.dumps(value, ensure_ascii=False))
                continue
            text = row.shown if len(row.shown) <= SHOWN else f"{row.shown[:SHOWN]}…"
            self.stdout.write(f"{row.key} = {text}" + (f" until {expires}" if expires else ""))

    def _live(self, flow: Flow) -> Any:
        return FlowState.objects.live(store().database.now()).filter(flow=flow)
