"""What targets are told, case by case."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.alerts.messages import LONGEST_TITLE, Message, message_of, trial_message
from flows.alerts.notices import Pending, is_quiet, pending, wait_after
from flows.alerts.sending import NotSent, send, url_fault
from flows.models import Alert, AlertNotice, AlertTarget
from tests.mounting import mount

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def alert(level: str = "warning", ended: bool = False, **fields: Any) -> Alert:
    values = {"pk": 1, "rule": "queue-full", "sentence": "The queue is full.", "since": NOW - HOUR}
    return Alert(level=level, ended_at=NOW if ended else None, **(values | fields))


def notice(level: str = "warning", age: timedelta = HOUR, **fields: Any) -> AlertNotice:
    return AlertNotice(level=level, told_at=NOW - age, **fields)


CASES = [
    ("a new one", {}, alert(), None, "new"),
    ("it was told", {}, alert(), notice(), ""),
    ("it got worse", {}, alert("critical"), notice(), "new"),
    ("it got better", {}, alert(), notice("critical"), ""),
    ("it goes on", {"repeat_after": HOUR}, alert(), notice(), "again"),
    ("it does not repeat", {"repeat_after": timedelta(0)}, alert(), notice(age=99 * HOUR), ""),
    ("a warning, where critical ones count", {"least_level": "critical"}, alert(), None, ""),
    ("a critical one there", {"least_level": "critical"}, alert("critical"), None, "new"),
    ("another rule", {"rules": ["workers-gone"]}, alert(), None, ""),
    ("its rule", {"rules": ["workers-gone", "queue-full"]}, alert(), None, "new"),
    ("it has ended", {}, alert(ended=True), notice(), "ended"),
    ("its end was told", {}, alert(ended=True), notice(is_end=True), ""),
    ("it ended before it was told", {}, alert(ended=True), None, ""),
    ("ends are not told", {"tells_end": False}, alert(ended=True), notice(), ""),
]


@pytest.mark.parametrize(
    ("fields", "found", "told", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_a_target_is_told(fields, found, told, expected):
    told_by_alert = {1: told} if told else {}

    result = pending(AlertTarget(**fields), [found], told_by_alert, NOW)

    names = ("new", "again", "ended")
    assert [name for name in names if getattr(result, name)] == ([expected] if expected else [])
    assert bool(result) is bool(expected)


def test_a_target_is_quiet_for_a_time_after_a_message():
    target = AlertTarget(quiet_time=HOUR)

    assert not is_quiet(target, None, NOW)
    assert is_quiet(target, NOW - HOUR / 2, NOW)
    assert not is_quiet(target, NOW - HOUR, NOW)


def test_waits_after_failures_grow_up_to_an_hour():
    assert [wait_after(n).total_seconds() / 60 for n in (1, 2, 3, 50)] == [1, 2, 4, 60]


def test_one_message_has_all_that_is_pending_and_is_as_urgent_as_the_worst(settings):
    settings.ASYNCENGINE_URL = "https://engine.example.org"
    full = alert("critical", sentence="The queue orders is full.", advice="Give it threads.")
    over = alert(ended=True, sentence="No worker is running.")

    message = message_of(Pending(new=[full], ended=[over]))

    assert message.kind == "failure"
    assert message.title == "[Async Engine] The queue orders is full. (and 1 more)"
    assert message.body.splitlines() == [
        "CRITICAL: The queue orders is full.",
        "    since 2026-03-01T11:00:00.000000Z. Give it threads.",
        "ENDED: No worker is running. From 2026-03-01T11:00:00.000000Z to"
        " 2026-03-01T12:00:00.000000Z.",
        "",
        "https://engine.example.org/admin/",
    ]
    assert message_of(Pending(ended=[over])).kind == "success"


def test_a_message_of_a_project_leads_to_the_pages_of_the_engine(settings):
    mount(settings, "https://shop.example.org/engine")

    assert trial_message("team").body.endswith("\nhttps://shop.example.org/engine/admin/")


def test_a_message_stays_short():
    many = [alert(sentence="The queue is full. " * 20) for _ in range(50)]

    message = message_of(Pending(again=many))

    assert len(message.title) == LONGEST_TITLE
    assert "And 30 more." in message.body


@pytest.mark.parametrize(
    "url",
    [
        "mailto:bank:Pa55wort@mail.bank.example?to=ops@bank.example",
        "https://hook:Pa55wort@hooks.example.org/alerts",
        "mailtos://bank:Pa55wort@",
        "jsons://Pa55wort:99999999/x",
        "slack://Pa55wort",
        "Pa55wort",
    ],
)
def test_an_address_that_is_refused_is_in_no_log(url, caplog):
    caplog.set_level(logging.DEBUG)

    fault = url_fault(url)

    assert "Pa55wort" not in fault + caplog.text
    assert "a55" not in caplog.text


@pytest.mark.parametrize("url", ["json://127.0.0.1:1/Pa55wort", "json://u:p%40ss55@127.0.0.1:1"])
def test_an_address_that_cannot_be_reached_is_in_no_log(url, caplog):
    caplog.set_level(logging.DEBUG)

    with pytest.raises(NotSent) as refused:
        send(url, Message("title", "text", "info"))

    assert str(refused.value)
    for secret in ("Pa55wort", "p%40ss55", "p@ss55"):
        assert secret not in str(refused.value) + caplog.text


def test_what_a_project_sends_by_apprise_itself_is_logged_as_ever(caplog):
    from apprise import Apprise

    assert not Apprise().add("nonsense://")

    assert "nonsense" in caplog.text


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("json://hooks.example.org/alerts?+Authorization=Bearer%20x", ""),
        ("mailtos://user:pass@mail.example.org?to=ops@example.org", ""),
        ("https://hooks.example.org", "write jsons:// in place of https://"),
        ("http://127.0.0.1:8690/x", "write json:// in place of http://"),
        ("mailto:ops@example.org", "write mailtos://user:password@mail.example.org?to="),
        ("mailtos:ops@example.org", "write mailtos://user:password@mail.example.org?to="),
        ("slack://x", "see https://appriseit.com/services/slack/."),
        ("nonsense", "https://appriseit.com/services/ has what each service takes"),
        ("nonsense://x", "https://appriseit.com/services/ has what each service takes"),
        ("json://host/a b", "no spaces"),
        ("slack://[tokenA]/x", "It is no address."),
        ("json://[host", "It is no address."),
        ("msteams://a/b/c/d/?template=/etc/passwd", "cannot name files"),
    ],
)
def test_an_address_is_one_that_can_be_sent_to(url, fault):
    assert fault in url_fault(url) if fault else not url_fault(url)
