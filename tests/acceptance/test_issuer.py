"""Callers with tokens of an identity provider, against a running installation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.installation import Installation, installation_in
from tests.issuer import AUDIENCE, DISCOVERY, Issuer, issuing, public_jwk
from tests.waiting import PATIENCE, wait_for

# An installation of its own.
pytestmark = pytest.mark.long

ECHO = "def run(message, context):\n    return message\n"
FLOWS = {
    "scripts": [{"name": "echo", "code": ECHO}],
    "queues": [{"name": "first"}],
    "flows": [{"name": "quick", "steps": [{"script": "echo", "queue": "first"}]}],
    "rbac": {"clerks": {"start": ["quick"]}, "viewers": {"watch": ["*"]}},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing("RS256", "ES256") as issuer:
        # Down when the installation starts, which does not stop it.
        issuer.is_down()
        yield issuer


@pytest.fixture(scope="module")
def served(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation_in(tmp_path_factory.mktemp("issuer")) as installation:
        installation.environment |= {
            "ASYNCENGINE_OIDC_ISSUER": issuer.url,
            "ASYNCENGINE_OIDC_AUDIENCE": AUDIENCE,
            "ASYNCENGINE_OIDC_ROLE_CLAIM": "roles",
        }
        installation.up("--no-demo")
        installation.configure(FLOWS)
        yield installation


def caller(served: Installation, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=served.http.base_url, headers=headers, timeout=PATIENCE)


def test_calls_with_tokens_while_the_issuer_is_down_and_again_after_it(
    served: Installation, issuer: Issuer
) -> None:
    with caller(served, issuer.token(roles=["clerks"])) as client:
        down = client.get("/api/flows")
        assert (down.status_code, served.http.get("/api/flows").status_code) == (503, 200)

        issuer.is_up()
        wait_for(lambda: client.get("/api/flows").status_code == 200, what="the issuer's keys")

        # Those after the first are stored in groups, without the view.
        runs = [start(client) for _ in range(20)]
        assert served.run(runs[-1], wait=30)["status"] == "COMPLETED"
    assert len({*runs}) == 20


def test_rotated_key_is_taken_without_a_restart(served: Installation, issuer: Issuer) -> None:
    issuer.is_up()
    issuer.keys = {"new": public_jwk("ES256", "new", 1)}
    token = issuer.token("ES256", number=1, headers={"kid": "new"}, roles=["clerks"])

    with caller(served, token) as client:
        wait_for(lambda: client.get("/api/flows").status_code == 200, what="the new key")
        assert start(client)
    assert issuer.count(DISCOVERY) < 20


def test_stream_ends_with_its_token(served: Installation, issuer: Issuer) -> None:
    issuer.is_up()
    issuer.keys = {"RS256": public_jwk("RS256", "RS256", 0)}
    longer = issuer.token(roles=["viewers"])
    with caller(served, longer) as client:
        # Each process of the web server looks for a new key at its own time: the same connection
        # leads to the one that has found it.
        wait_for(lambda: client.get("/api/flows").status_code == 200, what="the key")

        # Clocks may differ by a minute, so it is valid for 15 s.
        token = issuer.token(iat=int(time.time()), exp=int(time.time()) - 45, roles=["viewers"])
        client.headers["Authorization"] = f"Bearer {token}"
        with client.stream("GET", "/api/events") as events:
            assert events.status_code == 200
            text = "".join(events.iter_text())
        after = client.get("/api/flows")

    assert text.startswith("retry:")
    assert after.status_code == 401
    assert 'error="invalid_token"' in after.headers["WWW-Authenticate"]


def start(client: httpx.Client) -> Any:
    answer = client.post("/api/start", params={"flowName": "quick"}, json={"amount": 5})
    assert answer.status_code == 202, answer.text
    return answer.json()["correlationId"]
