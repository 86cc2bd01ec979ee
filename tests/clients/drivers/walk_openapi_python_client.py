"""Calls a client of openapi-python-client step by step, and prints a line of JSON for each."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
import types
import typing
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID


def key_of(name: str) -> str:
    return "".join(each for each in name.lower() if each.isalnum())


def main(package_name: str, plan_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text())
    package = importlib.import_module(package_name)
    modules = {}
    for found in pkgutil.walk_packages(package.__path__, f"{package_name}."):
        module = importlib.import_module(found.name)
        modules[key_of(found.name.rpartition(".")[2])] = module
    token = plan["token"]
    kept = ""
    for step in plan["steps"]:
        client = package.AuthenticatedClient(
            base_url=plan["url"],
            token=kept if step["withKeptToken"] else token,
            timeout=package.client.httpx.Timeout(120),
            raise_on_unexpected_status=True,
        )
        call = modules[key_of(step["operationId"])].sync_detailed
        response = call(client=client, **arguments(call, step))
        answer = as_json(response.parsed)
        if step["keepsToken"]:
            kept = answer["accessToken"]
        line = {"operationId": step["operationId"], "status": response.status_code.value}
        print(json.dumps(line | {"answer": answer}), flush=True)


def arguments(call: Any, step: dict[str, Any]) -> dict[str, Any]:
    given = {key_of(name): value for name, value in step["parameters"].items()}
    if step["body"] is not None:
        given["body"] = step["body"]
    hints = typing.get_type_hints(call)
    names = {key_of(name): name for name in inspect.signature(call).parameters}
    return {names[key]: typed(value, hints[names[key]]) for key, value in given.items()}


def typed(value: Any, hint: Any) -> Any:
    """Return a JSON value as an object of one of the types that the hint has."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typed(value, next(each for each in typing.get_args(hint) if can_be(value, each)))
    if typing.get_origin(hint) is list:
        return [typed(each, typing.get_args(hint)[0]) for each in value]
    if hint is UUID or (inspect.isclass(hint) and issubclass(hint, Enum)):
        return hint(value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    return hint.from_dict(value) if hasattr(hint, "from_dict") else value


def can_be(value: Any, hint: Any) -> bool:
    if isinstance(value, list):
        return typing.get_origin(hint) is list
    if isinstance(value, dict):
        return hasattr(hint, "from_dict")
    if isinstance(value, str):
        return hint in (UUID, datetime, str) or issubclass(hint, Enum)
    return hint is type(value) or (hint is float and isinstance(value, int))


def as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


if __name__ == "__main__":
    main(*sys.argv[1:])
