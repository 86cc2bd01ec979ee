"""Modules that a script may import do their work in the sandbox; others name what stands in."""

import re
from pathlib import Path
from typing import Any

import pytest

from scripts.host.languages.modules import MODULES
from scripts.protocol.calls import LibraryCode
from scripts.protocol.errors import ScriptInvalid, ScriptRaised
from tests.hosts.pools import payload
from tests.hosts.script_host.helpers import Run, error, returning

ZONES = """
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones
"""


def test_the_zones_are_listed(run: Run) -> None:
    value = "['Europe/Berlin' in available_timezones(), len(available_timezones()) > 500]"

    assert payload(run(returning(value, ZONES))) == [True, True]


def test_a_cleared_cache_and_a_changed_list_of_zones_harm_no_message(run: Run) -> None:
    before = f"""
{ZONES}
def offset(name):
    offset = str(datetime(2026, 7, 1, tzinfo=ZoneInfo(name)).utcoffset())
    ZoneInfo.clear_cache()
    available_timezones().clear()
    return offset
"""
    value = "[offset('Europe/Berlin'), offset('Europe/Berlin'), len(available_timezones()) > 500]"
    code = returning(value, before)

    assert [payload(run(code)) for _ in range(2)] == [["2:00:00", "2:00:00", True]] * 2


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "", "/etc/localtime"])
def test_a_zone_that_is_not_there_has_its_usual_error(run: Run, name: str) -> None:
    raised = error(run(returning(f"ZoneInfo({name!r})", ZONES)), ScriptRaised)

    assert re.match(r"(ZoneInfoNotFound|Value|IsADirectory)Error: ", str(raised))


def test_the_page_for_authors_has_the_list() -> None:
    page = (Path(__file__).parents[3] / "scripts/host/languages/README.md").read_text()
    section = page.partition("## Modules of Python")[2].partition("Another import")[0]

    assert tuple(re.findall(r"`([\w.]+)`", section)) == MODULES


def test_every_module_of_the_list_can_be_imported(run: Run) -> None:
    code = "".join(f"import {name}\n" for name in MODULES if name != "__future__")

    assert payload(run(returning("1", code))) == 1


def test_annotations_may_be_left_unread(run: Run) -> None:
    code = """
from __future__ import annotations
def run(message: Message, context: Context) -> Message:
    return message | {"payload": run.__annotations__}
"""

    assert payload(run(code))["message"] == "Message"


# What a module does inside the sandbox, and the value that it has there.
WORK = [
    ("import gzip", "gzip.decompress(gzip.compress(b'text', mtime=0)).decode()", "text"),
    ("import bz2, lzma", "lzma.decompress(lzma.compress(bz2.compress(b'')))[:3].decode()", "BZh"),
    ("import codecs", "codecs.decode('uryyb', 'rot13') + codecs.BOM_UTF8.hex()", "helloefbbbf"),
    ("import codecs, io", "codecs.getreader('cp1252')(io.BytesIO(b'\\x80')).read()", "€"),
    (
        "from ipaddress import ip_address, ip_network",
        "ip_address('10.0.0.7') in ip_network('10.0.0.0/8')",
        True,
    ),
    (
        "import graphlib",
        "list(graphlib.TopologicalSorter({'b': 'a'}).static_order())",
        ["a", "b"],
    ),
    ("from string import Template", "Template('Dear $name').substitute(name='Ada')", "Dear Ada"),
    (
        "from urllib.parse import *",
        "parse_qs(urlsplit('http://a/?b=1&b=2').query)",
        {"b": ["1", "2"]},
    ),
    ("import urllib.parse", "urllib.parse.urljoin('http://a/b', '../c')", "http://a/c"),
    ("import ast", "ast.literal_eval('{1: [2]}')[1]", [2]),
    ("import tomllib", "tomllib.loads('a = 1')", {"a": 1}),
    (
        "import configparser\nparser = configparser.ConfigParser()\n"
        "parser.read_string('[a]\\nb=1')",
        "parser['a']['b']",
        "1",
    ),
    (
        "from email.utils import parsedate_to_datetime",
        "parsedate_to_datetime('Sun, 06 Nov 1994 08:49:37 GMT').year",
        1994,
    ),
    ("from email.message import EmailMessage", "EmailMessage().as_string()", "\n"),
    (
        "import jinja2",
        "jinja2.Template('Dear {{ name|e }}{% for x in n %} {{ x }}{% endfor %}')"
        ".render(name='A&B', n=[1, 2])",
        "Dear A&amp;B 1 2",
    ),
    (
        "from jinja2 import DictLoader, StrictUndefined\n"
        "from jinja2.sandbox import SandboxedEnvironment\n"
        "all = {'a': '{% extends \"b\" %}{% block x %}{{ n + 1 }}{% endblock %}',"
        " 'b': '<{% block x %}{% endblock %}>'}\n"
        "env = SandboxedEnvironment(loader=DictLoader(all), undefined=StrictUndefined)",
        "env.get_template('a').render(n=1)",
        "<2>",
    ),
    ("import markupsafe", "str(markupsafe.escape('<'))", "&lt;"),
    (
        "from dateutil.parser import parse, isoparse",
        "[str(parse('28 Nov 2026 10:30 PM')), str(isoparse('2026-W01-1'))[:10]]",
        ["2026-11-28 22:30:00", "2025-12-29"],
    ),
    (
        "from datetime import date\nfrom dateutil.relativedelta import relativedelta, MO",
        "[str(date(2026, 1, 31) + relativedelta(months=1)),"
        " str(date(2026, 1, 1) + relativedelta(weekday=MO(2)))]",
        ["2026-02-28", "2026-01-12"],
    ),
    (
        "from datetime import datetime\nfrom dateutil import rrule",
        "[str(d)[:10] for d in rrule.rrulestr('FREQ=MONTHLY;BYDAY=-1FR;COUNT=2',"
        " dtstart=datetime(2026, 1, 1))]",
        ["2026-01-30", "2026-02-27"],
    ),
    (
        "from datetime import datetime\nfrom dateutil import tz",
        "[str(datetime(2026, 7, 1, tzinfo=tz.gettz('Europe/Berlin')).utcoffset()),"
        " tz.gettz('Europe/Atlantis'), str(datetime(2026, 7, 1, tzinfo=tz.gettz()).utcoffset())]",
        ["2:00:00", None, "0:00:00"],
    ),
    ("from dateutil.easter import easter", "str(easter(2026))", "2026-04-05"),
    ("import shlex", "shlex.split('a \"b c\"')", ["a", "b c"]),
    ("import fnmatch", "fnmatch.filter(['a.csv', 'b.txt'], '*.csv')", ["a.csv"]),
    (
        "import io, zipfile\nfile = io.BytesIO()\n"
        "with zipfile.ZipFile(file, 'w') as archive: archive.writestr('a', 'b')",
        "zipfile.ZipFile(file).read('a').decode()",
        "b",
    ),
    (
        "import traceback\ntry: 1 / 0\nexcept ArithmeticError: said = traceback.format_exc()",
        "said.splitlines()[-1]",
        "ZeroDivisionError: division by zero",
    ),
    (
        "from xml.etree import ElementTree as ET",
        "[ET.fromstring('<a><b>é</b></a>').find('b').text, ET.tostring(ET.Element('a')).decode()]",
        ["é", "<a />"],
    ),
    (
        "import io\nimport xml.etree.ElementTree as ET",
        "[each.tag for _, each in ET.iterparse(io.BytesIO(b'<a><b/></a>'))]"
        " + [ET.parse(io.StringIO('<c/>')).getroot().tag]",
        ["b", "a", "c"],
    ),
    (
        "import xml.etree.ElementTree as ET",
        "ET.fromstring('<!DOCTYPE a SYSTEM \"http://example.org/a.dtd\"><a>&amp;</a>').text",
        "&",
    ),
]


