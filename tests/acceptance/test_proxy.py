"""A real nginx that ends TLS before the web server."""

from __future__ import annotations

import datetime
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scripts.trials.examples import example_payload
from tests.acceptance.installation import PASSWORD, Installation, free_port
from tests.waiting import PATIENCE, wait_for

pytestmark = [
    pytest.mark.long,
    pytest.mark.nginx,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not on the path"),
]

CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        location {location} {{
            proxy_pass http://127.0.0.1:{upstream};
            {headers}
        }}
    }}
}}
"""
FORWARDED = (
    "proxy_set_header Host $http_host;"
    " proxy_set_header X-Forwarded-Proto $scheme;"
    " proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
)


def write_certificate(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "key.pem").write_bytes(private)
    path = directory / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


@dataclass
class Behind:
    """An installation behind nginx, and a browser before it."""

    installation: Installation
    url: str
    browser: httpx.Client


@dataclass(frozen=True)
class Proxy:
    """How nginx is set up: the sub-path of the engine, and what it passes on."""

    path: str
    passed_on: str
    headers: str
    proxies: str


# With the sub-path taken away or passed on, with the headers of many manuals or with none at all.
PROXIES = {
    "root": Proxy("", "", FORWARDED, "1"),
    "root, no headers": Proxy("", "", "", "0"),
    "sub-path taken away": Proxy("/tools", "/", FORWARDED, "1"),
    "sub-path passed on": Proxy("/tools", "", FORWARDED, "1"),
    "sub-path, no headers": Proxy("/tools", "/", "", "0"),
    "sub-path like our own": Proxy("/async", "/", FORWARDED, "1"),
}


@pytest.fixture(params=list(PROXIES.values()), ids=list(PROXIES))
def behind(
    request: pytest.FixtureRequest, installation: Installation, tmp_path: Path
) -> Iterator[Behind]:
    proxy: Proxy = request.param
    certificate = write_certificate(tmp_path)
    port = free_port()
    url = f"https://localhost:{port}{proxy.path}"
    installation.environment |= {"ASYNCENGINE_URL": url, "ASYNCENGINE_PROXIES": proxy.proxies}
    installation.up()
    configuration = CONFIGURATION.format(
        directory=tmp_path,
        port=port,
        upstream=f"{installation.port}{proxy.passed_on}",
        location=f"{proxy.path}/",
        headers=proxy.headers,
    )
    with nginx(tmp_path, configuration):
        verify = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=url, verify=verify, timeout=30) as browser:
            wait_for(answers(browser), 30, "nginx")
            yield Behind(installation, url, browser)


@contextmanager
def nginx(directory: Path, configuration: str) -> Iterator[None]:
    path = directory / "nginx.conf"
    path.write_text(configuration)
    process = subprocess.Popen(["nginx", "-c", path, "-e", directory / "error.log"])
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(browser: httpx.Client) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            return browser.get("/async/health/live").status_code == 200
        except httpx.TransportError:
            return False

    return asked


def test_the_whole_is_used_behind_a_proxy_that_ends_tls(behind: Behind):
    log_in_by_form(behind)
    follow_the_links_of_the_pages(behind)
    run = start_and_follow_the_addresses(behind)
    use_the_document(behind)

    assert behind.browser.get(run, params={"wait": 30}).json()["status"] == "COMPLETED"


def log_in_by_form(behind: Behind) -> None:
    first = behind.browser.get("/")
    login = behind.browser.get("/admin/", follow_redirects=True)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', login.text)
    assert token

    answer = behind.browser.post(
        str(login.url),
        data={"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token[1]},
        headers={"Origin": behind.url.removesuffix(httpx.URL(behind.url).path.rstrip("/"))},
    )

    assert first.headers["Location"] == httpx.URL(behind.url).path.rstrip("/") + "/admin/"
    assert str(login.url).startswith(f"{behind.url}/admin/login/")
    assert answer.status_code == 302, answer.text
    cookies = answer.headers.get_list("Set-Cookie")
    assert cookies
    path = httpx.URL(behind.url).path.rstrip("/") or "/"
    for cookie in cookies:
        assert "secure" in cookie.lower()
        assert f"path={path}" in cookie.lower()
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


def follow_the_links_of_the_pages(behind: Behind) -> None:
    page = behind.browser.get("/admin/")
    assert page.status_code == 200
    links = set(re.findall(r'(?:href|src)="(/[^"#]*)"', page.text))
    root = httpx.URL(behind.url).path.rstrip("/")

    for link in links:
        assert link.startswith(f"{root}/")
        answer = behind.browser.get(str(httpx.URL(behind.url).copy_with(path=link.split("?")[0])))
        assert answer.status_code in {200, 302, 405}, link


def start_and_follow_the_addresses(behind: Behind) -> str:
    """Return the address of the run."""
    flow = behind.browser.get("/async/api/flows/loan-application").json()
    token = behind.browser.cookies["csrftoken"]

    started = behind.browser.post(
        flow["startUrl"],
        json=example_payload(flow["inputSchema"]),
        headers={"X-CSRFToken": token, "Referer": f"{behind.url}/admin/"},
    )

    assert started.status_code == 202, started.text
    assert flow["startUrl"] == f"{behind.url}/async/api/flows/loan-application/start"
    assert started.headers["Location"].startswith(f"{behind.url}/async/api/runs/")
    assert started.json()["statusUrl"] == started.headers["Location"]
    assert behind.browser.get(started.headers["Location"]).status_code == 200
    return started.headers["Location"]


def use_the_document(behind: Behind) -> None:
    document = behind.browser.get("/async/specifications/openapi.json").json()
    page = behind.browser.get("/async/specifications/swagger-ui/index.html")

    assert document["servers"] == [{"url": behind.url}]
    assert "/async/api/flows/loan-application/start" in document["paths"]
    assert all(path.startswith("/async/") for path in document["paths"])
    root = httpx.URL(behind.url).path.rstrip("/")
    assert f"{root}/async/specifications/openapi.json" in page.text
    for asset in re.findall(r'(?:href|src)="(/[^"]+\.(?:js|css))"', page.text):
        assert asset.startswith(f"{root}/static/")
        found = behind.browser.get(str(httpx.URL(behind.url).copy_with(path=asset)))
        assert found.status_code == 200
