from __future__ import annotations

import gzip
import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any
from unittest import mock
from urllib.parse import unquote

import jsonschema_rs
import pytest
import yaml
from django.contrib.staticfiles import finders
from django.test import Client
from openapi_spec_validator import OpenAPIV31SpecValidator

from flows.api.openapi.document import Documents, as_json
from flows.api.openapi.flow_operations import add_flows, operation_ids
from flows.api.openapi.payload_schemas import key_of
from flows.models import Right
from tests.integration.api.helpers import (
    assert_problem,
    basic,
    client_of,
    grant,
    make_loan_flow,
    objects_in,
)

JSON = "/async/specifications/openapi.json"
YAML = "/async/specifications/openapi.yaml"
PAGE = "/async/specifications/swagger-ui/index.html"

OPERATIONS = {
    ("post", "/async/api/start"): "startProcess",
    ("post", "/async/api/start/batch"): "startBatch",
    ("get", "/async/api/runs"): "listRuns",
    ("get", "/async/api/runs/counts"): "countRuns",
    ("get", "/async/api/runs/{id}"): "getRun",
    ("get", "/async/api/runs/{id}/input"): "getRunInput",
    ("post", "/async/api/runs/cancel"): "cancelRuns",
    ("post", "/async/api/runs/erase"): "erasePayloads",
    ("post", "/async/api/runs/{id}/again"): "runAgain",
    ("get", "/async/api/runs/{id}/result"): "getRunResult",
    ("get", "/async/api/runs/{id}/logs"): "getRunLogs",
    ("get", "/async/api/runs/{id}/events"): "streamRunEvents",
    ("get", "/async/api/events"): "streamEvents",
    ("get", "/async/api/runs/{id}/webhooks"): "listWebhookDeliveries",
    ("post", "/async/api/webhooks/{id}/replay"): "replayWebhookDelivery",
    ("post", "/async/api/runs/{id}/cancel"): "cancelRun",
    ("get", "/async/api/queues"): "listQueues",
    ("get", "/async/api/queues/{name}"): "getQueue",
    ("post", "/async/api/queues/{name}/pause"): "pauseQueue",
    ("post", "/async/api/queues/{name}/resume"): "resumeQueue",
    ("get", "/async/api/dead-letters"): "listDeadLetters",
    ("get", "/async/api/dead-letters/{id}"): "getDeadLetter",
    ("delete", "/async/api/dead-letters/{id}"): "discardDeadLetter",
    ("get", "/async/api/reprocessings"): "listReprocessings",
    ("get", "/async/api/reprocessings/{id}"): "getReprocessing",
    ("post", "/async/api/reprocessings/{id}/stop"): "stopReprocessing",
    ("post", "/async/api/dead-letters/{id}/reprocess"): "reprocessDeadLetter",
    ("post", "/async/api/dead-letters/reprocess"): "reprocessDeadLetters",
    ("delete", "/async/api/auth/token"): "revokeToken",
    ("get", "/async/api/auth/tokens"): "listTokens",
    ("post", "/async/api/auth/tokens"): "addToken",
    ("delete", "/async/api/auth/tokens/{id}"): "removeToken",
    ("get", "/async/api/auth/whoami"): "whoAmI",
    ("get", "/async/api/flows"): "listFlows",
    ("get", "/async/api/flows/{name}"): "getFlow",
    ("post", "/async/api/flows/{name}/pause"): "pauseFlow",
    ("post", "/async/api/flows/{name}/resume"): "resumeFlow",
    ("get", "/async/api/flows/{name}/schedules"): "listSchedules",
    ("get", "/async/api/flows/{name}/schedules/{schedule}"): "getSchedule",
    ("put", "/async/api/flows/{name}/schedules/{schedule}"): "setSchedule",
    ("delete", "/async/api/flows/{name}/schedules/{schedule}"): "removeSchedule",
    ("post", "/async/api/flows/{name}/schedules/{schedule}/pause"): "pauseSchedule",
    ("post", "/async/api/flows/{name}/schedules/{schedule}/resume"): "resumeSchedule",
    ("post", "/async/api/auth/token"): "createToken",
    ("get", "/async/health/live"): "isLive",
    ("get", "/async/health/ready"): "isReady",
    ("get", "/async/metrics"): "getMetrics",
}


