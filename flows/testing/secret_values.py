from __future__ import annotations

from collections import UserDict
from typing import Any

from django.core.exceptions import ValidationError

from flows.testing.arguments import check_text
from scripts.models import Secret


class SecretValues(UserDict[str, str]):
    """The secrets of a test by name. Names and values are those that a stored secret may have."""

    def __setitem__(self, name: str, value: str) -> None:
        check_text("The name of a secret", name)
        field: Any = Secret._meta.get_field("name")
        try:
            field.run_validators(name)
        except ValidationError as error:
            raise ValueError(f"No secret can have the name {name!r}. {error.messages[0]}") from None
        check_text(f"secrets[{name!r}]", value)
        super().__setitem__(name, value)

    def __ior__(self, other: Any) -> SecretValues:  # type: ignore[override, misc]
        self.update(other)
        return self