@pytest.mark.parametrize(("before", "value", "expected"), WORK)
def test_a_module_does_its_work_in_the_sandbox(
    run: Run, before: str, value: str, expected: Any
) -> None:
    assert payload(run(returning(value, before))) == expected


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("jinja2.Template('{{ a.b.c }}').render()", "UndefinedError: 'a' is undefined"),
        ("jinja2.Template('{% if %}')", "TemplateSyntaxError: Expected an expression, got "),
        ("jinja2.Template('{{ 1 / 0 }}').render()", "ZeroDivisionError: division by zero"),
        ("jinja2.Environment().get_template('a')", "TypeError: no loader for this environment"),
    ],
)
def test_a_mistake_in_a_template_has_its_own_error(run: Run, code: str, message: str) -> None:
    raised = error(run(returning(code, "import jinja2")), ScriptRaised)

    assert str(raised).startswith(message)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "the document declares an entity, 'b'"),
        ("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "declares an entity"),
        ("<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://a/'> %b;]><a/>", "declares an entity"),
        ("<a>&nbsp;</a>", "undefined entity"),
        ("<a>" * 1001 + "</a>" * 1001, "elements are nested more than 1000 deep"),
        ("<a><b></a>", "mismatched tag"),
        ("<a/><b/>", "junk after document element"),
        ("", "no element found"),
    ],
)
@pytest.mark.parametrize("how", ["fromstring({})", "parse(io.StringIO({}))", "XML({})"])
def test_xml_that_could_attack_or_is_broken_is_refused(
    run: Run, document: str, reason: str, how: str
) -> None:
    before = "import io, xml.etree.ElementTree as ET"

    raised = error(run(returning("ET." + how.format(repr(document)), before)), ScriptRaised)

    assert str(raised).startswith("ParseError: ")
    assert reason in str(raised)


@pytest.mark.parametrize(
    ("module", "instead"),
    [
        ("requests", "use context.http"),
        ("http.client", "use context.http"),
        ("urllib.request", "use context.http"),
        ("logging.handlers", "use context.log"),
        ("urllib", "import urllib.parse"),
        ("xml", "import xml.etree.ElementTree"),
        ("lxml.etree", "use xml.etree.ElementTree"),
        ("jwt", "use context.jwt and context.verify_jwt"),
        ("cryptography.hazmat", "use context.sign and context.verify"),
        ("yaml", "use json or tomllib"),
        ("sqlite3", "a script has no database; use context.state, context.http or a callable"),
        ("statistic", "do you mean statistics?"),
        ("datetimes", "do you mean datetime?"),
        ("price", "do you mean prices?"),
    ],
)
def test_a_refused_import_names_what_does_its_work_and_where_the_list_is(
    run: Run, module: str, instead: str
) -> None:
    code = f"import {module}\ndef run(m, c): return m"

    raised = error(run(code, libraries=(LibraryCode("prices", ""),)), ScriptInvalid)

    told = f"({instead}; manage.py script modules lists those that may)"
    assert str(raised) == f"ImportError: module '{module}' may not be imported {told}"
    assert "zoneinfo" not in f"{raised}\n{raised.traceback}"
