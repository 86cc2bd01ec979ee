from __future__ import annotations

from pathlib import Path

import pytest

from asyncengine import cores
from asyncengine.cores import allowed_cores, cores_by_affinity, quota_of_group


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    return tmp_path / "membership"


@pytest.mark.parametrize(
    ("groups", "member", "quotas"),
    [
        ({}, "0::/\n", []),
        ({"": "max 100000"}, "0::/\n", []),
        ({"": "150000 100000"}, "0::/\n", [1.5]),
        ({"": "50000 100000"}, "0::/of/the/host\n", [0.5]),
        ({"a": "400000 100000", "a/b": "100000 50000"}, "0::/a/b\n", [2.0, 4.0]),
        ({"": "something else"}, "0::/\n", []),
    ],
)
def test_quotas_of_the_second_version_are_those_of_a_group_and_around_it(
    tmp_path: Path, membership: Path, groups: dict[str, str], member: str, quotas: list[float]
):
    mounted = tmp_path / "cgroup"
    for name, text in groups.items():
        (mounted / name).mkdir(parents=True, exist_ok=True)
        (mounted / name / "cpu.max").write_text(f"{text}\n")
    membership.write_text(member)

    assert list(quota_of_group(mounted, membership)) == quotas


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "quotas"), [("-1", []), ("250000", [2.5])])
def test_quotas_of_the_first_version_count_too(
    tmp_path: Path, membership: Path, controllers: str, quota: str, quotas: list[float]
):
    group = tmp_path / controllers / "box"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(quota)
    (group / "cpu.cfs_period_us").write_text("100000")
    membership.write_text(f"9:name=systemd:/\n1:{controllers}:/box\n0::/\n")

    assert {*quota_of_group(tmp_path, membership)} == {*quotas}


def test_there_is_no_quota_without_control_groups(tmp_path: Path):
    assert list(quota_of_group(tmp_path, tmp_path / "missing")) == []


@pytest.mark.parametrize(("quota", "expected"), [("10000 100000", 1), ("max 100000", None)])
def test_part_of_a_core_is_one_and_no_quota_leaves_the_affinity(
    tmp_path: Path, membership: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
):
    (tmp_path / "cpu.max").write_text(quota)
    membership.write_text("0::/\n")
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "MEMBERSHIP", membership)

    assert allowed_cores() == (expected or cores_by_affinity())
