"""The examples in the OpenAPI document."""

from flows.api.errors import TYPE_BASE

RUN_ID = "01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e"

STATUS_URL = f"http://localhost:8000/async/api/runs/{RUN_ID}"

STARTED = {
    "correlationId": RUN_ID,
    "flowName": "loan-application",
    "status": "QUEUED",
    "statusUrl": STATUS_URL,
}

FLOW = {
    "name": "loan-application",
    "description": "Decides about a loan.",
    "active": True,
    "paused": False,
    "version": 3,
    "steps": [
        {"name": "decide", "scriptName": "decide", "queueName": "decisions", "threads": 4},
    ],
    "inputSchema": {"type": "object", "required": ["amount"]},
    "startUrl": "http://localhost:8000/async/api/flows/loan-application/start",
    "rights": ["start", "watch"],
}

METRICS = (
    "# HELP asyncengine_queue_messages Messages in the queue, those that are worked on included.\n"
    "# TYPE asyncengine_queue_messages gauge\n"
    'asyncengine_queue_messages{flow="loan-application",queue="decisions",step="decide"} 12.0\n'
)

TOKEN = {"accessToken": "5f0c2d9a1b7e4c3…", "tokenType": "Bearer", "expiresIn": 36000}

STARTED_AGAIN = {
    **STARTED,
    "correlationId": "01932f51-0c3d-7b44-8a6f-9e1d2c3b4a5f",
    "statusUrl": "http://localhost:8000/async/api/runs/01932f51-0c3d-7b44-8a6f-9e1d2c3b4a5f",
    "repeats": RUN_ID,
}

RUN = {
    "correlationId": RUN_ID,
    "flowName": "loan-application",
    "flowVersion": 3,
    "status": "COMPLETED",
    "currentStep": None,
    "createdAt": "2026-11-02T09:30:00.120000Z",
    "startedAt": "2026-11-02T09:30:00.131000Z",
    "finishedAt": "2026-11-02T09:30:00.164000Z",
    "labels": {"order": "4711"},
    "deadline": "2026-11-02T10:00:00.000000Z",
    "result": {"correlationId": RUN_ID, "payload": {"decision": "accepted"}},
    "error": None,
    "errorCode": None,
    "causeCode": None,
    "warnings": 0,
    "erasedAt": None,
    "startedBy": "billing",
    "repeats": None,
    "parentCorrelationId": None,
    "priority": None,
    "startAt": None,
    "waitingBecause": None,
    "waitingCode": None,
    "deadLetterIds": [],
    "steps": [
        {
            "name": "decide",
            "queueName": "decisions",
            "scriptName": "decide",
            "scriptVersion": 7,
            "status": "COMPLETED",
            "deliveries": 1,
            "startedAt": "2026-11-02T09:30:00.131000Z",
            "finishedAt": "2026-11-02T09:30:00.133000Z",
            "error": None,
            "errorCode": None,
            "causeCode": None,
            "progress": None,
            "attempts": [
                {
                    "attempt": 1,
                    "branch": None,
                    "scriptName": "decide",
                    "scriptVersion": 7,
                    "startedAt": "2026-11-02T09:30:00.131000Z",
                    "finishedAt": "2026-11-02T09:30:00.133000Z",
                    "outcome": "COMPLETED",
                    "error": None,
                    "errorCode": None,
                    "causeCode": None,
                    "logs": [
                        {
                            "at": "2026-11-02T09:30:00.132000Z",
                            "level": "info",
                            "text": "The limit is 5,000.",
                        }
                    ],
                }
            ],
        }
    ],
}

NOT_IN_SUMMARY = {
    "result",
    "priority",
    "startAt",
    "waitingBecause",
    "waitingCode",
    "deadLetterIds",
    "steps",
}
RUN_SUMMARY = {name: value for name, value in RUN.items() if name not in NOT_IN_SUMMARY}
RUN_PAGE = {"results": [RUN_SUMMARY], "next": None, "nextCursor": None}

RUN_LOGS = {
    "entries": [
        {
            "at": "2026-11-02T09:30:00.132000Z",
            "level": "info",
            "text": "The limit is 5,000.",
            "stepName": "decide",
            "branch": None,
            "attempt": 1,
        }
    ],
    "nextOffset": 1,
    "isComplete": True,
}

QUEUE = {
    "name": "decisions",
    "size": 10000,
    "depth": 120,
    "running": 4,
    "delayed": 3,
    "deadLetters": 1,
    "oldestAgeSeconds": 2.416,
    "paused": False,
    "ratePerSecond": None,
    "cluster": None,
    "waitingBecause": "All threads are busy, 4 of 4.",
    "waitingCode": "threads-busy",
}

