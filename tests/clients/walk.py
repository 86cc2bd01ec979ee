"""One call of every operation of the document, for clients in any language.

A new operation needs a line here. `Made` stands for a value that `things` makes for each client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.acceptance.installation import PASSWORD, Installation
from tests.waiting import PATIENCE, wait_for

ECHO = "def run(message, context):\n    context.log('seen')\n    return message\n"
FAILING = "def run(message, context):\n    raise Reject('never')\n"


@dataclass(frozen=True)
class Made:
    """A thing that is made for each client anew."""

    name: str


@dataclass(frozen=True)
class Call:
    """A call of an operation, with the status that it is answered with."""

    status: int
    parameters: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    # The token that the answer has is for the calls with `with_kept_token`.
    keeps_token: bool = False
    with_kept_token: bool = False


LINES, FAILS, QUEUE = 'Order\'s "lines" ä', "fails; 'not'", "it's a queue ä"
ORDER = {
    "type": "object",
    "title": "Run",
    "required": ["lines"],
    "properties": {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1},
        "buyer": {"anyOf": [{"$ref": "#/$defs/party"}, {"type": "null"}]},
        "class": {"type": "string", "default": 'it\'s "so" */'},
        "a b": {"type": "integer", "format": "int64"},
        "Größe": {"enum": ["klein", "groß", None]},
        "when": {"type": "string", "format": "date-time"},
        "pair": {"prefixItems": [{"type": "string"}, True], "items": False},
        "never": False,
        "d": {"type": ["string", "integer"]},
        "model_dump": {"const": "x"},
        "\"' */": True,
    },
    "$defs": {
        "line": {
            "type": "object",
            "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}},
        },
        "party": {
            "type": "object",
            "properties": {"parent": {"$ref": "#/$defs/party"}, "name": {"type": "string"}},
            "additionalProperties": False,
        },
    },
    "if": False,
    "unevaluatedProperties": True,
    "discriminator": 5,
}
# Flows by name, with the schemas of their payloads.
ODD_FLOWS: dict[str, Any] = {
    "SELECT 'x'; --": ORDER,
    '""" *\\ ${x} `y` #{z} <b>': {"properties": {"n": {"type": "integer", "maximum": 2**64}}},
    "日本": {},
    "{x}": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "process": {"additionalProperties": {"type": "array", "items": ORDER}}
    | {"$defs": ORDER["$defs"]},
    "a-b": {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"x": {"$ref": "#/$defs/x"}}}}},
    "a_b": {"$dynamicAnchor": "x", "properties": {"x": {"$dynamicRef": "#x"}}},
}
CONFIGURATION: Any = {
    "scripts": [
        {"name": "echo", "code": ECHO, "inputSchema": {}},
        {"name": "lines", "code": ECHO, "inputSchema": ORDER},
        {"name": "failing", "code": FAILING},
        *(
            {"name": f"odd {number}", "code": ECHO, "inputSchema": schema}
            for number, schema in enumerate(ODD_FLOWS.values())
        ),
    ],
    "queues": [
        {"name": QUEUE},
        {"name": "failing"},
        *({"name": f"odd {number}"} for number in range(len(ODD_FLOWS))),
    ],
    "flows": [
        {"name": LINES, "steps": [{"name": "s", "script": "lines", "queue": QUEUE}]},
        {"name": FAILS, "steps": [{"name": "s", "script": "failing", "queue": "failing"}]},
        *(
            {
                "name": name,
                "description": f"Takes '''\"\"\" */ \\ <{name}>.\n\nAnd `more`.",
                "steps": [{"name": "s", "script": f"odd {number}", "queue": f"odd {number}"}],
            }
            for number, name in enumerate(ODD_FLOWS)
        ),
    ],
}

