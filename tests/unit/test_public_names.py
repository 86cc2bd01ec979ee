"""What the modules offer that a project may import, in shells, in editors and by a star."""

from __future__ import annotations

import inspect

import pytest

from flows import public, testing
from flows.options import BatchOptions, StartOptions


@pytest.mark.parametrize("module", [public, testing])
def test_a_public_module_offers_its_public_names_alone(module):
    scope: dict[str, object] = {}

    exec(f"from {module.__name__} import *", scope)

    del scope["__builtins__"]
    assert dir(module) == sorted(scope) == sorted(module.__all__)


@pytest.mark.parametrize(
    ("function", "options"), [(public.start, StartOptions), (public.start_many, BatchOptions)]
)
def test_the_options_that_other_functions_pass_on_are_those_of_the_start(function, options):
    parameters = inspect.signature(function).parameters.values()

    names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}

    assert names == set(options.__annotations__)
