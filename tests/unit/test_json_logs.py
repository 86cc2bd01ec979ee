"""Lines of the log as JSON: one an event, with its message, without what may be secret."""

import io
import json
import logging

import pytest

from asyncengine.logs import json_formatter
from scripts.callables.logs import MessageFilter, MessageOfLogs, message_of_logs


@pytest.fixture
def written():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(MessageFilter())
    handler.setFormatter(json_formatter())
    # By itself: pytest would take what it logs to the process that reports, as UTF-8.
    logger = logging.Logger("tests.json_logs")
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_event_is_one_line_with_its_message_and_without_other_fields(written):
    logger, lines = written
    token = message_of_logs.set(MessageOfLogs("019c", "flow", "step", 2))
    logger.warning("two\nlines of %s", "ä\ud800", extra={"payload": {"pin": 1}, "queue": "q"})
    message_of_logs.reset(token)
    try:
        raise ValueError("no\nluck")
    except ValueError:
        logger.exception("failed")

    first, second = lines()
    assert first.pop("timestamp").endswith("+00:00")
    assert first.pop("process") > 0
    assert first.pop("event").startswith("two\nlines of ä")
    of_message = {"correlation_id": "019c", "flow": "flow", "step": "step", "attempt": 2}
    place = {"level": "warning", "logger": "tests.json_logs", "queue": "q"}
    assert first == of_message | place
    assert second["exception"].endswith("ValueError: no\nluck")
    assert not second.keys() & of_message.keys()