LINE = {"lines": [{"sku": "A"}]}
# The payloads of the flows' own operations, by the flows' names.
PAYLOADS: dict[str, Any] = {
    LINES: LINE | {"buyer": {"name": "ä"}, "Größe": "klein", "when": "2026-01-31T12:00:00Z"},
    FAILS: {"n": 1},
    "SELECT 'x'; --": LINE,
    "{x}": {"a": 1},
    "process": {"x": [LINE]},
}
REASON = {"reason": "A test."}

WALK: dict[str, Call] = {
    "isLive": Call(200),
    "isReady": Call(200),
    "getMetrics": Call(200),
    "createToken": Call(200, body={"userName": "admin", "password": PASSWORD}),
    "whoAmI": Call(200),
    "listTokens": Call(200, {"pageSize": 10}),
    "removeToken": Call(204, {"id": Made("token")}),
    "listFlows": Call(200, {"pageSize": 3}),
    "getFlow": Call(200, {"name": LINES}),
    "pauseFlow": Call(200, {"name": FAILS}, REASON),
    "resumeFlow": Call(200, {"name": FAILS}, REASON),
    "setSchedule": Call(
        201,
        {"name": LINES, "schedule": Made("schedule")},
        {"cron": "0 5 1 1 *", "timeZone": "Europe/Berlin", "payload": LINE, "active": False},
    ),
    "listSchedules": Call(200, {"name": LINES, "pageSize": 1}),
    "getSchedule": Call(200, {"name": LINES, "schedule": Made("schedule")}),
    "resumeSchedule": Call(200, {"name": LINES, "schedule": Made("schedule")}, REASON),
    "pauseSchedule": Call(200, {"name": LINES, "schedule": Made("schedule")}, REASON),
    "removeSchedule": Call(204, {"name": LINES, "schedule": Made("schedule")}),
    "startProcess": Call(
        202,
        {
            "flowName": LINES,
            "priority": 7,
            "startAt": "2026-01-31T12:00:00Z",
            "label": ["order:4711", "shop:ä"],
            "deadline": "300",
            "wait": 0,
            "Idempotency-Key": Made("key"),
        },
        LINE,
    ),
    "startBatch": Call(
        202, {"flowName": LINES, "label": ["a:b"], "wait": 1, "correlationIds": "all"}, [LINE, LINE]
    ),
    "getRun": Call(200, {"id": Made("run"), "wait": 0.5}),
    "getRunInput": Call(200, {"id": Made("run")}),
    "getRunResult": Call(200, {"id": Made("run")}),
    "getRunLogs": Call(200, {"id": Made("run"), "offset": 0}),
    "listRuns": Call(
        200,
        {
            "flowName": LINES,
            "status": ["COMPLETED", "QUEUED"],
            "startedBy": "me",
            "createdAfter": "2026-01-31T12:00:00Z",
            "order": "-createdAt",
            "pageSize": 5,
        },
    ),
    "countRuns": Call(200, {"flowName": LINES, "label": ["order:4711"]}),
    "runAgain": Call(
        200,
        {"id": Made("run"), "Idempotency-Key": Made("keyOfAgain"), "wait": 60},
        {"payload": LINE},
    ),
    "cancelRun": Call(200, {"id": Made("run")}, REASON),
    "cancelRuns": Call(202, body={"all": True, "dryRun": True}),
    "erasePayloads": Call(202, body={"label": "order:none", **REASON}),
    "streamRunEvents": Call(200, {"id": Made("run")}),
    "listQueues": Call(200, {"pageSize": 3}),
    "getQueue": Call(200, {"name": QUEUE}),
    "pauseQueue": Call(200, {"name": QUEUE}, REASON),
    "resumeQueue": Call(200, {"name": QUEUE}, REASON),
    "listDeadLetters": Call(200, {"flowName": FAILS, "reason": "rejected", "pageSize": 2}),
    "getDeadLetter": Call(200, {"id": Made("deadLetter")}),
    "reprocessDeadLetter": Call(200, {"id": Made("deadLetter"), "wait": 60}, {"payload": {"n": 2}}),
    "discardDeadLetter": Call(204, {"id": Made("otherDeadLetter")}),
    "reprocessDeadLetters": Call(202, body={"filter": {"flowName": FAILS}, "dryRun": True}),
    "listReprocessings": Call(200, {"pageSize": 1}),
    "getReprocessing": Call(200, {"id": Made("reprocessing")}),
    "stopReprocessing": Call(200, {"id": Made("reprocessing")}, REASON),
    "listWebhookDeliveries": Call(200, {"id": Made("toldRun"), "pageSize": 1}),
    "replayWebhookDelivery": Call(202, {"id": Made("delivery")}, REASON),
    # A stream ends with the login.
    "addToken": Call(201, body={"name": "short", "expiresIn": 2}, keeps_token=True),
    "streamEvents": Call(200, {"flowName": LINES}, with_kept_token=True),
    # The token of all calls before.
    "revokeToken": Call(204),
}


