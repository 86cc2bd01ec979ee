from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from asyncengine.settings import public_url
from flows.front.public_address import PublicAddressMiddleware, inner_path

LIVE = "/async/health/live"


def seen(path: str = "/async/api/runs", **headers: str) -> tuple[str, str]:
    """Return the address that the application sees, and its path within."""
    request = RequestFactory().get(path, **{"HTTP_HOST": "testserver", **headers})
    addresses: list[tuple[str, str]] = []

    def view(request: HttpRequest) -> HttpResponse:
        addresses.append((request.build_absolute_uri(), request.path_info))
        return HttpResponse()

    PublicAddressMiddleware(view)(request)
    return addresses[0]


@pytest.fixture
def public(settings: Any) -> Any:
    settings.ASYNCENGINE_URL = "https://engine.example.org/tools"
    settings.FORCE_SCRIPT_NAME = "/tools"
    settings.ALLOWED_HOSTS = ["localhost", "engine.example.org"]
    return settings


@pytest.mark.parametrize("path", ["/tools/async/api/runs", "/async/api/runs"])
@pytest.mark.parametrize("host", ["localhost", "engine.example.org"])
def test_addresses_follow_the_public_one_whatever_the_proxy_does(public: Any, path: str, host: str):
    assert seen(path, HTTP_HOST=host) == (
        "https://engine.example.org/tools/async/api/runs",
        "/async/api/runs",
    )


@pytest.mark.django_db
def test_a_foreign_host_is_refused_with_a_public_address_too(public: Any, client: Client):
    assert client.get("/async/api/runs", HTTP_HOST="evil.example").status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize(
    "host", ["10.1.2.3", "10.1.2.3:8000", "pod-7", "[fe80::1]", "evil.example"]
)
@pytest.mark.parametrize("path", [LIVE, "/async/health/ready"])
@pytest.mark.parametrize("allowed", ["localhost", ".example.org", "[::1]"])
def test_probes_are_answered_whatever_host_they_name(
    settings: Any, client: Client, path: str, host: str, allowed: str
):
    settings.ALLOWED_HOSTS = [allowed]

    assert client.get(path, HTTP_HOST=host).status_code == 200
    assert client.get("/async/health/none", HTTP_HOST=host).status_code == 404
    assert client.get("/async/api/runs", HTTP_HOST=host).status_code == 400


@pytest.mark.parametrize(
    ("proxies", "proto", "scheme"),
    [
        (0, "https", "http"),
        (1, "https", "https"),
        (1, "https, http", "http"),
        (2, "https, http", "https"),
        (2, "https", "https"),
        (1, "", "http"),
        (1, "gopher", "http"),
        (1, "http, HTTPS", "https"),
    ],
)
def test_the_outermost_trusted_proxy_says_the_scheme(
    settings: Any, proxies: int, proto: str, scheme: str
):
    settings.ASYNCENGINE_PROXIES = proxies

    address, _ = seen(HTTP_X_FORWARDED_PROTO=proto)

    assert address == f"{scheme}://testserver/async/api/runs"


@pytest.mark.parametrize(
    ("proxies", "host"), [(0, "testserver"), (1, "b.example"), (2, "a.example")]
)
def test_the_outermost_trusted_proxy_says_the_host(settings: Any, proxies: int, host: str):
    settings.ASYNCENGINE_PROXIES = proxies
    settings.ALLOWED_HOSTS = ["*"]

    address, _ = seen(HTTP_X_FORWARDED_HOST="evil.example, a.example, b.example")

    assert address == f"http://{host}/async/api/runs"


@pytest.mark.django_db
def test_a_host_that_a_proxy_says_has_to_be_allowed_as_well(settings: Any, client: Client):
    settings.ASYNCENGINE_PROXIES = 1

    assert client.get("/async/api/runs", HTTP_X_FORWARDED_HOST="evil.example").status_code == 400


@pytest.mark.parametrize(
    ("prefix", "path", "inner"),
    [
        ("/tools", "/tools", "/"),
        ("/tools", "/tools/", "/"),
        ("/tools", "/tools/admin/", "/admin/"),
        ("/tools", "/toolsadmin/", "/toolsadmin/"),
        ("/tools", "/tools/tools/admin/", "/tools/tools/admin/"),
        ("/async", "/async/async/api/runs", "/async/api/runs"),
        ("/async", "/async/api/runs", "/async/api/runs"),
        ("/admin", "/admin/", "/admin/"),
        ("/a/b", "/a/b/static/x.js", "/static/x.js"),
        (None, "/tools/admin/", "/tools/admin/"),
    ],
)
def test_the_sub_path_is_left_where_it_was_passed_on(
    settings: Any, prefix: str | None, path: str, inner: str
):
    settings.FORCE_SCRIPT_NAME = prefix

    assert inner_path(path) == inner


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("https://engine.example.org", "https://engine.example.org"),
        ("https://Engine.Example.org:443/tools/", "https://engine.example.org/tools"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("https://[::1]:8443/a/b", "https://[::1]:8443/a/b"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("", ""),
    ],
)
def test_the_public_address_is_written_as_browsers_do(
    monkeypatch: pytest.MonkeyPatch, written: str, address: str
):
    monkeypatch.setenv("ASYNCENGINE_URL", written)

    assert public_url("ASYNCENGINE_URL").geturl() == address


@pytest.mark.parametrize(
    "written",
    [
        *("engine.example.org", "ftp://engine.example.org", "https://", "https://:8443"),
        *("https://h:port", "https://h:99999", "https://user@h", "https://h/?a", "https://h/#a"),
        *("https://h//a", "https://h/a b", "https://" + "h" * 64 + ".example"),
    ],
)
def test_what_is_no_public_address_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, written: str
):
    monkeypatch.setenv("ASYNCENGINE_URL", written)

    with pytest.raises(Exception, match="ASYNCENGINE_URL"):
        public_url("ASYNCENGINE_URL")
