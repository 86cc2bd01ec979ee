from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from openapi_spec_validator import OpenAPIV31SpecValidator

from flows.api.flow_operations import component_names, embedded

from .conftest import assert_problem, make_flow

JSON = "/async/specifications/openapi.json"
YAML = "/async/specifications/openapi.yaml"
PAGE = "/async/specifications/swagger-ui/index.html"

OPERATIONS = {
    ("post", "/async/api/start"): "startProcess",
    ("post", "/async/api/start/batch"): "startBatch",
    ("get", "/async/api/runs"): "listRuns",
    ("get", "/async/api/runs/{id}"): "getRun",
    ("post", "/async/api/runs/{id}/cancel"): "cancelRun",
    ("get", "/async/api/queues"): "listQueues",
    ("get", "/async/api/queues/{name}"): "getQueue",
    ("post", "/async/api/queues/{name}/pause"): "pauseQueue",
    ("post", "/async/api/queues/{name}/resume"): "resumeQueue",
    ("get", "/async/api/dead-letters"): "listDeadLetters",
    ("delete", "/async/api/dead-letters/{id}"): "discardDeadLetter",
    ("post", "/async/api/dead-letters/{id}/reprocess"): "reprocessDeadLetter",
    ("post", "/async/api/dead-letters/reprocess"): "reprocessDeadLetters",
    ("delete", "/async/api/auth/token"): "revokeToken",
    ("get", "/async/api/flows"): "listFlows",
    ("get", "/async/api/flows/{name}"): "getFlow",
    ("post", "/async/api/auth/token"): "createToken",
    ("get", "/async/health/live"): "isLive",
    ("get", "/async/health/ready"): "isReady",
}


def operations(document):
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def validate(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


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


def test_yaml_and_json_say_the_same(anonymous, flow):
    response = anonymous.get(YAML, headers={"Accept": "text/html"})

    assert yaml.safe_load(response.content) == anonymous.get(JSON).json()


def test_every_operation_is_described_with_its_refusals(anonymous, flow):
    for operation in operations(anonymous.get(JSON).json()).values():
        assert operation["summary"]
        assert operation["tags"]
        refused = {code: r for code, r in operation["responses"].items() if code >= "400"}
        assert refused
        for response in refused.values():
            assert list(response["content"]) == ["application/problem+json"]


def test_headers_are_documented_where_they_come(anonymous):
    responses = anonymous.get(JSON).json()["paths"]["/async/api/start"]["post"]["responses"]

    assert set(responses) >= {
        *("202", "400", "401", "403", "404", "409", "413", "415", "429", "503")
    }
    assert "Location" in responses["202"]["headers"]
    assert "WWW-Authenticate" in responses["401"]["headers"]
    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]


def test_callers_may_log_in_in_three_ways(anonymous):
    document = anonymous.get(JSON).json()

    assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"
    assert document["paths"]["/async/api/start"]["post"]["security"] == [
        {"bearerAuth": []},
        {"basicAuth": []},
        {"sessionAuth": []},
    ]


def test_active_flows_have_an_operation_with_the_schema_of_their_first_step(anonymous):
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"amount": {"$ref": "#/$defs/amount"}},
        "$defs": {"amount": {"type": "integer"}},
    }
    make_flow("Loan application", schema=schema, description="Lends money.")
    make_flow("asleep", active=False)

    document = anonymous.get(JSON).json()

    validate(document)
    assert "/async/api/flows/asleep/start" not in document["paths"]
    operation = document["paths"]["/async/api/flows/Loan%20application/start"]["post"]
    assert operation["operationId"] == "start_Loan application"
    assert operation["description"] == "Lends money."
    assert "flowName" not in [parameter["name"] for parameter in operation["parameters"]]
    component = "start_Loan_application_payload"
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": f"#/components/schemas/{component}"
    }
    properties = document["components"]["schemas"][component]["properties"]
    assert properties["amount"] == {"$ref": f"#/components/schemas/{component}/$defs/amount"}


def test_new_flow_is_in_the_next_document(anonymous):
    assert "/async/api/flows/loan/start" not in anonymous.get(JSON).json()["paths"]

    make_flow()

    assert "/async/api/flows/loan/start" in anonymous.get(JSON).json()["paths"]


@pytest.mark.parametrize("name", ["{x}", "a/b", "ä ö", "日本", "50%", "a?b#c", "start"])
def test_document_is_valid_whatever_a_flow_is_called(anonymous, name):
    make_flow(name)

    document = anonymous.get(JSON).json()

    validate(document)
    assert len(operations(document)) == len(OPERATIONS) + 1


@pytest.mark.parametrize(
    "schema",
    [
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
    ],
)
def test_document_is_valid_whatever_the_schema_of_a_script(anonymous, schema):
    make_flow(schema=schema)

    document = anonymous.get(JSON).json()

    validate(document)
    assert '"$ref": "https://' not in json.dumps(document).replace(
        '"const": {"$ref": "https://example.com"}', ""
    )


def test_reference_to_the_whole_schema_points_to_the_component():
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}}

    assert embedded(schema, "x")["properties"]["child"] == {"$ref": "#/components/schemas/x"}


def test_properties_may_be_called_like_keywords():
    schema = {
        "type": "object",
        "properties": {"enum": {"$ref": "#/$defs/x"}, "$id": {"type": "string"}},
        "$defs": {"x": {"enum": [{"$ref": "data"}]}},
    }

    moved = embedded(schema, "y")

    assert moved["properties"]["enum"] == {"$ref": "#/components/schemas/y/$defs/x"}
    assert moved["properties"]["$id"] == {"type": "string"}
    assert moved["$defs"] == schema["$defs"]


def test_component_names_are_unique_and_a_new_flow_renames_none():
    before = component_names([(1, "a b"), (2, "a_b"), (3, "日本")])
    after = component_names([(1, "a b"), (2, "a_b"), (3, "日本"), (4, "a-b"), (5, "A b")])

    assert before == {1: "start_a_b_1", 2: "start_a_b", 3: "start_3"}
    assert len({id.lower() for id in after.values()}) == 5
    assert all(after[pk] == id for pk, id in before.items())
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", id) for id in after.values())


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


def test_page_and_document_do_not_look_at_credentials(anonymous):
    broken = {"Authorization": "Bearer broken", "Accept": "application/xml"}

    assert anonymous.get(PAGE, headers=broken).status_code == 200
    assert anonymous.get(JSON, headers=broken).status_code == 200
