"""What `logging` says of the message that a callable works at."""

import logging

import pytest

from scripts.callables.calls import CallableCall
from scripts.callables.logs import MessageFilter
from scripts.protocol.calls import Call, CallSite, Program

HERE = "tests.unit.test_callable_logs"
logger = logging.getLogger("tests.callable_logs")


def logs(message, context):
    logger.warning("scored %s", 5, extra=message["payload"])
    return message


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records():
    handler = Kept()
    handler.addFilter(MessageFilter())
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


def run(payload=b"{}", attempt=2):
    program = Program(1, "logs", "callable", f"{HERE}.logs", 5.0, 64)
    body = b'{"correlationId":"019c","payload":' + payload + b"}"
    call = Call(key="k", correlation_id="019c", attempt=attempt, delivery_id="d", body=body)
    outcome = CallableCall(program, CallSite("flow", "step", "queue", False), call).outcome()
    assert outcome.error is None


def fields(record):
    return record.correlation_id, record.flow, record.step, record.attempt


def test_records_of_a_callable_say_which_message_it_is_at(records):
    run()

    assert [fields(record) for record in records] == [("019c", "flow", "step", 2)]
    assert records[0].of_message == " [019c flow/step attempt 2]"


def test_records_after_it_say_nothing_of_it(records):
    run()
    logger.warning("alone")

    assert fields(records[-1]) == ("", "", "", "")
    assert records[-1].of_message == ""


def test_what_the_callable_gives_as_extra_stays(records):
    run(b'{"flow":"mine"}')

    assert fields(records[0]) == ("019c", "mine", "step", 2)


def test_the_lines_of_the_settings_have_it(settings, records):
    line = logging.Formatter(settings.LOGGING["formatters"]["text"]["format"])

    run()
    logger.warning("alone")

    scored, alone = map(line.format, records)
    assert settings.LOGGING["handlers"]["stderr"]["filters"] == ["message"]
    assert settings.LOGGING["filters"]["message"]["()"] == path_of(MessageFilter)
    assert scored.endswith("tests.callable_logs [019c flow/step attempt 2]: scored 5")
    assert alone.endswith("tests.callable_logs: alone")


def path_of(kind):
    return f"{kind.__module__}.{kind.__qualname__}"
