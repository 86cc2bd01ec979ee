"""The SQL of the hot path, with what each statement is for. Both databases understand it."""

from flows.store.database import Batch

INSERT_RUN = Batch(
    "INSERT INTO flows_run (correlation_id, flow_version_id, started_by_id, status, created_at,"
    " error, warnings)",
    values="{id}, {flow_version_id}, {user_id}, 'QUEUED', {started_at}, '', 0",
)

INSERT_MESSAGE = Batch(
    "INSERT INTO flows_message (id, run_id, step_id, queue_id, body, deliveries, available_at)",
    values="{id}, {id}, {step_id}, {queue_id}, {body}, 0, {available_at}",
)

# Bounded: it changes nothing where the queue would hold more than its size.
ADD_DEPTH_WITHIN_SIZE = """
    UPDATE flows_queuestate SET depth = depth + %s
    WHERE queue_id = %s AND depth + reserved + %s
          <= (SELECT size FROM flows_queue WHERE id = queue_id)
"""

# What every queue is up to, for the broker. The head is one probe of the index of those waiting.
READY_QUEUES = """
    SELECT q.id, s.depth, q.size - s.depth - s.reserved, q.paused,
           COALESCE(t.threads, 1), COALESCE(c.threads, 0), COALESCE(c.consumers, 0),
           CASE WHEN s.depth > 0 THEN (
               SELECT m.step_id FROM flows_message m
               WHERE m.queue_id = q.id AND m.available_at <= %s
               ORDER BY m.available_at LIMIT 1) END
    FROM flows_queue q
    JOIN flows_queuestate s ON s.queue_id = q.id
    LEFT JOIN flows_step t ON t.queue_id = q.id
    LEFT JOIN (SELECT queue_id, CAST(SUM(threads) AS integer) AS threads, COUNT(*) AS consumers
               FROM flows_consumer GROUP BY queue_id) c ON c.queue_id = q.id
"""

GRANTED_THREADS = """
    SELECT CAST(COALESCE(SUM(threads), 0) AS integer) FROM flows_consumer
    WHERE queue_id = %s AND id <> %s
"""

# The fencing token: a consumer that is gone renews nothing.
RENEW_LEASE = "UPDATE flows_consumer SET heartbeat_at = %s WHERE id = %s"

END_LEASE = "DELETE FROM flows_consumer WHERE id = %s"

# Only while it was not heard of since.
END_LEASE_SEEN = "DELETE FROM flows_consumer WHERE id = %s AND heartbeat_at <= %s"

MOVE_CONSUMER = "UPDATE flows_consumer SET queue_id = %s, threads = %s WHERE id = %s"

HELD = """
    SELECT CAST(id AS text), step_id, body, deliveries FROM flows_message WHERE consumer_id = %s
"""

HELD_STEPS = "SELECT step_id, COUNT(*) FROM flows_message WHERE consumer_id = %s GROUP BY step_id"

RELEASE = """
    UPDATE flows_message
    SET queue_id = (SELECT v.queue_id FROM flows_stepversion v WHERE v.id = step_id),
        consumer_id = NULL, available_at = %s, deliveries = deliveries - %s
    WHERE consumer_id = %s
"""

# In the order of the ids, so that two commits never wait for each other.
LOCK_COUNTERS = """
    SELECT s.queue_id, s.depth, s.reserved, q.size, q.paused, COALESCE(t.threads, 1)
    FROM flows_queuestate s
    JOIN flows_queue q ON q.id = s.queue_id
    LEFT JOIN flows_step t ON t.queue_id = q.id
    WHERE s.queue_id IN ({ids}) ORDER BY s.queue_id {lock}
"""

ADD_TO_COUNTERS = Batch(
    "UPDATE flows_queuestate SET depth = flows_queuestate.depth + {depth},"
    " reserved = flows_queuestate.reserved + {reserved}",
    where="flows_queuestate.queue_id = {queue_id}",
)

HEAD_STEP = """
    SELECT step_id FROM flows_message WHERE queue_id = %s AND available_at <= %s
    ORDER BY available_at LIMIT 1
"""

# The oldest messages of a step that nobody else is just taking.
TAKE = """
    WITH taken AS MATERIALIZED (
        SELECT id FROM flows_message
        WHERE queue_id = %s AND available_at <= %s AND step_id = %s
        ORDER BY available_at LIMIT %s {lock})
    UPDATE flows_message SET consumer_id = %s, queue_id = NULL, deliveries = deliveries + 1
    WHERE id IN (SELECT id FROM taken)
    RETURNING CAST(id AS text), step_id, body, deliveries
"""

MARK_RUNNING = Batch(
    "UPDATE flows_run SET status = 'RUNNING', started_at = {started_at}",
    where="flows_run.correlation_id = {id} AND flows_run.status = 'QUEUED'",
)

INSERT_STEP_RUN = Batch(
    "INSERT INTO flows_steprun (run_id, step_id, outcome, started_at, finished_at, error, logs)",
    values="{id}, {step_id}, {outcome}, {started_at}, {finished_at}, {error}, {logs}",
)

# A held message goes on to the next step with the consumer that holds it.
KEEP = Batch(
    "UPDATE flows_message SET step_id = {step_id}, body = {body}, deliveries = 1",
    where="flows_message.id = {id}",
)

HAND_OVER = Batch(
    "UPDATE flows_message SET step_id = {step_id}, body = {body}, queue_id = {queue_id},"
    " consumer_id = NULL, deliveries = 0, available_at = {available_at}",
    where="flows_message.id = {id}",
)

WAIT_AGAIN = Batch(
    "UPDATE flows_message SET queue_id = {queue_id}, consumer_id = NULL,"
    " available_at = {available_at}",
    where="flows_message.id = {id}",
)

DELETE_MESSAGE = Batch("DELETE FROM flows_message", where="flows_message.id = {id}")

COMPLETE_RUN = Batch(
    "UPDATE flows_run SET status = 'COMPLETED', result = {result}, finished_at = {finished_at}",
    where="flows_run.correlation_id = {id}",
)

FAIL_RUN = Batch(
    "UPDATE flows_run SET status = 'FAILED', error = {error}, finished_at = {finished_at}",
    where="flows_run.correlation_id = {id}",
)

REOPEN_RUN = Batch(
    "UPDATE flows_run SET status = 'RUNNING', error = '', finished_at = NULL",
    where="flows_run.correlation_id = {id}",
)

COUNT_WARNING = Batch(
    "UPDATE flows_run SET warnings = flows_run.warnings + 1",
    where="flows_run.correlation_id = {id}",
)
