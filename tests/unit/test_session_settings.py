import re

import pytest
from django.core.exceptions import ImproperlyConfigured

from asyncengine.settings import database, direct_database
from flows.postgresql.session_settings import SESSION_SETTINGS, session_settings

POSTGRESQL = "flows.postgresql"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("", {}),
        ("-c work_mem=12MB", {"work_mem": "12MB"}),
        ("-cwork_mem=12MB", {"work_mem": "12MB"}),
        ("--work-mem=12MB", {"work_mem": "12MB"}),
        ("-c search_path=one,two -c jit=on", {"search_path": "one,two", "jit": "on"}),
        ("-c search_path=one,\\ two", {"search_path": "one, two"}),
        ("-c timezone=Europe/Berlin", {"TimeZone": "Europe/Berlin"}),
        ("  -c   a.b=c=d ", {"a.b": "c=d"}),
        ("-c lock_timeout=", {"lock_timeout": ""}),
    ],
)
def test_options_of_a_url_are_settings_of_the_session(options: str, wanted: dict[str, str]):
    assert session_settings(options) == SESSION_SETTINGS | wanted


@pytest.mark.parametrize("options", ["-c", "work_mem=12MB", "-c work_mem", "-F", "-S 100"])
def test_options_that_are_no_settings_are_refused(options: str):
    with pytest.raises(ImproperlyConfigured, match="-c name=value"):
        session_settings(options)


def test_no_options_are_left_for_the_start_up_message_that_poolers_refuse():
    config = database("postgres://user@host/name?options=-c%20work_mem%3D12MB&sslmode=require")

    assert "options" not in config["OPTIONS"]
    assert config["OPTIONS"]["sslmode"] == "require"
    assert config["OPTIONS"]["session_settings"]["work_mem"] == "12MB"


def test_a_schema_in_the_url_is_the_search_path():
    config = database("postgres://user@host/name?currentSchema=engine")

    assert config["OPTIONS"]["session_settings"]["search_path"] == "engine"


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("h1:5432,h2:5433", "h1,h2", "5432,5433"),
        ("h1,h2:5433,h3", "h1,h2,h3", "5432,5433,5432"),
        ("[::1]:5433,%2Frun%2Fpg", "::1,/run/pg", "5433,5432"),
    ],
)
def test_of_several_hosts_the_one_that_takes_writes_is_used(hosts: str, host: str, port: str):
    config = database(f"postgres://us%40er:p%2Cw@{hosts}/name?sslmode=require")

    assert (config["HOST"], config["PORT"]) == (host, port)
    assert (config["USER"], config["PASSWORD"], config["NAME"]) == ("us@er", "p,w", "name")
    assert config["OPTIONS"]["target_session_attrs"] == "read-write"
    assert config["OPTIONS"]["sslmode"] == "require"


def test_the_url_says_which_of_several_hosts_is_taken():
    assert "target_session_attrs" not in database("postgres://h1/name")["OPTIONS"]
    options = database("postgres://h1,h2/name?target_session_attrs=primary")["OPTIONS"]
    assert options["target_session_attrs"] == "primary"


@pytest.mark.parametrize("hosts", ["h1:a,h2", "h1,,h2", "h1,", "[::1,h2", "h1:1:2,h2"])
def test_hosts_that_are_not_understood_are_refused(hosts: str):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not understood"):
        database(f"postgres://user@{hosts}/name")


def test_there_is_no_way_past_a_pooler_without_a_url():
    assert direct_database("", POSTGRESQL) is None


def test_the_way_past_a_pooler_names_another_host():
    direct = direct_database("postgres://user@behind:5433/name", POSTGRESQL)

    assert direct is not None
    assert (direct["HOST"], direct["PORT"], direct["NAME"]) == ("behind", 5433, "name")


@pytest.mark.parametrize(
    ("url", "engine"),
    [
        ("sqlite:///file", POSTGRESQL),
        ("postgres://host/name", "django.db.backends.sqlite3"),
        ("mongo://host/name", POSTGRESQL),
    ],
)
def test_a_way_past_a_pooler_leads_from_postgresql_to_postgresql(url: str, engine: str):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_DIRECT_URL"):
        direct_database(url, engine)


@pytest.mark.parametrize(
    "password", ["p@ss/w:rd#1", "p?w", "p#w", "p/w", "p[w", "p[ab]w", "s/r?t#"]
)
@pytest.mark.parametrize("at", ["h:5432/name", "h1:5432,h2/name", "h/name?sslmode=require"])
def test_url_with_a_password_that_is_not_encoded_says_so_without_it(password: str, at: str):
    with pytest.raises(ImproperlyConfigured) as error:
        database(f"postgres://user:{password}@{at}")

    assert "%2F" in str(error.value)
    assert "PGPASSWORD" in str(error.value)
    assert not [
        part for part in re.split(r"[@/?#\[\]]", password) if f"'{part}'" in str(error.value)
    ]


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p%40ss%2Fw%3Ard%231@h:5432/name",
        "postgres://u:p@ss@h:5432/name",
        "postgres://u:pw@[::1]:5432/name?options=-c search_path=a@b",
        "postgres:///name?host=/run/postgresql&user=me@there",
        "postgres://%2Frun%2Fpostgresql/name",
    ],
)
def test_url_whose_parts_are_clear_is_taken(url: str):
    assert database(url)["NAME"] == "name"
