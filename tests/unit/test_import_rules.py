"""The rooms import each other only as the contracts in pyproject.toml allow."""

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]


def test_no_import_breaks_a_contract(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    # It would silence the loggers of this process.
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)

    broken = lint_imports(config_filename="pyproject.toml", no_cache=True)

    assert not broken, capsys.readouterr().out


WRITES = {
    *("save", "create", "update", "delete", "get_or_create", "update_or_create"),
    *("bulk_create", "bulk_update", "select_for_update", "execute", "executemany"),
}


@pytest.mark.parametrize("file", sorted((ROOT / "flows" / "monitoring").glob("*.py")))
def test_monitoring_calls_nothing_that_writes(file: Path) -> None:
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }

    assert not called & WRITES