def operations(document):
    """Return the operations by method and path, with their shared parts in place."""
    return {
        (method, path): resolved(document, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


PUBLIC_PATHS = {path for _, path in OPERATIONS}


@pytest.fixture
def user_of_all_flows(admin):
    """A client that may start every flow."""
    return client_of(admin)


def resolved(document, operation):
    components = document["components"]

    def look_up(part, kind):
        reference = part.get("$ref", "")
        return components[kind][reference.rpartition("/")[2]] if reference else part

    return operation | {
        "responses": {
            status: look_up(response, "responses")
            for status, response in operation["responses"].items()
        },
        "parameters": [look_up(part, "parameters") for part in operation.get("parameters", [])],
    }


def validate(document: dict[str, Any]) -> None:
    validate_text(json.dumps(document))


@cache
def validate_text(text: str) -> None:
    """Validate a document once: it takes half a second, and many callers get the same one."""
    OpenAPIV31SpecValidator(json.loads(text)).validate()


def test_document_is_valid_and_has_every_operation(anonymous):
    response = anonymous.get(JSON)

    assert response["Content-Type"] == "application/json"
    document = response.json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    ids = {key: operation["operationId"] for key, operation in operations(document).items()}
    assert ids == OPERATIONS


@pytest.mark.parametrize("page", ["openapi.json", "openapi.yaml", "swagger-ui/index.html"])
def test_unknown_query_parameter_is_refused(anonymous, page):
    response = anonymous.get(f"/async/specifications/{page}?x=1")

    document = assert_problem(response, 400, "query-invalid")
    assert document["errors"][0]["parameter"] == "x"


def test_yaml_and_json_say_the_same(user_of_all_flows, flow):
    response = user_of_all_flows.get(YAML, headers={"Accept": "text/html"})

    read = yaml.load(response.content, Loader=yaml.CSafeLoader)
    assert read == user_of_all_flows.get(JSON).json()


def test_every_operation_is_described_with_its_refusals(user_of_all_flows, flow):
    for operation in operations(user_of_all_flows.get(JSON).json()).values():
        assert operation["summary"]
        assert operation["tags"]
        refused = {code: r for code, r in operation["responses"].items() if code >= "400"}
        assert refused
        for response in refused.values():
            assert list(response["content"]) == ["application/problem+json"]


def test_every_operation_has_a_description_for_callers(user_of_all_flows):
    descriptions = [
        each["description"] for each in operations(user_of_all_flows.get(JSON).json()).values()
    ]

    assert len({*descriptions}) == len(descriptions)
    # The docstrings of views speak of settings and classes.
    assert not [text for text in descriptions if "Base of" in text or "REST_FRAMEWORK" in text]


def test_generators_of_clients_find_what_they_can_read(anonymous):
    document = anonymous.get(JSON).json()

    defaults = [node["default"] for node in objects_in(document) if "default" in node]
    first_types = {
        next(iter(operation["requestBody"]["content"]))
        for operation in operations(document).values()
        if "requestBody" in operation
    }

    assert None not in defaults
    assert first_types == {"application/json"}


def test_every_answer_and_every_body_has_an_example_that_matches_its_schema(anonymous):
    document = anonymous.get(JSON).json()
    bodies = []
    for key, operation in operations(document).items():
        contents = [
            response["content"]
            for status, response in operation["responses"].items()
            if status < "300" and "content" in response
        ]
        sent = operation.get("requestBody", {}).get("content", {})
        contents += [{"application/json": sent["application/json"]}] if sent else []
        bodies += [
            (key, content["application/json"])
            for content in contents
            if "application/json" in content
        ]

    lacking = []
    for key, body in bodies:
        schema = body["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        whole = document["components"]["schemas"].get(name, schema)
        values = [each["value"] for each in body.get("examples", {}).values()]
        values += whole.get("examples", [])
        if not values:
            lacking.append(key)
        validator = jsonschema_rs.validator_for(schema | {"components": document["components"]})
        for value in values:
            assert validator.is_valid(value), (key, value)
    assert lacking == []


def test_what_may_not_be_empty_is_said_to_be_there(anonymous):
    found = operations(anonymous.get(JSON).json()).values()

    needed = {each["operationId"] for each in found if each.get("requestBody", {}).get("required")}
    assert needed == {
        *("startProcess", "startBatch", "reprocessDeadLetters", "cancelRuns", "setSchedule"),
        "erasePayloads",
    }
    texts = [
        (each["operationId"], parameter["name"])
        for each in found
        for parameter in each["parameters"]
        if parameter["in"] == "query"
        and parameter["schema"].get("type") == "string"
        and not {"enum", "format", "minLength"} & set(parameter["schema"])
    ]
    assert texts == []


def test_headers_are_documented_where_they_come(anonymous):
    document = anonymous.get(JSON).json()
    responses = operations(document)["post", "/async/api/start"]["responses"]

    assert set(responses) >= {
        *("202", "400", "401", "403", "404", "409", "413", "415", "429", "503")
    }
    assert "Location" in responses["202"]["headers"]
    assert "WWW-Authenticate" in responses["401"]["headers"]
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(responses["429"]["headers"])
    assert {"RateLimit", "RateLimit-Policy"} <= set(responses["202"]["headers"])
    assert "Retry-After" in responses["503"]["headers"]


def test_callers_may_log_in_in_three_ways(anonymous):
    document = anonymous.get(JSON).json()

    assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"
    assert document["paths"]["/async/api/start"]["post"]["security"] == [
        {"bearerAuth": []},
        {"basicAuth": []},
        {"sessionAuth": []},
    ]


def test_active_flows_have_an_operation_with_the_schema_of_their_first_step(user_of_all_flows):
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"amount": {"$ref": "#/$defs/amount"}},
        "$defs": {"amount": {"type": "integer"}},
    }
    make_loan_flow("Loan application", schema=schema, description="Lends money.")
    make_loan_flow("asleep", active=False)

    document = user_of_all_flows.get(JSON).json()

    validate(document)
    assert "/async/api/flows/asleep/start" not in document["paths"]
    operation = operations(document)["post", "/async/api/flows/Loan%20application/start"]
    assert operation["operationId"] == "start_Loan_application_261e37"
    assert operation["description"] == "Lends money."
    assert "flowName" not in [parameter["name"] for parameter in operation["parameters"]]
    component = "start_Loan_application_261e37_payload"
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": f"#/components/schemas/{component}"
    }
    shown = document["components"]["schemas"][component]
    assert shown["properties"]["amount"] == {"type": "integer"}
    assert shown["examples"] == [{"amount": 0}]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_schema_with_numbers_of_any_length_is_in_the_document(user_of_all_flows, form):
    make_loan_flow(schema={"properties": {"n": {"maximum": 2**64, "minimum": -(10**30)}}})

    response = user_of_all_flows.get(f"/async/specifications/openapi.{form}")

    assert response.status_code == 200
    assert str(2**64) in response.content.decode()
    assert str(-(10**30)) in response.content.decode()


