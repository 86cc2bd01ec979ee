"""The pages for Django projects show code that is code, and all that is public."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from flows import public

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "flows/README.md").read_text(encoding="utf-8")
PAGES = (
    "README.md",
    "asyncengine/README.md",
    "flows/README.md",
    "flows/testing/README.md",
    "scripts/README.md",
    "scripts/callables/README.md",
)
BLOCKS = [
    textwrap.dedent(block)
    for page in PAGES
    for block in re.findall(
        r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL
    )
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0])
def test_their_code_compiles_and_names_what_is_public(block):
    # Some blocks await at top level, as a part of a function does.
    tree = compile(
        block, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )

    assert set(_named_in_public(tree)) <= set(public.__all__)


def test_every_public_name_is_on_the_page_of_flows():
    shown = set(re.findall(r"\w+", PAGE))

    assert [name for name in public.__all__ if name not in shown] == []


def _named_in_public(tree: ast.AST):
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="public"), attr=name):
                yield name
            case ast.ImportFrom(module="flows.public", names=names):
                yield from (each.name for each in names)
