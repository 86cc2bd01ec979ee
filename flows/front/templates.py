"""The templates of the engine's pages, beside those of a project with pages of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

from django.template import TemplateDoesNotExist
from django.template.backends.base import BaseEngine
from django.template.backends.django import DjangoTemplates

# Each overrides templates of those behind it, and all of them those of Django's admin.
OVERRIDING = (
    "flows",
    "scripts",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.simple_history",
)

_is_on: ContextVar[bool] = ContextVar("templates of the engine", default=False)


@contextmanager
def templates_of_the_engine() -> Iterator[None]:
    token = _is_on.set(True)
    try:
        yield
    finally:
        _is_on.reset(token)


class EngineTemplates(BaseEngine):
    """Has templates while a page of the engine is made, and none for the pages of the project.

    Names such as `admin/base.html` belong to both. It is no DjangoTemplates: the first one
    is taken by `Template("…")`.
    """

    app_dirname = "templates"

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__({name: params[name] for name in ("NAME", "DIRS", "APP_DIRS")})
        directories = [Path(import_module(app).__path__[0], "templates") for app in OVERRIDING]
        self._engine = DjangoTemplates(
            params | {"DIRS": [*params["DIRS"], *directories], "APP_DIRS": True}
        )

    def from_string(self, template_code: str) -> Any:
        return self._engine.from_string(template_code)

    def get_template(self, template_name: str) -> Any:
        if not _is_on.get():
            raise TemplateDoesNotExist(template_name, backend=self)
        return self._engine.get_template(template_name)
