"""Scripts that cannot run; Imports."""

import json

import pytest

from scripts.pool import zygote_client
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.errors import (
    ScriptInvalid,
)
from tests.hosts.pools import payload
from tests.hosts.script_host.helpers import CORRELATION_ID, Run, error, returning
from tests.waiting import PATIENCE


def test_script_that_does_not_compile_names_its_line(run: Run) -> None:
    invalid = error(run("x = 1\ndef run(message context): pass"), ScriptInvalid)

    assert invalid.line == 2
    assert str(invalid).startswith("line 2: ")


@pytest.mark.parametrize("code", ["", "run = 3", "def ran(message, context): pass"])
def test_script_without_run_is_invalid(run: Run, code: str) -> None:
    assert str(error(run(code), ScriptInvalid)) == "The script has no run(message, context)."


def test_run_with_other_parameters_is_invalid(run: Run) -> None:
    invalid = error(run("\ndef run(message): return message"), ScriptInvalid)

    assert invalid.line == 2
    assert "takes 1 positional argument but 2 were given" in str(invalid)


def test_language_that_is_not_there_is_invalid(pool: HostPool) -> None:
    program = Program(1, "old", "cobol", "STOP RUN.", 5, 64)

    pool.submit(program, CallSite("f", "s", "q", False), [Call(1, "c", 1, "d", b"{}")], 1)

    assert str(error(pool.collect(PATIENCE)[0], ScriptInvalid)) == "There is no language 'cobol'."


@pytest.mark.parametrize("module", ["os", "sys", "socket", "subprocess", "ctypes", "builtins"])
def test_modules_that_are_not_listed_may_not_be_imported(run: Run, module: str) -> None:
    raised = error(run(f"import {module}\ndef run(m, c): return m"), ScriptInvalid)

    assert str(raised).startswith(f"ImportError: module '{module}' may not be imported (")
    assert "manage.py script modules lists those that may" in str(raised)


def test_listed_modules_work_without_files(run: Run) -> None:
    before = """
import collections.abc, csv, datetime, decimal, hashlib, io, random, re, statistics, uuid, time
import unicodedata, zlib, urllib.parse, html, textwrap, pprint, calendar, string, secrets
from urllib import parse
from zoneinfo import ZoneInfo
now = datetime.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
parsed = datetime.datetime.strptime("2026-07-01", "%Y-%m-%d")
time.strptime("2026", "%Y")
row = next(csv.reader(io.StringIO("a,b")))
hashlib.sha256(b"x").hexdigest(); uuid.uuid4(); secrets.token_hex(); random.random()
"x".encode("cp1252"); "x".encode("idna"); "\\N{BULLET}"; b"x".decode("utf-16", "ignore")
html.unescape("&auml;"); unicodedata.name("x"); zlib.compress(b"x"); pprint.pformat([1])
calendar.month_name[1]; statistics.median([1, 2]); re.compile("x", re.I); time.localtime()
hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1)
"""
    value = "[now.isoformat(), parsed.year, row, parse.quote('a b'), len(ZoneInfo('UTC').key)]"

    assert payload(run(returning(value, before))) == [
        "2026-07-01T12:00:00+02:00",
        2026,
        ["a", "b"],
        "a%20b",
        3,
    ]


def test_time_zones_are_there_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    without = "import zoneinfo; zoneinfo.reset_tzpath([]); "
    monkeypatch.setattr(zygote_client, "_START_ZYGOTE", without + zygote_client._START_ZYGOTE)
    zones = [
        "Europe/Berlin",
        "America/New_York",
        "Asia/Kolkata",
        "Pacific/Chatham",
        "UTC",
        "EST5EDT",
    ]
    before = """
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones
"""
    value = f"[str(datetime(2026, 7, 1, tzinfo=ZoneInfo(z)).utcoffset()) for z in {zones}]"
    body = json.dumps({"correlationId": CORRELATION_ID, "payload": {}}).encode()
    pool = HostPool()
    try:
        call = Call("key", CORRELATION_ID, 1, "d", body)
        program = Program(1, "zones", "python", returning(value, before), 20, 256)
        pool.submit(program, CallSite("orders", "price", "to-price", False), [call], 1)
        [outcome] = pool.collect(PATIENCE)
    finally:
        pool.close()

    assert payload(outcome) == [
        "2:00:00",
        "-1 day, 20:00:00",
        "5:30:00",
        "12:45:00",
        "0:00:00",
        "-1 day, 20:00:00",
    ]


def test_member_that_a_module_lacks_is_an_import_error(run: Run) -> None:
    raised = error(run("from json import nothing\ndef run(m, c): return m"), ScriptInvalid)

    assert str(raised).startswith("ImportError: cannot import name 'nothing' from 'json'")


def test_hosts_do_not_share_their_random_numbers(run: Run) -> None:
    codes = [returning("random.random()", f"import random  # {n}") for n in range(3)]

    assert len({payload(run(code)) for code in codes}) == 3