def test_new_flow_is_in_the_next_document(user_of_all_flows):
    assert "/async/api/flows/loan/start" not in user_of_all_flows.get(JSON).json()["paths"]

    make_loan_flow()

    assert "/async/api/flows/loan/start" in user_of_all_flows.get(JSON).json()["paths"]


def test_document_is_valid_whatever_flows_are_called(user_of_all_flows):
    names = ["{x}", "a/b", "ä ö", "日本", "50%", "a?b#c", "start"]
    for name in names:
        make_loan_flow(name)

    document = user_of_all_flows.get(JSON).json()

    validate(document)
    assert len(operations(document)) == len(OPERATIONS) + len(names)


@pytest.mark.long
def test_document_is_valid_whatever_the_schemas_of_scripts(user_of_all_flows):
    schemas: list[Any] = [
        {},
        {"type": "object", "required": True},
        {"type": "no such type"},
        {"properties": {"x": {"minimum": 1, "exclusiveMinimum": True}}},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/definitions/missing"},
        {"$ref": "other.json"},
        {"$id": "https://example.com/x", "type": "object"},
        {"properties": {"$ref": {"type": "string"}}},
        {"const": {"$ref": "https://example.com"}},
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
    ]
    for number, schema in enumerate(schemas):
        make_loan_flow(f"loan {number}", schema=schema)

    document = user_of_all_flows.get(JSON).json()

    validate(document)
    assert len(operations(document)) == len(OPERATIONS) + len(schemas)
    assert '"$ref": "https://' not in json.dumps(document).replace(
        '"const": {"$ref": "https://example.com"}', ""
    )


