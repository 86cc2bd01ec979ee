"""A database in which every page of the admin has something to show.

Rows are inserted as the engine would leave them. Each kind has as many as is asked for, so that a
test can compare few with many.
"""

from __future__ import annotations

import json
from datetime import timedelta

from django.contrib.auth.models import Group, User
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success
from django_q.signing import SignedPackage
from knox.models import AuthToken
from uuid_utils.compat import uuid7

from flows.models import (
    Alert,
    AlertNotice,
    AlertTarget,
    AlertThresholds,
    Consumer,
    DeadLetter,
    Flow,
    FlowSchedule,
    FlowState,
    FlowTotals,
    FlowVersion,
    Message,
    Queue,
    QueueState,
    Reprocessing,
    RoleMapping,
    Run,
    Step,
    StepRun,
    WebhookDelivery,
)
from scripts.models import (
    ConfigurationValue,
    Library,
    ReferenceTable,
    Script,
    Secret,
    TrialRecord,
)
from scripts.services.table_storing import store

TRACEBACK = (
    'Traceback (most recent call last):\n  File "charge", line 2, in run\n'
    "    raise ValueError('the card was refused')\nValueError: the card was refused"
)
CODE = "def run(message, context):\n    context.log.info('seen')\n    return message\n"
SCHEMA = {
    "type": "object",
    "title": "Order",
    "properties": {
        "orderId": {"type": "string", "title": "Order", "examples": ["A-1001"]},
        "amount": {"type": "integer", "minimum": 1, "description": "In cents."},
        "express": {"type": "boolean"},
    },
    "required": ["orderId", "amount"],
}
LOGS = json.dumps([{"at": 0.5, "level": "info", "text": "seen"}])


def furnish(rows: int = 3) -> User:
    """Make `rows` of each kind, and return a superuser."""
    user = User.objects.create_superuser("root", "root@example.org", "secret")
    furnish_more(0, rows)
    return user


def furnish_more(first: int, end: int) -> None:
    """Make the rows from `first` up to `end`, without it, where those before are there."""
    user = User.objects.get(username="root")
    for number in range(first, end):
        _make_configuration(number)
    main = _make_main_flow(first, end)
    version = main.make_version()
    for number in range(first, end):
        letter = _make_runs(version, number, user)
        _make_work(letter, Queue.objects.get(name=f"orders-{number}"), number, user)
        _make_users(main, number)
        _make_tasks(number)
        main.steps.update(threads=number + 1)
        main.make_version()


def furnish_beside(letter: DeadLetter, number: int, user: User) -> None:
    """Make one row of each kind beside the flow of a dead letter, which has runs already."""
    step = letter.step
    flow = step.flow_version.flow
    assert flow
    assert step.queue
    _make_configuration(number)
    _make_work(letter, step.queue, number, user)
    _make_webhook(letter.run)
    _make_users(flow, number)
    _make_tasks(number)


def _make_configuration(number: int) -> None:
    script = Script.objects.create(name=f"script-{number}", code=CODE, input_schema=SCHEMA)
    script.code += f"# {number}\n"
    script.save()
    queue = Queue.objects.create(name=f"queue-{number}", rate_count=10, paused=number == 0)
    queue.size = 20 + number
    queue.save()
    QueueState.objects.filter(queue=queue).update(depth=number)
    flow = Flow.objects.create(name=f"flow-{number}", description="One of several.")
    Step.objects.create(flow=flow, name="only", script=script, queue=queue)
    Flow.objects.create(name=f"gone-{number}").delete()
    FlowTotals.objects.update_or_create(flow_name=flow.name, defaults={"accepted": number})
    FlowSchedule.objects.create(
        flow=flow, name="nightly", cron="30 2 * * *", time_zone="Europe/Berlin"
    )
    FlowState.objects.create(
        flow=flow, key="cursor", value="7", version=1, changed_at=timezone.now()
    )
    library = Library.objects.create(name=f"library_{number}", code="VAT = 19\n")
    library.code += "REDUCED = 7\n"
    library.save()
    secret = Secret(name=f"secret.{number}", description="Of the shop.")
    secret.set_value("swordfish")
    secret.save()
    value = ConfigurationValue.objects.create(name=f"value.{number}", value="example.org")
    value.value = "www.example.org"
    value.save()
    table = ReferenceTable(name=f"table.{number}")
    store(table, [b"zip,town\n10115,Berlin\n"], "csv")
    store(table, [b"zip,town\n10115,Berlin\n20095,Hamburg\n"], "csv")
    target = AlertTarget(name=f"target-{number}", rules=["queue-full"])
    target.set_url("json://hooks.example.org/alerts")
    target.save()
    AlertThresholds.objects.create(flow=flow, queue_full=80, new_letters=5)
    _make_alerts(flow, target)
    TrialRecord.objects.create(script=script, script_name=script.name, user_name="root")


def _make_alerts(flow: Flow, target: AlertTarget) -> None:
    """Make an alert of the flow that fires, and one that has ended."""
    now = timezone.now()
    for rule, ended_at in (("queue-full", None), ("failing-more", now)):
        alert = Alert.objects.create(
            rule=rule,
            flow=flow.name,
            level="critical",
            sentence=f"The queue of {flow.name} is full.",
            advice="Give its step more threads.",
            since=now - timedelta(hours=1),
            seen_at=now,
            ended_at=ended_at,
        )
        AlertNotice.objects.create(target=target, alert=alert, level="critical", told_at=now)


