"""The SQL of the hot path, with what each statement is for. Both databases understand it."""

from flows.store.database import BatchStatement

INSERT_RUN = BatchStatement(
    "INSERT INTO flows_run (correlation_id, flow_version_id, started_by_id, status, created_at,"
    " error, warnings, branches)",
    values="{id}, {flow_version_id}, {user_id}, 'QUEUED', {created_at}, '', 0, 1",
)

# A run that a script has started.
INSERT_CHILD = BatchStatement(
    "INSERT INTO flows_run (correlation_id, flow_version_id, started_by_id, status, created_at,"
    " error, warnings, branches, parent, start_depth)",
    values="{id}, {flow_version_id}, {user_id}, 'QUEUED', {created_at}, '', 0, 1, {parent},"
    " {start_depth}",
)

INSERT_MESSAGE = BatchStatement(
    "INSERT INTO flows_message (id, run_id, step_id, queue_id, body, deliveries, available_at,"
    " priority, bypasses_pause, delayed, branch, suspects, pending_outputs)",
    values="{id}, {run_id}, {step_id}, {queue_id}, {body}, 0, {available_at}, {priority},"
    " {bypasses_pause}, {delayed}, {branch}, 0, FALSE",
)

REVISION = "SELECT token FROM flows_configurationrevision"

ROOM = """
    SELECT q.size - s.depth - s.reserved - {pending_room} FROM flows_queuestate s
    JOIN flows_queue q ON q.id = s.queue_id WHERE s.queue_id = %s
"""

ROOMS = """
    SELECT s.queue_id, q.size - s.depth - s.reserved - {pending_room} FROM flows_queuestate s
    JOIN flows_queue q ON q.id = s.queue_id WHERE s.queue_id IN ({ids})
"""

# Bounded: it changes nothing where the queue would hold more than its size.
ADD_DEPTH_WITHIN_SIZE = """
    UPDATE flows_queuestate SET depth = depth + %s
    WHERE queue_id = %s AND depth + reserved + %s
          <= (SELECT size FROM flows_queue WHERE id = queue_id)
"""

# Delayed starts have the size of the queue once more, beside the messages in it.
DELAYED_ROOM = """
    SELECT q.size - s.delayed - {pending_delayed} FROM flows_queuestate s
    JOIN flows_queue q ON q.id = s.queue_id WHERE s.queue_id = %s
"""

ADD_DELAYED_WITHIN_SIZE = """
    UPDATE flows_queuestate SET delayed = delayed + %s
    WHERE queue_id = %s AND delayed + %s
          <= (SELECT size FROM flows_queue WHERE id = queue_id)
"""

# Where the messages of a queue stand still: itself or its flow is paused. Needs q and f.
PAUSED = "(q.paused OR COALESCE(f.paused, q.paused))"

# The first message that is ready, of the highest priority that has one: one probe of the index of
# those that wait for each priority, so that delayed ones of a higher priority cost nothing.
HEAD = """
    SELECT {columns} FROM flows_message h WHERE h.id = (
        SELECT id FROM (
            SELECT p.column1 AS priority, (
                SELECT m.id FROM flows_message m
                WHERE m.queue_id = {queue} AND m.priority = p.column1 AND m.available_at <= {now}
                    {and_which}
                ORDER BY m.available_at LIMIT 1) AS id
            FROM (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0)) AS p) AS heads
        WHERE id IS NOT NULL ORDER BY priority DESC LIMIT 1)
"""

# Where the queue or flow is paused: the messages that go on all the same.
HEAD_PAST_PAUSE = """
    SELECT {columns} FROM flows_message m
    WHERE m.queue_id = {queue} AND m.bypasses_pause AND m.available_at <= {now} {and_which} LIMIT 1
"""

# A delayed start needs room in its queue before it can be taken.
NOT_DELAYED = "AND NOT m.delayed"