SCHEDULE = {
    "flowName": "loan-application",
    "name": "every working day",
    "active": True,
    "cron": "30 6 * * MON-FRI",
    "timeZone": "Europe/Berlin",
    "payload": {"branch": "north"},
    "labels": {"shop": "north"},
    "priority": 4,
    "missed": "one",
    "overlap": "skip",
    "jitterSeconds": 0,
    "nextAt": "2026-05-05T04:30:00Z",
    "lastTime": "2026-05-04T04:30:00Z",
    "lastCorrelationId": "0190f3a2-7c1e-7d3b-9a55-0f2d6c1b8e4a",
    "problem": None,
}

BATCH_STARTED = {
    "accepted": 1,
    "rejectedCount": 2,
    "rejected": [
        {
            "line": 2,
            "type": f"{TYPE_BASE}payload-invalid",
            "detail": "The payload must be a JSON object.",
        },
        {
            "line": 3,
            "type": f"{TYPE_BASE}queue-full",
            "detail": "The first queue of the flow is full.",
        },
    ],
    "correlationIds": [RUN_ID],
    "nextLine": 3,
}

REPROCESSING = {
    "id": 4,
    "state": "RUNNING",
    "matched": 812,
    "reprocessed": 0,
    "completed": 0,
    "failedAgain": 0,
    "steps": [
        {
            "flowName": "loan-application",
            "stepName": "decide",
            "queueName": "decisions",
            "matched": 812,
        }
    ],
}

REPROCESSING_PROGRESS = {
    "id": 4,
    "state": "RUNNING",
    "note": "Waits for the sample: 3 go on.",
    "filter": {"flowName": "loan-application", "reason": "exhausted"},
    "newestScript": False,
    "ratePerSecond": 20,
    "stopAfterFailures": 5,
    "sample": 10,
    "matched": 812,
    "reprocessed": 10,
    "completed": 7,
    "failedAgain": 0,
    "cancelled": 0,
    "refused": 0,
    "startedBy": "operations",
    "createdAt": "2026-11-02T09:45:00.000000Z",
    "finishedAt": None,
}

WEBHOOK_DELIVERY = {
    "id": "019a4b7c-2f10-7c3e-9d52-6b1f0a8e4d77",
    "correlationId": RUN_ID,
    "kind": "callback",
    "type": "run.completed",
    "url": "https://shop.example.org/hooks/runs",
    "status": "delivered",
    "attempts": 2,
    "createdAt": "2026-11-02T09:30:04.250000Z",
    "lastAttemptAt": "2026-11-02T09:30:10.125000Z",
    "nextAttemptAt": None,
    "answerStatus": 204,
    "error": None,
}

DEAD_LETTER = {
    "id": 4711,
    "correlationId": RUN_ID,
    "queueName": "decisions",
    "flowName": "loan-application",
    "stepName": "decide",
    "error": "The limit of customer A-77 is not known.",
    "payload": {"amount": 4200, "customer": "A-77"},
    "deliveries": 5,
    "deadAt": "2026-11-02T09:31:07.250000Z",
    "reason": "exhausted",
    "causeCode": "failed",
    "code": None,
    "details": None,
    "reprocessedAt": None,
}

OWN_TOKEN = {
    "id": "5f0c2d9a1b7e4c3",
    "name": "billing-service",
    "createdAt": "2026-11-02T09:00:00.000000Z",
    "expiresAt": "2027-11-02T09:00:00.000000Z",
    "lastUsedAt": "2026-11-02T09:30:00.000000Z",
    "isCurrent": True,
}
ADDED_TOKEN = {
    "accessToken": "5f0c2d9a1b7e4c3…",
    "tokenType": "Bearer",
    **OWN_TOKEN,
    "lastUsedAt": None,
    "isCurrent": False,
}
WHO = {
    "userName": "billing",
    "isSuperuser": False,
    "authentication": "bearer",
    "token": OWN_TOKEN,
    "rights": {
        "everyFlow": ["watch"],
        "flows": [{"flowName": "loan-application", "rights": ["start"]}],
    },
}

CANCELLED = {
    "matched": 812,
    "cancelled": 340,
    "isComplete": False,
    "flows": [{"flowName": "loan-application", "matched": 812}],
}

ERASED = {
    "runs": 2,
    "erased": 2,
    "isComplete": True,
    "places": {"inputs": 4, "logs": 2, "results": 2, "searchTexts": 2},
}

REPROCESSING_REQUEST = {
    "filter": {"flowName": "loan-application", "reason": "exhausted"},
    "ratePerSecond": 20,
    "stopAfterFailures": 5,
}
