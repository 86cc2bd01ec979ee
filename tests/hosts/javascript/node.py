"""What the real Node makes of JavaScript, to compare the engine's own objects with it."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed on this machine")

# Of an error only its kind is compared: its words are each engine's own.
_EVALUATE = """
const values = JSON.parse(require("fs").readFileSync(0)).map((code) => {
  try {
    return [JSON.parse(JSON.stringify((0, eval)("(() => (" + code + "))()")) ?? "null")];
  } catch (error) {
    return error instanceof TypeError || error instanceof RangeError ? error.name : "Error";
  }
});
console.log(JSON.stringify(values));
"""


def in_node(expressions: Sequence[str], before: str = "") -> list[Any]:
    """Return [value] for each expression, or the kind of its error."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--no-warnings", "-e", before + _EVALUATE],
        input=json.dumps(list(expressions)),
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC"},
    )
    return list(json.loads(done.stdout))