@pytest.mark.parametrize(
    ("name", "operation_id"),
    [
        ("loan", "start_loan"),
        ("loan-application_2", "start_loan-application_2"),
        ("SELECT 'x'; --", "start_SELECT_x_df3155"),
        ("日本", "start_cf2abf"),
        # As startProcess in the code of some languages.
        ("process", "start_process_19ed40"),
    ],
)
def test_operation_of_a_flow_has_a_name_for_code(user_of_all_flows, name, operation_id):
    make_loan_flow(name)

    document = user_of_all_flows.get(JSON).json()

    [path] = document["paths"].keys() - PUBLIC_PATHS
    assert document["paths"][path]["post"]["operationId"] == operation_id
    assert unquote(path) == f"/async/api/flows/{name}/start"
    # A generator writes the path between quotes of some kind.
    assert re.fullmatch(r"[\w/%~.@:-]+", path)


def test_operation_ids_are_unique_and_a_new_flow_renames_none():
    flows = [(1, "a b"), (2, "a_b"), (3, "日本"), (4, "AB")]
    before = operation_ids(flows)
    after = operation_ids(
        [*flows, (5, "a-b"), (6, "a.b"), (7, "start"), (8, "batch")], ["startBatch"]
    )

    assert before[2] == "start_a_b"
    assert {pk: after[pk] for pk in before} == before
    assert len({key_of(each) for each in after.values()}) == len(after)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in after.values())


def test_document_says_what_it_is_and_where(anonymous):
    document = anonymous.get(JSON).json()

    assert document["info"]["license"]["identifier"] == "MIT"
    assert document["info"]["contact"]
    assert document["info"]["description"]
    assert document["servers"] == [{"url": "/", "description": "This server"}]
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert described == {tag for each in operations(document).values() for tag in each["tags"]}
    for name in ("isLive", "isReady"):
        [operation] = [e for e in operations(document).values() if e["operationId"] == name]
        assert operation["security"] == []


class Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_page_and_all_that_it_loads_come_from_here(anonymous):
    response = anonymous.get(PAGE)

    page = response.content.decode()
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/html")
    addresses = Addresses()
    addresses.feed(page)
    assert len(addresses.found) >= 3
    for address in addresses.found:
        assert address.startswith("/static/")
        assert finders.find(address.removeprefix("/static/"))
    assert not re.findall(r"(?:https?:)?//[a-z]", page)
    assert JSON in page
    # Else the page shows every document to a validator on the internet.
    assert '"validatorUrl": null' in page


def test_credentials_that_are_not_good_count_as_none(anonymous, flow):
    broken = {"Authorization": "Bearer broken", "Accept": "application/xml"}

    assert anonymous.get(PAGE, headers=broken).status_code == 200
    for headers in (broken, basic("unknown", "guess")):
        response = anonymous.get(JSON, headers=headers)
        assert response.status_code == 200
        assert response.content == anonymous.get(JSON).content


class TestWhatACallerSees:
    @pytest.fixture(autouse=True)
    def _flows(self, db):
        self.mine, self.foreign = make_loan_flow("mine"), make_loan_flow("foreign")

    def names(self, by, **more):
        document = by.get(JSON, **more).json()
        validate(document)
        own = [path for path in document["paths"] if path not in PUBLIC_PATHS]
        text = json.dumps(document)
        assert all((flow.name in text) == (f"/{flow.name}/" in str(own)) for flow in self.flows)
        return {path.split("/")[4] for path in own}

    @property
    def flows(self):
        return [self.mine, self.foreign]

    def test_no_flow_without_a_login(self, anonymous):
        assert self.names(anonymous) == set()

    @pytest.mark.parametrize("right", [Right.WATCH, Right.OPERATE])
    def test_no_flow_that_may_only_be_seen(self, client, user, right):
        grant(user, right)

        assert self.names(client) == set()

    def test_those_that_the_caller_may_start(self, client, user):
        grant(user, Right.START, self.mine)

        assert self.names(client) == {"mine"}

    @pytest.mark.long
    def test_all_with_a_right_to_all_and_for_superusers(self, client, user, admin):
        grant(user, Right.START)

        assert self.names(client) == self.names(client_of(admin)) == {"mine", "foreign"}

    def test_by_every_way_to_log_in(self, anonymous, user):
        grant(user, Right.START, self.mine)
        by_session = Client()
        by_session.force_login(user)

        assert self.names(anonymous, headers=basic("caller")) == {"mine"}
        assert self.names(by_session) == {"mine"}

    def test_a_right_that_is_taken_counts_at_once(self, client, user):
        role = grant(user, Right.START, self.mine)
        assert self.names(client) == {"mine"}

        user.groups.clear()
        assert self.names(client) == set()

        user.groups.add(role.role)
        role.delete()
        assert self.names(client) == set()

    def test_a_name_is_the_same_for_all_who_see_it(self, client, user, admin):
        twin = make_loan_flow("mi-ne")
        make_loan_flow("mi ne")
        grant(user, Right.START, twin)

        def component(by):
            document = by.get(JSON).json()
            post = document["paths"]["/async/api/flows/mi-ne/start"]["post"]
            return post["requestBody"]["content"]["application/json"]["schema"]

        assert component(client) == component(client_of(admin))


