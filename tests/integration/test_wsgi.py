"""Requests as a server gives them to the application, whatever a caller has written in them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from asyncengine.wsgi import application

PATHS = [
    "/?a=b",
    "/admin/login/?next=/admin/",
    "/admin/flows/run/?q=a",
    "/async/api/runs?flowName=loan",
    "/async/api/start?flowName=loan",
    "/async/api/auth/token?x=1",
    "/async/health/live?x=1",
    "/async/specifications/openapi.json?x=1",
    "/nowhere?x=1",
]
# Python's codecs that are none of texts, or fail in other ways than by a UnicodeDecodeError.
CODECS = [
    *("rot13", "zlib_codec", "bz2_codec", "hex", "base64", "quopri", "uu"),
    *("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"),
    *("utf-16", "utf-7", "latin-1", "cp037", "none-such", "", " ", "ü", "\x01"),
]


def status_of(method: str, path: str, **headers: str) -> int:
    statuses = []

    def start_response(status: str, headers: Any) -> None:
        statuses.append(int(status.split()[0]))

    environ = RequestFactory().generic(method, path).environ | headers
    response: Any = application(environ, start_response)
    response.close()
    return statuses[0]


@pytest.mark.sampled(4)
@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("codec", CODECS)
def test_no_charset_of_a_request_is_a_surprise(path: str, codec: str):
    for form in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data"):
        for parameter in (f"charset={codec}", f"charset*={codec}''utf-8", f"x*={codec}''a%20b"):
            for method in ("GET", "POST", "OPTIONS"):
                content_type = f"{form}; boundary=b; {parameter}"
                assert status_of(method, path, CONTENT_TYPE=content_type) < 500


@pytest.mark.django_db
@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_no_content_type_is_a_surprise(content_type: str):
    assert status_of("POST", "/async/api/start?flowName=loan", CONTENT_TYPE=content_type) < 500


@pytest.mark.django_db
def test_a_page_takes_no_text_in_another_charset():
    content_type = "application/x-www-form-urlencoded; charset=latin-1"

    assert status_of("POST", "/admin/login/", CONTENT_TYPE=content_type) == 415


@pytest.mark.django_db
def test_the_root_leads_to_the_configuration_manager(client: Any):
    response = client.get("/")

    assert response.status_code == 302
    assert response["Location"] == "/admin/"