# What the broker chooses a queue by.
FITS = "AND (NOT m.delayed OR s.depth + s.reserved < q.size)"
HEADS = {
    "head": HEAD.format(columns="h.step_id", queue="q.id", now="{now}", and_which=FITS),
    "bypasses_pause": HEAD_PAST_PAUSE.format(
        columns="m.step_id", queue="q.id", now="{now}", and_which=FITS
    ),
}
READY_QUEUES = f"""
    SELECT q.id, s.depth + s.delayed, q.size - s.depth - s.reserved, {PAUSED},
           COALESCE(t.threads, 1), COALESCE(c.threads, 0), COALESCE(c.consumers, 0),
           CASE WHEN s.depth + s.delayed = 0 THEN NULL
                WHEN {PAUSED} THEN ({HEADS["bypasses_pause"]})
                ELSE ({HEADS["head"]}) END, {{now}},
           q.rate_count, q.rate_period, s.recent_starts, s.slow_until, q.cluster
    FROM flows_queue q
    JOIN flows_queuestate s ON s.queue_id = q.id
    LEFT JOIN flows_step t ON t.queue_id = q.id
    LEFT JOIN flows_flow f ON f.id = t.flow_id
    LEFT JOIN (SELECT queue_id, CAST(SUM(threads) AS integer) AS threads, COUNT(*) AS consumers
               FROM flows_consumer GROUP BY queue_id) c ON c.queue_id = q.id
"""

# Whether there is a message, a session, a task, or what a time has come for.
HAS_WORK = """
    SELECT EXISTS (SELECT 1 FROM flows_queuestate WHERE depth + delayed > 0)
        OR EXISTS (SELECT 1 FROM flows_consumer)
        OR EXISTS (SELECT 1 FROM flows_reprocessing WHERE finished_at IS NULL)
        OR EXISTS (SELECT 1 FROM flows_rundeadline WHERE was_missed IS NULL AND at <= {now})
        OR EXISTS (SELECT 1 FROM flows_flowschedulestate WHERE at <= {now})
        OR EXISTS (SELECT 1 FROM flows_webhookdelivery
                   WHERE status = 'pending' AND next_attempt_at <= {now})
        OR EXISTS (SELECT 1 FROM django_q_ormq WHERE key IN (%s, %s) AND lock < {now})
"""

HAS_TASKS = "SELECT 1 FROM django_q_ormq WHERE key IN (%s, %s) AND lock < %s LIMIT 1"

# Since when the oldest message that is ready waits, in those of these queues that have messages: a
# probe of the index of those that wait for each priority.
OLDEST_READY = """
    SELECT q.id, (
        SELECT MIN(firsts.available_at) FROM (
            SELECT (
                SELECT m.available_at FROM flows_message m
                WHERE m.queue_id = q.id AND m.priority = p.column1 AND m.available_at <= %s
                ORDER BY m.available_at LIMIT 1) AS available_at
            FROM (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0)) AS p) AS firsts)
    FROM flows_queue q JOIN flows_queuestate s ON s.queue_id = q.id
    WHERE s.depth + s.delayed > 0 AND q.id IN ({ids})
"""

# The first message of each priority in these queues, delayed or not, by the same probes.
FIRST_WAITING = """
    SELECT id FROM (
        SELECT (
            SELECT m.id FROM flows_message m
            WHERE m.queue_id = q.id AND m.priority = p.column1
            ORDER BY m.available_at LIMIT 1) AS id
        FROM flows_queue q
        CROSS JOIN (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0)) AS p
        WHERE q.id IN ({ids})) AS firsts
    WHERE id IS NOT NULL
"""

GRANTED_THREADS = """
    SELECT CAST(COALESCE(SUM(threads), 0) AS integer) FROM flows_consumer
    WHERE queue_id = %s AND id <> %s
"""

# The same of two queues, and whether messages wait in the second one, in one statement.
ON_THE_WAY = f"""
    SELECT ({GRANTED_THREADS}), ({GRANTED_THREADS}),
        EXISTS ({HEAD.format(columns="1", queue="%s", now="{now}", and_which="")})
"""

# The fencing token: a consumer that is gone renews nothing.
RENEW_LEASE = (
    "UPDATE flows_consumer SET heartbeat_at = {now} WHERE id = %s"
    " RETURNING cancel_requested, leaves, heartbeat_at"
)

OPEN_CONSUMER = """
    INSERT INTO flows_consumer (created_at, heartbeat_at, queue_id, threads, cluster, host,
        cancel_requested)
    VALUES ({now}, {now}, %s, %s, %s, %s, FALSE) RETURNING id
"""

# The same for a worker that begins the lease at once, where the queue is not gone.
OPEN_LEASE = """
    INSERT INTO flows_consumer (created_at, heartbeat_at, queue_id, threads, cluster, host, pid,
        cancel_requested)
    SELECT {now}, {now}, q.id, %s, %s, %s, %s, FALSE FROM flows_queue q WHERE q.id = %s
    RETURNING id, heartbeat_at
"""

