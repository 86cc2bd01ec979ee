"""The page for operators names every workload."""

import re

from flows.benchmark.workloads import WORKLOADS
from tests.unit.test_readmes import ROOT


def test_the_page_has_a_line_for_each_workload_in_their_order():
    page = (ROOT / "asyncengine" / "README.md").read_text(encoding="utf-8")
    table = page.split("### Speed")[1].split("| workload | measures |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [*WORKLOADS]
