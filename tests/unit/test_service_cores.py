"""Cores of a container with a CPU quota, from made-up control groups."""

import os

import pytest

from service import cores
from service.cores import available_cores, cpu_quotas


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="ascii")


@pytest.fixture
def of_64_cores(tmp_path, monkeypatch):
    """A machine of 64 cores whose control groups lie in a folder of the test."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    ours = tmp_path / "self"
    ours.write_text("0::/\n", encoding="ascii")

    def cores_with(lines="0::/\n"):
        ours.write_text(lines, encoding="ascii")
        quotas = list(cpu_quotas(tmp_path / "cgroup", ours))
        monkeypatch.setattr(cores, "cpu_quotas", lambda: iter(quotas))
        return available_cores()

    return tmp_path / "cgroup", cores_with


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("max 100000\n", 64),
        ("9900000 100000\n", 64),
        ("0 100000\n", 64),
        ("200000 0\n", 64),
        ("nonsense\n", 64),
        ("", 64),
    ],
)
def test_a_quota_of_version_2_is_rounded_up(of_64_cores, cpu_max, expected):
    cgroup, cores_with = of_64_cores
    write(cgroup, cpu__max=cpu_max)
    assert cores_with() == expected


def test_a_limit_around_our_own_group_counts_too(of_64_cores):
    cgroup, cores_with = of_64_cores
    write(cgroup / "pod" / "container", cpu__max="max 100000")
    write(cgroup / "pod", cpu__max="300000 100000")
    assert cores_with("0::/pod/container\n") == 3
    write(cgroup / "pod" / "container", cpu__max="100000 100000")
    assert cores_with("0::/pod/container\n") == 1


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", 64)])
def test_a_quota_of_version_1(of_64_cores, quota, expected):
    cgroup, cores_with = of_64_cores
    folder = cgroup / "cpu,cpuacct"
    write(folder / "docker" / "x", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    lines = "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"
    assert cores_with(lines) == expected


def test_a_group_that_has_another_name_inside_is_looked_for_at_the_root(of_64_cores):
    cgroup, cores_with = of_64_cores
    write(cgroup / "cpu", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert cores_with("4:cpu,cpuacct:/kubepods/pod1/x\n") == 2
    write(cgroup, cpu__max="100000 100000")
    assert cores_with("0::/../../kubepods/pod1/x\n") == 1


def test_without_control_groups_the_cores_it_may_run_on_count(of_64_cores, monkeypatch):
    _, cores_with = of_64_cores
    assert cores_with("") == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert available_cores() == 1


def test_this_machine_has_at_least_one_core():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