def things(installation: Installation) -> dict[str, Any]:
    """Make what the calls of one client are about."""
    run = installation.start(LINES, LINE)
    assert installation.run(run, wait=PATIENCE)["status"] == "COMPLETED"
    told = _told_run(installation)
    _dead_letter(installation)
    answer = installation.http.post(
        "/api/dead-letters/reprocess", json={"filter": {"flowName": FAILS}}
    )
    assert answer.status_code == 202, answer.text
    token = installation.http.post("/api/auth/tokens", json={"name": "removed"})
    return {
        "run": run,
        "toldRun": told,
        "delivery": wait_for(lambda: _deliveries(installation, told), what="a webhook")[0]["id"],
        "key": f"key of {run}",
        "keyOfAgain": f"again {run}",
        "schedule": f"schedule 'ä' of {run}",
        "reprocessing": answer.json()["id"],
        "deadLetter": _dead_letter(installation),
        "otherDeadLetter": _dead_letter(installation),
        "token": token.json()["id"],
    }


def _told_run(installation: Installation) -> str:
    """Start a run whose end is told to a receiver that does not exist."""
    options = {"flowName": LINES, "callbackUrl": "https://nowhere.invalid/", "wait": 60}
    answer = installation.http.post("/api/start", params=options, json=LINE)
    assert answer.is_success, answer.text
    return answer.json()["correlationId"]


def _deliveries(installation: Installation, run: str) -> list[dict[str, Any]]:
    return installation.http.get(f"/api/runs/{run}/webhooks").json()["results"]


def _dead_letter(installation: Installation) -> int:
    run = installation.run(installation.start(FAILS, {"n": 1}), wait=PATIENCE)
    assert run["status"] == "FAILED", run
    return run["deadLetterIds"][0]


def steps(document: dict[str, Any], made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of all operations, with things in place of their names."""
    of_flows = {
        operation: Call(202, body=PAYLOADS.get(name, {}))
        for name, operation in flow_operations(document).items()
    }
    names = parameter_names(document)
    return [
        {
            "operationId": operation,
            "others": names[operation],
            "parameters": {
                name: made[value.name] if isinstance(value, Made) else value
                for name, value in call.parameters.items()
            },
            "body": call.body,
            "status": call.status,
            "keepsToken": call.keeps_token,
            "withKeptToken": call.with_kept_token,
        }
        for operation, call in (of_flows | WALK).items()
    ]


def flow_operations(document: dict[str, Any]) -> dict[str, str]:
    """Return the operationIds of the flows' own operations, by the flows' names."""
    prefix, suffix = "/async/api/flows/", "/start"
    return {
        unquote(path.removeprefix(prefix).removesuffix(suffix)): methods["post"]["operationId"]
        for path, methods in document["paths"].items()
        if path.startswith(prefix) and path.endswith(suffix)
    }


def parameter_names(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return what each operation takes beside its body, by its operationId."""
    shared = document["components"]["parameters"]
    return {
        operation["operationId"]: [
            shared[each["$ref"].rpartition("/")[2]]["name"] if "$ref" in each else each["name"]
            for each in operation.get("parameters", [])
        ]
        for methods in document["paths"].values()
        for operation in methods.values()
    }
