"""Calls a client of openapi-generator (python) step by step, and prints a line of JSON for each."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any


def key_of(name: str) -> str:
    return "".join(each for each in name.lower() if each.isalnum())


def main(package_name: str, plan_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text())
    package = importlib.import_module(package_name)
    token, kept = plan["token"], ""
    for step in plan["steps"]:
        access_token = kept if step["withKeptToken"] else token
        settings = package.Configuration(host=plan["url"], access_token=access_token)
        with package.ApiClient(settings) as client:
            call = call_of(package, client, step["operationId"])
            response = call(**arguments(call, step))
            data = response.data
            is_stream = isinstance(data, bytes | bytearray)
            answer = data.decode() if is_stream else client.sanitize_for_serialization(data)
        if step["keepsToken"]:
            kept = answer["accessToken"]
        line = {"operationId": step["operationId"], "status": response.status_code}
        print(json.dumps(line | {"answer": answer}), flush=True)


def call_of(package: Any, client: Any, operation: str) -> Any:
    wanted = f"{key_of(operation)}withhttpinfo"
    for name in dir(package):
        if name.endswith("Api"):
            api = getattr(package, name)(client)
            for method in dir(api):
                if key_of(method) == wanted:
                    return getattr(api, method)
    raise LookupError(operation)


def arguments(call: Any, step: dict[str, Any]) -> dict[str, Any]:
    given = {key_of(name): value for name, value in step["parameters"].items()}
    names = [name for name in inspect.signature(call).parameters if not name.startswith("_")]
    found = {name: given.pop(key_of(name)) for name in names if key_of(name) in given}
    assert not given, given
    if step["body"] is not None:
        needed = {key_of(name) for name in step["others"]}
        [body] = [name for name in names if key_of(name) not in needed]
        found[body] = step["body"]
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
