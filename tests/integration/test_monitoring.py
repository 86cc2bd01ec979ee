"""The dashboard and the alert rules that the package brings."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "asyncengine/deploy/monitoring"


@pytest.mark.promtool
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on the path")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "--lint=all", "--lint-fatal", MONITORING / "alerts.yml"],
        ["test", "rules", ROOT / "tests/monitoring/alerts_test.yml"],
    ],
    ids=["check", "test"],
)
def test_promtool_accepts_the_rules_and_they_alert_when_they_should(command):
    done = subprocess.run(["promtool", *command], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_of_the_dashboard_have_queries_and_do_not_overlap():
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))

    places: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not places & cells
        assert max(x for x, _ in cells) < 24
        places |= cells
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
