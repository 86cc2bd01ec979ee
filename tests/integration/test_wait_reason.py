"""Why a queue or a run waits, as one reason."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from flows import engine
from flows.models import Consumer, DeadLetter, Flow, Message, Queue, QueueState, Run
from flows.monitoring.wait_reason import MOST_LIKELY, NO_LIVE_WORKERS, text_of, why_queue, why_run
from flows.store import store
from flows.store.rate_limit import RateLimit
from flows.worker.redelivery import in_commit
from flows.worker.results import released
from tests.builders import ECHO, make_flow, open_lease, run_of, work_until_idle

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def start(**options) -> Run:
    return run_of(engine.start("flow", {}, **options).correlation_id)


def queue(name: str = "flow-0") -> Queue:
    return Queue.objects.get(name=name)


def let_time_pass() -> None:
    """Let what is ready have been ready for a minute."""
    now = timezone.now()
    Message.objects.filter(available_at__lte=now).update(available_at=now - MINUTE)


def another_session_works(name: str = "elsewhere") -> None:
    """Have a session on a queue of another flow."""
    if not Flow.objects.filter(name=name).exists():
        make_flow(name, codes=[ECHO])
    open_lease(f"{name}-0")


@pytest.fixture
def user() -> User:
    return User.objects.create_user("operator")


def test_nothing_keeps_an_empty_queue_and_what_was_just_started():
    make_flow()
    assert why_queue(queue()) is None

    run = start()

    assert why_queue(queue()) is None
    assert why_run(run) is None


def test_a_run_whose_first_message_is_released_unused_is_queued_again():
    make_flow(rate_count=5, rate_period=MINUTE)
    run = start()
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: threads)
    assert run_of(run.pk).status == Run.Status.RUNNING

    store().commit(lease, [released(held)], in_commit, lambda p, n: n, claim=False)

    run.refresh_from_db()
    assert (run.status, run.started_at) == (Run.Status.QUEUED, None)
    assert Message.objects.get().deliveries == 0


def test_a_run_that_was_requeued_and_released_is_still_running():
    flow = make_flow(codes=["def run(message, context):\n    raise Reject('no')\n"])
    run = start()
    work_until_idle(flow)
    engine.reprocess(DeadLetter.objects.get())
    lease = open_lease("flow-0")
    [held] = store().claim(lease, lambda plan, threads: threads)

    store().commit(lease, [released(held)], in_commit, lambda p, n: n, claim=False)

    assert run_of(run.pk).status == Run.Status.RUNNING


def test_a_run_that_looks_for_room_at_its_join_says_so():
    make_flow()
    run = start()
    at = timezone.now() + MINUTE
    Message.objects.update(pending_outputs=True, available_at=at)

    assert why_run(run) == (
        f"Its branches have all ended; it looks for room in the queue of the join at {text_of(at)}."
    )


def test_a_run_that_has_ended_does_not_wait():
    flow = make_flow(codes=[ECHO])
    run = start()
    work_until_idle(flow)

    assert why_run(run_of(run.pk)) is None


class TestNoLiveWorkers:
    def test_ready_messages_that_no_worker_takes_show_that_no_worker_is_alive(self):
        make_flow()
        run = start()

        let_time_pass()

        assert why_queue(queue()) == NO_LIVE_WORKERS
        assert why_run(run) == NO_LIVE_WORKERS

    def test_it_comes_before_a_pause_where_another_queue_shows_it(self):
        make_flow("other")
        flow = make_flow()
        engine.pause(flow)
        run = start()
        let_time_pass()
        assert why_run(run) != NO_LIVE_WORKERS

        engine.start("other", {})
        let_time_pass()

        assert why_run(run) == NO_LIVE_WORKERS
        assert why_queue(queue()) == NO_LIVE_WORKERS

    def test_paused_and_delayed_messages_show_nothing(self):
        engine.pause(make_flow())
        make_flow("other")
        start()
        engine.start("other", {}, start_at=timezone.now() + MINUTE)
        let_time_pass()

        assert why_queue(queue()) != NO_LIVE_WORKERS
        assert why_queue(queue("other-0")) != NO_LIVE_WORKERS

    @pytest.mark.long
    def test_it_shows_in_the_last_of_many_queues_too(self):
        for number in range(MOST_LIKELY):
            make_flow(f"later-{number}")
            engine.start(f"later-{number}", {}, start_at=timezone.now() + MINUTE)
        make_flow()
        start()

        let_time_pass()

        assert why_queue(queue("later-0-0")) == NO_LIVE_WORKERS

    def test_a_session_that_was_heard_of_shows_that_a_worker_is_alive(self):
        make_flow()
        run = start()
        let_time_pass()

        another_session_works()

        assert why_run(run) == "The workers are busy with other queues."
        assert why_queue(queue()) == "The workers are busy with other queues."

    def test_a_session_without_a_heartbeat_shows_that_no_worker_is_alive(self):
        make_flow()
        run = start()
        lease = open_lease("flow-0")
        assert store().claim(lease, lambda plan, threads: threads)
        assert why_run(run) is None

        Consumer.objects.update(heartbeat_at=timezone.now() - MINUTE)

        assert why_run(run) == NO_LIVE_WORKERS


class TestPaused:
    def test_a_paused_queue_says_by_whom_and_since_when(self, user):
        make_flow()
        run = start()

        engine.pause(queue(), user=user)

        since = text_of(queue().history.first().history_date)
        sentence = f"The queue 'flow-0' is paused by operator since {since}."
        assert why_queue(queue()) == sentence
        assert why_run(run) == sentence

    def test_a_later_change_leaves_the_time_of_the_pause(self, user):
        make_flow()
        run = start()
        engine.pause(queue(), user=user)
        engine.resume(queue())
        engine.pause(queue(), user=user)
        since = text_of(queue().history.first().history_date)

        paused = queue()
        paused.size = 7
        paused.save()

        assert why_run(run) == f"The queue 'flow-0' is paused by operator since {since}."

    def test_a_pause_without_a_trace_is_said_without_a_time(self):
        make_flow()
        run = start()

        Queue.objects.update(paused=True)

        assert why_run(run) == "The queue 'flow-0' is paused."

    def test_a_paused_flow_says_so_for_its_queues(self, user):
        flow = make_flow()
        run = start()

        engine.pause(flow, user=user)

        assert why_run(run).startswith("The flow 'flow' is paused by operator since ")
        assert why_queue(queue()) == why_run(run)

    def test_a_pause_comes_before_a_delay(self):
        make_flow()
        run = start(start_at=timezone.now() + MINUTE)

        engine.pause(queue())

        assert why_run(run).startswith("The queue 'flow-0' is paused since ")

    def test_a_run_that_bypasses_the_pause_does_not_wait_for_it(self):
        make_flow()
        run = start()
        engine.pause(queue())

        engine.bypass_pause(run)

        assert why_run(run) is None


class TestHeldBack:
    def test_a_rate_limit_that_is_used_up_says_until_when(self):
        make_flow(rate_count=2, rate_period=MINUTE)
        run = start()
        now = timezone.now()
        recent = RateLimit(2, 60, {now.timestamp(): 2}).write()
        QueueState.objects.filter(queue=queue()).update(recent_starts=recent)

        sentence = f"The rate limit of 2 in 60 s is used until {text_of(now + MINUTE)}."

        assert why_queue(queue()) == sentence
        assert why_run(run) == sentence

    def test_a_rate_limit_that_is_not_used_up_keeps_nothing(self):
        make_flow(rate_count=2, rate_period=MINUTE)

        assert why_run(start()) is None

    def test_a_queue_that_was_asked_to_wait_says_until_when(self):
        make_flow()
        run = start()
        until = timezone.now() + MINUTE
        QueueState.objects.filter(queue=queue()).update(slow_until=until)

        sentence = (
            f"A script was asked to wait: until {text_of(until)} it is one message at a time."
        )

        assert why_queue(queue()) == sentence
        assert why_run(run) == sentence

    def test_busy_threads_are_counted(self):
        make_flow(threads=3)
        runs = [start() for _ in range(4)]
        lease = open_lease("flow-0", threads=3)
        store().claim(lease, lambda plan, threads: threads)

        assert why_queue(queue()) == "All threads are busy, 3 of 3."
        assert why_run(runs[3]) == "All threads are busy, 3 of 3."
        assert why_run(runs[0]) is None

    def test_a_starved_priority_says_which_one_goes_first(self):
        make_flow(threads=1)
        low = start(priority=0)
        urgent = [start(priority=9) for _ in range(3)]
        lease = open_lease("flow-0", threads=1)
        store().claim(lease, lambda plan, threads: threads)

        assert why_run(low) == (
            "Messages of a higher priority go first: one of priority 9 is ready, this has 0."
        )
        assert why_run(urgent[2]) == "All threads are busy, 1 of 1."

    def test_a_priority_that_is_delayed_starves_nothing(self):
        make_flow(threads=1)
        start(priority=9, start_at=timezone.now() + MINUTE)

        assert why_run(start(priority=0)) is None

    def test_a_message_that_is_not_taken_though_threads_are_free_says_why(self):
        make_flow(threads=4)
        run = start()
        open_lease("flow-0", threads=1)
        let_time_pass()
        assert why_run(run) == "Other messages of the queue go first."

        Message.objects.update(suspects=2)
        assert "A worker died" in (why_run(run) or "")

        Message.objects.update(suspects=0)
        Queue.objects.filter(name="flow-0").update(rate_count=2, rate_period=MINUTE)
        assert why_run(run) == "It waits for its turn in the rate limit of 2 in 60 s."

    def test_threads_that_are_left_keep_nothing(self):
        make_flow(threads=4)
        run = start()
        open_lease("flow-0", threads=3)

        assert why_run(run) is None

    def test_the_next_queue_is_named_with_what_is_in_it(self):
        make_flow()
        run = start()
        QueueState.objects.filter(queue__name="flow-1").update(depth=9_990, reserved=10)

        sentence = "The next queue 'flow-1' is full, 10000 of 10000, 10 of them kept free."

        assert why_queue(queue()) == sentence
        assert why_run(run) == sentence


class TestDelayed:
    def test_a_delayed_start_says_until_when(self):
        make_flow()
        at = timezone.now() + MINUTE
        run = start(start_at=at)

        assert why_run(run) == f"The start is delayed until {text_of(at)}."
        assert why_queue(queue()) == f"The start is delayed until {text_of(at)}."

    def test_a_back_off_says_after_which_delivery_and_until_when(self):
        make_flow()
        run = start()
        at = timezone.now() + MINUTE
        Message.objects.update(deliveries=2, available_at=at)

        sentence = f"After delivery 2 it waits for its back-off until {text_of(at)}."

        assert why_run(run) == sentence
        assert why_queue(queue()) == sentence

    def test_of_delayed_messages_the_queue_tells_of_the_first(self):
        make_flow()
        late, early = (timezone.now() + n * MINUTE for n in (2, 1))
        start(start_at=late, priority=9)
        start(start_at=early, priority=0)

        assert why_queue(queue()) == f"The start is delayed until {text_of(early)}."

    def test_a_message_that_is_ready_comes_before_a_delayed_one(self):
        flow = make_flow(threads=1)
        start(start_at=timezone.now() + MINUTE, priority=9)
        start(priority=0)
        open_lease("flow-0", threads=1)

        assert flow.steps.count() == 3
        assert why_queue(queue()) == "All threads are busy, 1 of 1."


def test_of_several_branches_the_one_that_is_next_counts():
    split = "def run(message, context):\n    return [{'payload': {'n': n}} for n in range(3)]\n"
    flow = make_flow(codes=[split, ECHO])
    engine.pause(queue("flow-1"))
    run = start()

    work_until_idle(flow)

    assert Message.objects.count() == 3
    assert why_run(run_of(run.pk)).startswith("The queue 'flow-1' is paused since ")


def test_a_run_whose_step_was_deleted_by_sql_says_so_and_can_be_cancelled():
    make_flow()
    run = start()
    Message.objects.filter(run=run).update(step_id=10**9)
    let_time_pass()

    reasons = (why_run(run), why_queue(queue()))
    engine.cancel(run)

    assert reasons == ("Its step was deleted from the database: cancel the run.",) * 2
    assert run_of(run.pk).status == Run.Status.CANCELLED


def test_the_number_of_queries_is_bounded(django_assert_max_num_queries):
    make_flow()
    run = start()
    let_time_pass()
    why_run(run)

    with django_assert_max_num_queries(10):
        why_run(run)
    with django_assert_max_num_queries(10):
        why_queue(queue())
