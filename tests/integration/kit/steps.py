"""Callables of a project, which write groups."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from flows import public

heard: list[str] = []


def write(message: Any, context: Any) -> Any:
    """Write a group, and do what the payload wants besides."""
    payload = message["payload"]
    Group.objects.create(name=f"{payload['name']} {context.attempt}")
    match payload.get("do"):
        case "raise":
            raise ValueError("no luck")
        case "break":
            Group.objects.create(name=f"{payload['name']} {context.attempt}")
        case "swallow":
            with suppress(IntegrityError):
                Group.objects.create(name=f"{payload['name']} {context.attempt}")
        case "recover":
            with suppress(IntegrityError), transaction.atomic():
                Group.objects.create(name=f"{payload['name']} {context.attempt}")
        case "leave open":
            transaction.atomic().__enter__()
        case "commit":
            connection.cursor().execute("COMMIT")
        case "durable":
            with transaction.atomic(durable=True):
                Group.objects.create(name="durable")
        case "hook":
            transaction.on_commit(lambda: heard.append("hook"))
        case "hook that raises":
            transaction.on_commit(raising_hook)
        case "fail the test":
            pytest.fail("as the callable wants")
    return message


def raising_hook() -> None:
    raise ValueError("raised by the hook")


def call(message: Any, context: Any) -> Any:
    """Call the address in the payload with the secret."""
    key = context.secrets["key"]
    context.log(f"the key is {key}")
    answer = context.http.get(message["payload"]["url"], headers={"X-Key": key})
    message["payload"]["answer"] = answer.json()
    return message


def tell_time(message: Any, context: Any) -> Any:
    message["payload"]["now"] = timezone.now().isoformat()
    return message


def cancel(message: Any, context: Any) -> Any:
    public.cancel(message["correlationId"])
    return message


def start_other(message: Any, context: Any) -> Any:
    message["payload"]["started"] = str(public.start("other", {}))
    return message
