"""Pages of other origins that call the API from a browser."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from flows.models import Flow
from tests.integration.api.helpers import client_of, grant, objects_in

PAGE = "https://pages.example.org"
FROM_PAGE = {"Origin": PAGE}
START = "/async/api/start?flowName=loan"
ASKED = FROM_PAGE | {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}


@pytest.fixture(autouse=True)
def _allowed(settings: Any) -> None:
    settings.MIDDLEWARE = [
        settings.MIDDLEWARE[0],
        "corsheaders.middleware.CorsMiddleware",
        *settings.MIDDLEWARE[1:],
    ]
    settings.CORS_ALLOWED_ORIGINS = [PAGE]


def test_a_preflight_is_answered_without_a_login(anonymous: Client):
    answer = anonymous.options(START, headers=ASKED)

    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in answer["Access-Control-Allow-Methods"]
    wanted = ["authorization", "content-type", "idempotency-key", "last-event-id"]
    assert set(wanted) <= set(answer["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in answer


def test_a_page_may_do_all_that_the_document_describes(anonymous: Client, settings: Any):
    document = anonymous.get("/async/specifications/openapi.json").json()
    methods = {method.upper() for path in document["paths"].values() for method in path}
    parts = list(objects_in(document))
    sent = {part["name"].lower() for part in parts if part.get("in") == "header"}
    answered = {name for part in parts for name in part.get("headers", {})}

    answer = anonymous.options(START, headers=ASKED)

    assert methods <= set(answer["Access-Control-Allow-Methods"].split(", "))
    assert sent <= set(answer["Access-Control-Allow-Headers"].split(", "))
    # What says how to log in is not for the code of a page.
    exposed = set(settings.CORS_EXPOSE_HEADERS)
    assert answered - {"WWW-Authenticate", "Accept", "Accept-Encoding"} <= exposed


@pytest.mark.parametrize(
    ("path", "status", "more"),
    [
        ("/async/api/runs", 401, {}),
        ("/async/nothing", 404, {}),
        ("/async/health/ready", 200, {}),
        ("/async/api/runs", 400, {"Host": "evil.example.org"}),
    ],
)
def test_a_page_may_read_every_answer_and_refusal(
    anonymous: Client, path: str, status: int, more: dict[str, str]
):
    answer = anonymous.get(path, headers=FROM_PAGE | more)

    assert answer.status_code == status
    assert answer["Access-Control-Allow-Origin"] == PAGE
    assert "X-Correlation-Id" in answer["Access-Control-Expose-Headers"]


def test_a_start_and_an_unexpected_error_have_the_headers(
    user: Any, flow: Flow, monkeypatch: pytest.MonkeyPatch
):
    grant(user)
    client = client_of(user)

    def start() -> Any:
        return client.post(START, {"amount": 1}, "application/json", headers=FROM_PAGE)

    accepted = start()
    monkeypatch.setattr("flows.engine.start", lambda *given, **options: 1 / 0)
    failed = start()

    assert (accepted.status_code, failed.status_code) == (202, 500)
    for answer in (accepted, failed):
        assert answer["Access-Control-Allow-Origin"] == PAGE
        assert "origin" in answer["Vary"]


@pytest.mark.parametrize(
    ("path", "origin"),
    [("/async/api/runs", "https://evil.example.org"), ("/admin/login/", PAGE)],
)
def test_other_origins_and_pages_of_the_admin_are_not_allowed(
    anonymous: Client, path: str, origin: str
):
    answer = anonymous.get(path, headers={"Origin": origin})

    assert "Access-Control-Allow-Origin" not in answer


@pytest.mark.parametrize("path", ["/tools/async/api/runs", "/async/api/runs"])
def test_below_a_sub_path_it_is_the_api_as_well(anonymous: Client, settings: Any, path: str):
    settings.FORCE_SCRIPT_NAME = "/tools"
    settings.CORS_URLS_REGEX = "(?:/tools)?/async/"

    assert anonymous.get(path, headers=FROM_PAGE)["Access-Control-Allow-Origin"] == PAGE
