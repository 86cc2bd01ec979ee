"""The pages of django-q2's schedules and tasks, in the manners of the others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success
from django_q.signing import SignedPackage

pytestmark = pytest.mark.django_db

FUNC = "flows.tasks.retention.purge"


def shown(client, name, *args):
    return client.get(reverse(f"admin:django_q_{name}", args=args)).content.decode()


def ended(model, key, **fields):
    now = timezone.now()
    times = {"started": now - timedelta(seconds=90), "stopped": now}
    return model.objects.create(id=key * 32, name="sweep", func=FUNC, **times, **fields)


def test_a_schedule_says_how_often_it_runs_and_how_its_last_run_ended(client):
    failed = ended(Failure, "a", success=False, result="boom")
    Schedule.objects.create(
        name="sweep", func=FUNC, schedule_type="I", minutes=90, task=failed.pk, next_run=None
    )

    page = shown(client, "schedule_changelist")

    assert "every 1 h 30 min" in page
    assert "no end" in page
    assert f'href="{reverse("admin:django_q_failure_change", args=[failed.pk])}">failed</a>' in page


def test_a_failed_task_is_listed_with_the_line_that_names_its_error(client):
    trace = "Traceback (most recent call last):\n  File x\nValueError: no <file>"
    failed = ended(Failure, "a", success=False, result=trace, attempt_count=2)

    listed, page = shown(client, "failure_changelist"), shown(client, "failure_change", failed.pk)

    assert "ValueError: no &lt;file&gt;" in listed
    assert "Traceback" not in listed
    assert f'datetime="{failed.stopped.isoformat()}"' in listed
    assert "90 s" in page or "1 min 30 s" in page
    assert "Pickled" not in page


def test_a_queued_task_is_called_by_its_name_and_an_unreadable_one_as_such(client):
    task = {"id": "c" * 32, "name": "waits", "func": FUNC, "args": (), "kwargs": {}}
    now = timezone.now()
    named = OrmQ.objects.create(key="x", payload=SignedPackage.dumps(task), lock=now)
    broken = OrmQ.objects.create(key="x", payload="nonsense:1:2", lock=now)

    pages = [shown(client, "ormq_change", each.pk) for each in (named, broken)]

    assert "OrmQ object" not in "".join(pages)
    assert (str(named), str(broken)) == ("waits", f"unreadable task {broken.pk}")
    assert "unreadable task" in shown(client, "ormq_changelist")


def test_a_successful_task_says_what_it_gave(client):
    task = ended(Success, "b", success=True, result={"purged": 3})

    assert "{&#x27;purged&#x27;: 3}" in shown(client, "success_change", task.pk)