CONSUMERS_OF = "SELECT id, pid, queue_id, threads FROM flows_consumer WHERE cluster = %s"

FIRST_OPENED = """
    SELECT id FROM flows_consumer WHERE cluster = %s AND pid IS NULL ORDER BY id LIMIT 1
"""

# Begins the lease of a consumer that was opened and no worker has begun.
BEGIN_LEASE = """
    UPDATE flows_consumer SET heartbeat_at = {now}, pid = %s WHERE id = %s AND pid IS NULL
    RETURNING queue_id, threads
"""

CANCEL_HANDLED = "UPDATE flows_consumer SET cancel_requested = FALSE WHERE id = %s"

END_LEASE = "DELETE FROM flows_consumer WHERE id = %s"

# Changes nothing, and fails where nothing can be changed.
TOUCH_QUIET = """
    UPDATE flows_consumer SET host = host WHERE id IN (
        SELECT id FROM flows_consumer WHERE heartbeat_at < %s LIMIT 1 {skip_locked})
"""

# Only if no heartbeat came since; a consumer that is just committing is left alone.
END_LEASE_SEEN = """
    DELETE FROM flows_consumer WHERE id IN (
        SELECT id FROM flows_consumer WHERE id = %s AND heartbeat_at <= %s {skip_locked})
"""

MOVE_CONSUMER = "UPDATE flows_consumer SET queue_id = %s, threads = %s WHERE id = %s"

HELD = """
    SELECT CAST(id AS text), CAST(run_id AS text), step_id, body, deliveries, branch,
        pending_outputs, waiting
    FROM flows_message WHERE consumer_id = %s
"""

HELD_CANCELLED = """
    SELECT CAST(m.id AS text) FROM flows_message m
    JOIN flows_run r ON r.correlation_id = m.run_id
    WHERE m.consumer_id = %s AND r.status = 'CANCELLED'
"""

# They keep their places, before all that came later; but those that were suspected already, and
# whose worker died again, let the others go first. A delivery is taken back, or counts up to a
# bound.
RELEASE = """
    UPDATE flows_message
    SET queue_id = (SELECT v.queue_id FROM flows_stepversion v WHERE v.id = step_id),
        consumer_id = NULL, delayed = FALSE,
        deliveries = CASE WHEN deliveries <= %s THEN deliveries ELSE deliveries - 1 END,
        available_at = CASE WHEN suspects > 0 AND %s > 0 THEN %s ELSE available_at END,
        suspects = %s
    WHERE consumer_id = %s
"""

# In the order of the ids, so that two commits never wait for each other.
LOCK_COUNTERS = f"""
    SELECT {{pending_room}}, {{pending_delayed}}, s.queue_id, s.depth, s.reserved, q.size, {PAUSED},
           COALESCE(t.threads, 1), q.rate_count, q.rate_period, s.recent_starts, s.slow_until,
           q.cluster
    FROM flows_queuestate s
    JOIN flows_queue q ON q.id = s.queue_id
    LEFT JOIN flows_step t ON t.queue_id = q.id
    LEFT JOIN flows_flow f ON f.id = t.flow_id
    WHERE {{locks_counters_of}} ORDER BY s.queue_id {{lock}}
"""

ADD_TO_COUNTERS = BatchStatement(
    "UPDATE flows_queuestate SET depth = flows_queuestate.depth + {depth},"
    " reserved = flows_queuestate.reserved + {reserved},"
    " delayed = flows_queuestate.delayed + {delayed_starts}",
    where="flows_queuestate.queue_id = {queue_id}",
)

WRITE_RECENT_STARTS = "UPDATE flows_queuestate SET recent_starts = %s WHERE queue_id = %s"

SLOW_DOWN = "UPDATE flows_queuestate SET slow_until = %s WHERE queue_id = %s"

# The oldest messages of a step, of one priority or past the pause. The counters of the queue are
# locked, so no other session is taking them.
TAKE = """
    WITH taken AS MATERIALIZED (
        SELECT id FROM flows_message
        WHERE queue_id = %s AND available_at <= %s AND step_id = %s AND {which}
        ORDER BY available_at LIMIT %s)
    UPDATE flows_message SET consumer_id = %s, queue_id = NULL, deliveries = deliveries + 1
    WHERE {is_taken}
    RETURNING delayed, CAST(id AS text), CAST(run_id AS text), step_id, body, deliveries, branch,
        pending_outputs, waiting
"""

