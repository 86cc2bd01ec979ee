"""The keys of users: UUIDs, or with SHOP_KEYS=text the texts of an earlier system."""

from __future__ import annotations

import os
import uuid
from typing import Any

from django.db import models


def text_key() -> str:
    return f"Ä-{uuid.uuid4()}".ljust(80, "x")


def key_field() -> models.Field[Any, Any]:
    if os.environ.get("SHOP_KEYS") == "text":
        return models.CharField(
            primary_key=True, max_length=80, default=text_key, editable=False, serialize=False
        )
    return models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, serialize=False)