def _make_main_flow(first: int, end: int) -> Flow:
    flow, _ = Flow.objects.get_or_create(name="orders")
    for position in range(first, end):
        Step.objects.create(
            flow=flow,
            position=position,
            name=f"step-{position}",
            script=Script.objects.get(name=f"script-{position}"),
            queue=Queue.objects.create(name=f"orders-{position}"),
        )
    flow.description = "Takes orders from the shop, and from the desk."
    flow.save()
    return flow


def _make_runs(version: FlowVersion, number: int, user: User) -> DeadLetter:
    now = timezone.now() - timedelta(minutes=number)
    steps = list(version.steps.order_by("position"))
    completed, failed, queued = (
        Run.objects.create(
            correlation_id=uuid7(),
            flow_version=version,
            status=status,
            created_at=now,
            started_at=now,
            finished_at=None if status == Run.Status.QUEUED else now + timedelta(seconds=2),
            result='{"mail": "sent"}' if status == Run.Status.COMPLETED else None,
            error=TRACEBACK if status == Run.Status.FAILED else "",
            started_by=user,
        )
        for status in (Run.Status.COMPLETED, Run.Status.FAILED, Run.Status.QUEUED)
    )
    body = json.dumps({"correlationId": str(failed.pk), "payload": {"orderId": "A-1"}})
    StepRun.objects.bulk_create(
        StepRun(
            run=run,
            step=step,
            outcome=outcome,
            error=TRACEBACK if outcome == "FAILED" else "",
            logs=LOGS,
            input=body,
            input_bytes=len(body),
            started_at=now,
            finished_at=now + timedelta(milliseconds=12),
        )
        for run, step, outcome in (
            *((completed, step, "COMPLETED") for step in steps),
            *((failed, steps[0], "FAILED") for _ in steps),
        )
    )
    for run in (completed, failed):
        _make_webhook(run)
    letter = DeadLetter.objects.create(
        run=failed,
        step=steps[0],
        reason="exhausted",
        error=TRACEBACK,
        deliveries=5,
        body=body,
        dead_at=now,
    )
    queue = steps[0].queue
    Message.objects.create(
        id=queued.pk, run=queued, step=steps[0], queue=queue, body=body, available_at=now
    )
    QueueState.objects.filter(queue=queue).update(depth=number + 1)
    return letter


def _make_webhook(run: Run) -> None:
    assert run.finished_at
    is_told = run.status == Run.Status.COMPLETED
    WebhookDelivery.objects.create(
        id=uuid7(),
        run=run,
        flow=run.flow_version.flow_id,
        kind="flow",
        url="https://shop.example.org/hooks/runs?token=1",
        run_status=run.status,
        at=run.finished_at,
        status="delivered" if is_told else "pending",
        attempts=2,
        attempted_at=run.finished_at,
        next_attempt_at=None if is_told else timezone.now(),
        answer_status=204 if is_told else 500,
        error="" if is_told else "It answered 500.",
    )


def _make_work(letter: DeadLetter, queue: Queue, number: int, user: User) -> None:
    """Make a worker's session on a queue, and a reprocessing of dead letters under way."""
    now = letter.dead_at
    version = letter.step.flow_version
    Consumer.objects.create(
        queue=queue,
        threads=4,
        cluster="asyncengine",
        machine="worker-1",
        pid=number + 1,
        created_at=now,
        heartbeat_at=timezone.now(),
    )
    Reprocessing.objects.create(
        filter={"flow_name": version.flow_name},
        flow_ids=[version.flow_id],
        script="own",
        matched=10,
        reprocessed=5,
        completed=4,
        failed_again=1,
        last_id=letter.pk,
        user=user,
        created_at=now,
        due_at=now,
        note="Waits for the sample.",
    )


def _make_users(flow: Flow, number: int) -> None:
    role = Group.objects.create(name=f"role-{number}")
    mapping = RoleMapping.objects.create(role=role, right="watch", flow=flow)
    mapping.right = "operate"
    mapping.save()
    user = User.objects.create_user(f"user-{number}", password="secret", is_staff=True)
    user.groups.add(role)
    AuthToken.objects.create(user)


def _make_tasks(number: int) -> None:
    now = timezone.now()
    func = "flows.tasks.retention.purge"
    Schedule.objects.create(name=f"sweep-{number}", func=func, next_run=now)
    for model, key, success in ((Success, "a", True), (Failure, "b", False)):
        model.objects.create(
            id=f"{key}{number:031}",
            name=f"sweep-{key}-{number}",
            func=func,
            started=now,
            stopped=now,
            success=success,
            args=(),
            kwargs={},
            result="nothing to do" if success else TRACEBACK,
        )
    task = {"id": f"c{number:031}", "name": "waits", "func": func, "args": (), "kwargs": {}}
    OrmQ.objects.create(key="asyncengine", payload=SignedPackage.dumps(task), lock=now)