PUT_OFF = "UPDATE flows_message SET available_at = %s WHERE id = %s"

MARK_RUNNING = BatchStatement(
    "UPDATE flows_run SET status = 'RUNNING', started_at = {started_at}",
    where="flows_run.correlation_id = {id} AND flows_run.status = 'QUEUED'",
)

# Its message is given back, and its script has not run.
MARK_QUEUED = BatchStatement(
    "UPDATE flows_run SET status = 'QUEUED', started_at = NULL",
    where="flows_run.correlation_id = {id} AND flows_run.status = 'RUNNING' AND NOT EXISTS"
    " (SELECT 1 FROM flows_steprun WHERE flows_steprun.run_id = flows_run.correlation_id)",
)

INSERT_STEP_RUN = BatchStatement(
    "INSERT INTO flows_steprun (run_id, step_id, delivery, outcome, started_at, finished_at,"
    " error, logs, branch, input, input_bytes)",
    values="{id}, {step_id}, {deliveries}, {outcome}, {started_at}, {finished_at}, {error},"
    " {logs}, {branch}, {input}, {input_bytes}",
)

# A script has ended that ran for so long that it was noted.
FORGET_RUNNING = BatchStatement(
    "DELETE FROM flows_runningattempt", where="flows_runningattempt.message_id = {id}"
)

FORGET_ALL_RUNNING = "DELETE FROM flows_runningattempt WHERE consumer_id = %s"

# Of a run that did not fail, where failures alone are kept.
FORGET_INPUTS = BatchStatement(
    "UPDATE flows_steprun SET input = NULL, input_bytes = NULL",
    where="flows_steprun.run_id = {id} AND flows_steprun.input IS NOT NULL",
)


# Its output has waited for room at its step, and goes on now.
FORGET_PENDING = BatchStatement(
    "UPDATE flows_message SET pending_outputs = FALSE", where="flows_message.id = {id}"
)

# A held message goes on to the next step with the consumer that holds it.
KEEP = BatchStatement(
    "UPDATE flows_message SET step_id = {step_id}, body = {body}, deliveries = 1, suspects = 0",
    where="flows_message.id = {id}",
)

HAND_OVER = BatchStatement(
    "UPDATE flows_message SET step_id = {step_id}, body = {body}, queue_id = {queue_id},"
    " consumer_id = NULL, deliveries = 0, suspects = 0, delayed = FALSE,"
    " available_at = {available_at}",
    where="flows_message.id = {id}",
)

WAIT_AGAIN = BatchStatement(
    "UPDATE flows_message SET queue_id = {queue_id}, consumer_id = NULL, delayed = FALSE,"
    " available_at = {available_at}",
    where="flows_message.id = {id}",
)

# A script waits: the delivery does not count.
WAIT_ON = BatchStatement(
    "UPDATE flows_message SET queue_id = {queue_id}, consumer_id = NULL, delayed = FALSE,"
    " deliveries = flows_message.deliveries - 1, available_at = {available_at},"
    " waiting = {waiting}",
    where="flows_message.id = {id}",
)

# Of a script that waits again and again the history has the last time, and those before it that
# have said something. The first ones stay, for readers that go on behind what they know.
KEPT_WAITS = 50
FORGET_WAITING = BatchStatement(
    "DELETE FROM flows_steprun",
    where="flows_steprun.run_id = {id} AND flows_steprun.step_id = {step_id}"
    " AND flows_steprun.branch = {branch} AND flows_steprun.outcome = 'WAITING'"
    " AND (flows_steprun.logs = '' OR flows_steprun.id NOT IN (SELECT kept.id"
    " FROM flows_steprun kept WHERE kept.run_id = {id} AND kept.step_id = {step_id}"
    " AND kept.branch = {branch} AND kept.outcome = 'WAITING'"
    f" ORDER BY kept.id LIMIT {KEPT_WAITS - 1}))",
)

GIVE_BACK = BatchStatement(
    "UPDATE flows_message SET queue_id = {queue_id}, consumer_id = NULL, delayed = FALSE,"
    " deliveries = flows_message.deliveries - 1",
    where="flows_message.id = {id}",
)

# So is that of a message which cannot be taken now.
PUT_ASIDE = BatchStatement(
    "UPDATE flows_message SET queue_id = {queue_id}, consumer_id = NULL, delayed = FALSE,"
    " deliveries = flows_message.deliveries - 1, available_at = {available_at}",
    where="flows_message.id = {id}",
)

