"""No other caller waits for the COMMIT of a start that has to make a version."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import pre_save

from flows import engine
from flows.models import Flow, FlowVersion, Queue, Run, Step
from flows.monitoring import conservation
from scripts.models import Script, ScriptVersion
from tests.builders import make_flow, run_of
from tests.side_by_side import at_the_same_time, side_by_side

pytestmark = pytest.mark.django_db(transaction=True)


class RolledBack(Exception):
    """Takes a transaction back."""


@pytest.fixture(autouse=True)
def edited():
    """Make two flows that were started, and then edited where no signal tells of it."""
    for name in "ab":
        make_flow(name, ["# old"])
        engine.start(name, {})
    Script.objects.update(code="# edited")
    assert FlowVersion.objects.count() == 2


def code_of(correlation_id) -> str:
    return run_of(correlation_id).flow_version.steps.get().script_version.code


def imbalances() -> list[str]:
    return [fault for checked in conservation.check() for fault in checked.faults()]


@side_by_side
def test_the_first_start_after_an_edit_keeps_no_other_waiting():
    with transaction.atomic():
        engine.start("a", {})
        raised = at_the_same_time(
            lambda: engine.start("b", {}),
            lambda: engine.start("a", {}),
            lambda: Queue.objects.update(size=77),
        )

    assert raised == []
    assert FlowVersion.objects.count() == 4
    assert {code_of(run.pk) for run in Run.objects.order_by("-pk")[:3]} == {"# edited"}
    assert imbalances() == []


@side_by_side
def test_an_edit_that_is_not_committed_keeps_no_first_start_waiting():
    with transaction.atomic():
        Script.objects.filter(name="a-0").update(code="# own")
        own = engine.start("a", {}).correlation_id
        raised = at_the_same_time(lambda: engine.start("b", {}))
    other = Run.objects.filter(flow_version__flow_name="b").first()

    assert raised == []
    assert code_of(own) == "# own"
    assert code_of(other.pk) == "# edited"
    assert imbalances() == []


@side_by_side
def test_first_starts_at_the_same_time_make_one_version():
    raised = at_the_same_time(*[lambda: engine.start("a", {})] * 8)

    assert raised == []
    assert FlowVersion.objects.filter(flow_name="a").count() == 2
    assert {code_of(run.pk) for run in Run.objects.order_by("-pk")[:8]} == {"# edited"}


@side_by_side
def test_first_start_makes_no_second_version_whenever_another_commits_it():
    for moment in range(1, 200):
        Script.objects.filter(name="a-0").update(code=f"# edited {moment}")
        other = StartElsewhere(moment)

        with connection.execute_wrapper(other):
            engine.start("a", {})

        if other.waits:
            break
        newest = FlowVersion.objects.filter(flow_name="a").latest("number")
        assert newest.number == moment + 1
        assert newest.steps.get().script_version.number == moment + 1
    assert moment > 10


class StartElsewhere:
    """Starts the flow in another thread after a number of queries, if nothing is written so far."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.waits = True

    def __call__(self, execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        self._after -= 1
        if sql.startswith("INSERT"):
            self._after = 0
        if self.waits and self._after == 0 and not sql.startswith("INSERT"):
            self.waits = False
            assert at_the_same_time(lambda: engine.start("a", {})) == []
        return result


@side_by_side
def test_the_version_stays_where_the_start_is_taken_back():
    with suppress(RolledBack), transaction.atomic():
        engine.start("a", {})
        made = FlowVersion.objects.get(flow_name="a", number=2)
        raise RolledBack
    started = engine.start("a", {}).correlation_id

    assert run_of(started).flow_version == made
    assert FlowVersion.objects.filter(flow_name="a").count() == 2


def test_what_a_transaction_has_edited_is_its_own_version_and_goes_with_it():
    with suppress(RolledBack), transaction.atomic():
        Script.objects.filter(name="a-0").update(code="# own")
        engine.start("a", {})
        assert FlowVersion.objects.filter(flow_name="a").count() == 2
        raise RolledBack

    assert FlowVersion.objects.filter(flow_name="a").count() == 1
    assert code_of(engine.start("a", {}).correlation_id) == "# edited"


def test_an_edit_back_to_a_savepoint_leaves_the_configuration_unchanged_to_a_start():
    with transaction.atomic():
        with suppress(RolledBack), transaction.atomic():
            Script.objects.filter(name="a-0").update(code="# taken back")
            engine.start("a", {})
            raise RolledBack
        started = engine.start("a", {}).correlation_id

    assert code_of(started) == "# edited"
    assert imbalances() == []


@side_by_side
def test_a_transaction_that_sees_one_moment_makes_the_version_itself():
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        started = engine.start("a", {}).correlation_id

    assert code_of(started) == "# edited"


@side_by_side
def test_without_another_connection_the_transaction_makes_the_version_itself(monkeypatch):
    def refuse(self):
        raise OperationalError("too many clients")

    with transaction.atomic():
        assert Flow.objects.exists()
        monkeypatch.setattr(BaseDatabaseWrapper, "connect", refuse)
        started = engine.start("a", {}).correlation_id
        monkeypatch.undo()

    assert code_of(started) == "# edited"


def save_script() -> None:
    script = Script.objects.get(name="a-0")
    script.code = "# own"
    script.save()


def rename_step() -> None:
    Step.objects.filter(flow__name="a").update(name="own")


@side_by_side
@pytest.mark.parametrize(
    ("change", "kind"), [(save_script, ScriptVersion), (rename_step, FlowVersion)]
)
def test_a_number_that_another_version_takes_meanwhile_is_no_error(change, kind):
    raised = []
    if kind is FlowVersion:
        Script.objects.get(name="a-0").make_version()

    def let_another_be_faster(sender, **kwargs):
        pre_save.disconnect(let_another_be_faster, sender=kind)
        raised.extend(at_the_same_time(lambda: engine.start("a", {})))

    with transaction.atomic():
        pre_save.connect(let_another_be_faster, sender=kind)
        change()
        own = engine.start("a", {}).correlation_id
    other = Run.objects.exclude(pk=own).filter(flow_version__flow_name="a").first()

    assert raised == []
    assert run_of(own).flow_version.number == 3
    assert run_of(other.pk).flow_version.number == 2
    assert code_of(other.pk) == "# edited"