class TestCache:
    @pytest.mark.parametrize("path", [JSON, YAML])
    def test_it_is_made_once_for_a_revision_and_a_set_of_flows(
        self, client, user, admin, flow, path
    ):
        grant(user, Right.START, flow)
        other = client_of(admin)
        with mock.patch("flows.api.openapi.document.add_flows", wraps=add_flows) as made:
            for _ in range(3):
                client.get(path)
                other.get(path)
            assert made.call_count == 2

            flow.description = "Another."
            flow.save()
            client.get(path)
            client.get(path)
            assert made.call_count == 3

    def test_document_without_flows_needs_no_database(self, anonymous, django_assert_num_queries):
        anonymous.get(JSON)
        make_loan_flow()

        with django_assert_num_queries(0):
            assert anonymous.get(JSON).status_code == 200

    def test_number_of_documents_is_bounded(self):
        kept = Documents(size=3)

        for n in range(10):
            kept.get(str(n), frozenset(), as_json)

        assert len(kept._kept) == 3

    @pytest.mark.parametrize("path", [JSON, YAML])
    def test_unchanged_document_is_not_sent_again(self, client, user, flow, path):
        grant(user, Right.START, flow)
        first = client.get(path)
        known = {"If-None-Match": first["ETag"]}

        second = client.get(path, headers=known)

        assert (second.status_code, second.content) == (304, b"")
        assert second["ETag"] == first["ETag"]
        for response in (first, second):
            assert response["Cache-Control"] == "private, no-cache"
            assert {"Authorization", "Cookie"} <= set(response["Vary"].split(", "))
        make_loan_flow("not startable")
        assert client.get(path, headers=known).status_code == 304
        flow.description = "Another."
        flow.save()
        assert client.get(path, headers=known).status_code == 200

    @pytest.mark.parametrize("path", [JSON, YAML])
    def test_document_is_compressed_for_those_who_take_that(self, anonymous, path):
        plain = anonymous.get(path)
        small = anonymous.get(path, headers={"Accept-Encoding": "gzip, br"})

        assert gzip.decompress(small.content) == plain.content
        assert len(small.content) < len(plain.content) / 5
        assert small["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in small["Vary"]
        known = {"If-None-Match": small["ETag"], "Accept-Encoding": "gzip"}
        assert anonymous.get(path, headers=known).status_code == 304

    def test_tag_of_one_caller_is_not_that_of_another(self, anonymous, client, user, flow):
        grant(user, Right.START, flow)
        known = {"If-None-Match": anonymous.get(JSON)["ETag"]}

        assert anonymous.get(JSON, headers=known).status_code == 304
        assert client.get(JSON, headers=known).status_code == 200


def test_an_operation_that_may_refuse_a_body_has_one(anonymous):
    for (method, path), operation in operations(anonymous.get(JSON).json()).items():
        assert ("415" in operation["responses"]) == ("requestBody" in operation), (method, path)


def test_document_grows_little_with_a_flow(user_of_all_flows):
    sizes = []
    for n in range(3):
        make_loan_flow(f"flow {n}")
        sizes.append(len(user_of_all_flows.get(JSON).content))

    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] < 3_000
    # What is common to operations is there once.
    assert sizes[2] < 3_500 * len(operations(user_of_all_flows.get(JSON).json()))