DELETE_MESSAGE = BatchStatement("DELETE FROM flows_message", where="flows_message.id = {id}")

COMPLETE_RUN = BatchStatement(
    "UPDATE flows_run SET status = 'COMPLETED', result = {result}, finished_at = {finished_at}",
    where="flows_run.correlation_id = {id}",
)

FAIL_RUN = BatchStatement(
    "UPDATE flows_run SET status = 'FAILED', error = {error}, finished_at = {finished_at}",
    where="flows_run.correlation_id = {id}",
)

REOPEN_RUN = BatchStatement(
    "UPDATE flows_run SET status = 'RUNNING', error = '', finished_at = NULL",
    where="flows_run.correlation_id = {id}",
)

COUNT_WARNING = BatchStatement(
    "UPDATE flows_run SET warnings = flows_run.warnings + 1",
    where="flows_run.correlation_id = {id}",
)

# The totals of a flow; the first change makes the row.
ADD_TO_TOTALS = """
    ON CONFLICT (flow_name) DO UPDATE SET accepted = flows_flowtotals.accepted + excluded.accepted,
        completed = flows_flowtotals.completed + excluded.completed,
        failed = flows_flowtotals.failed + excluded.failed,
        cancelled = flows_flowtotals.cancelled + excluded.cancelled,
        reopened = flows_flowtotals.reopened + excluded.reopened,
        letters_made = flows_flowtotals.letters_made + excluded.letters_made,
        letters_decided = flows_flowtotals.letters_decided + excluded.letters_decided
"""
ADD_FLOW_TOTALS = f"""
    INSERT INTO flows_flowtotals (flow_name, accepted, completed, failed, cancelled, reopened,
        letters_made, letters_decided)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) {ADD_TO_TOTALS}
"""

MESSAGES_OF_RUN = """
    SELECT CAST(id AS text), queue_id, consumer_id, delayed FROM flows_message
    WHERE id = %s OR (run_id = %s AND branch > '')
"""

REQUEST_CANCEL = "UPDATE flows_consumer SET cancel_requested = TRUE WHERE id = %s"

DELETE_WAITING = """
    DELETE FROM flows_message WHERE id = %s AND queue_id = %s AND delayed = %s
    RETURNING branch, pending_outputs, body
"""

CANCEL_RUN = """
    UPDATE flows_run SET status = 'CANCELLED', cancelled_by_id = %s, finished_at = %s,
        cancelled_input = %s, error = COALESCE(%s, error)
    WHERE correlation_id = %s
"""

BYPASS_PAUSE = """
    UPDATE flows_message SET bypasses_pause = TRUE
    WHERE id = %s OR (run_id = %s AND branch > '')
"""

# --- branches --------------------------------------------------------------------------------

URGENCY = "SELECT priority, bypasses_pause FROM flows_message WHERE id = %s"

# What is left of a fan-out waits at its step, which is done, for room in the next queue.
KEEP_PENDING_OUTPUTS = """
    UPDATE flows_message SET body = %s, pending_outputs = TRUE, queue_id = %s, consumer_id = NULL,
        delayed = FALSE, deliveries = deliveries - 1, available_at = %s
    WHERE id = %s
"""

END_BRANCH = BatchStatement(
    "INSERT INTO flows_branchend (run_id, branch, body)", values="{id}, {branch}, {body}"
)

# The lock on the run decides which of two branches that end at the same time is the last.
COUNT_BRANCHES = """
    UPDATE flows_run SET branches = branches + %s WHERE correlation_id = %s
    RETURNING branches, status, flow_version_id
"""

BRANCH_ENDS = "SELECT body FROM flows_branchend WHERE run_id = %s ORDER BY branch"

SIZE_OF_ENDS = """
    SELECT COUNT(*), COALESCE(SUM({bytes}), 0) FROM flows_branchend WHERE run_id = %s
"""

FORGET_BRANCH_ENDS = "DELETE FROM flows_branchend WHERE run_id = %s"

# A run fails once, however many of its branches do.
FAIL_RUN_OF_BRANCH = """
    UPDATE flows_run SET status = 'FAILED', error = %s, finished_at = %s
    WHERE correlation_id = %s AND status IN ('QUEUED', 'RUNNING') RETURNING flow_version_id
"""
