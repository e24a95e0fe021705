# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collectors on a made-up host: exact values, limits, and hostile things that neither hang nor stop the others."""

from __future__ import annotations

import json
import os
import tarfile
import time

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError, OptionError
from ansible_collections.firebreak.response.plugins.module_utils._evidence import _collectors, _run
from ansible_collections.firebreak.response.plugins.module_utils._evidence import _take_system as system
from ansible_collections.firebreak.response.plugins.module_utils._evidence._bundle import Bundle
from ansible_collections.firebreak.response.plugins.module_utils._evidence._context import Context
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir

STAT = "{pid} ({name}) S 1 {pid} {pid} 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0" + " 0" * 29 + "\n"


class Host:
    """A root folder with a /proc that a test fills."""

    def __init__(self, root):
        self.root = root
        self.proc = root / "proc"
        (self.proc / "net").mkdir(parents=True)
        self.exe = root / "program"
        self.exe.write_bytes(b"\x7fELF program")

    def process(self, pid, name="sleep", start=100, argv=b"sleep\x001\x00", environ=b"A=1\x00", fds=()):
        folder = self.proc / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "ns").mkdir()
        (folder / "stat").write_bytes(STAT.format(pid=pid, name=name, start=start).encode("utf-8", "surrogateescape"))
        (folder / "status").write_text("Name:\tx\nUid:\t0\t0\t0\t0\nTracerPid:\t7\n", encoding="ascii")
        (folder / "cmdline").write_bytes(argv)
        (folder / "environ").write_bytes(environ)
        (folder / "cgroup").write_text("0::/x\n", encoding="ascii")
        (folder / "loginuid").write_text("1000", encoding="ascii")
        os.symlink(self.exe, folder / "exe")
        os.symlink("/gone (deleted)", folder / "cwd")
        for number, target in fds:
            os.symlink(target, folder / "fd" / str(number))
        return folder


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "root")


@pytest.fixture
def collect(host, tmp_path):
    def run(which, **options):
        work = Workdir("INC-1", str(tmp_path / "firebreak"))
        bundle = Bundle(work, "volatile", "INC-1")
        context = Context(str(host.root), **dict({"sockets": []}, **options))
        coverage = _collectors.run(bundle, context, which)
        with tarfile.open(work.file(bundle.close()["bundle"])) as archive:
            found = {member.name: archive.extractfile(member).read() for member in archive}
        return bundle, context, coverage, found

    return run


def named(name):
    return next(collector for collector in _collectors.VOLATILE if collector.name == name)


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def test_a_process_is_recorded_with_exact_values(host, collect):
    host.process(42, "we ) ird\n", 777, b"a\x00\xff\x00", b"LD_PRELOAD=/x\x00", [(0, "/dev/null"), (3, "socket:[9]")])
    coverage, found = collect(["processes"])[2:]
    (record,) = lines(found["live_response/process/processes.jsonl"])
    assert (record["pid"], record["comm"], record["start_ticks"]) == (42, "we ) ird\n", 777)
    assert record["argv"] == ["a", "\udcff"]
    assert record["environ"] == ["LD_PRELOAD=/x"]
    assert record["cwd"] == "/gone (deleted)"
    assert record["fds"] == {"0": "/dev/null", "3": "socket:[9]"}
    assert (record["loginuid"], record["cgroup"], record["status_TracerPid"]) == ("1000", "0::/x\n", "7")
    assert coverage["processes"]["outcome"] == "complete"
    assert found["live_response/process/proc_stat.txt"].startswith(b"42 (we ) ird\n) S 1 ")


def test_the_first_look_is_written_from_memory_alone(host, collect):
    folder = host.process(42, "x", 777)
    processes = Context(str(host.root), sockets=[]).processes
    for name in ("stat", "cmdline"):
        (folder / name).unlink()
    (record,) = lines(collect(["first_look"], processes=processes)[3]["live_response/process/first_look.jsonl"])
    assert (record["pid"], record["comm"], record["start_ticks"], record["argv"]) == (42, "x", 777, ["sleep", "1"])


def test_a_huge_environment_and_a_missing_file_neither_fail_nor_grow(host, collect):
    host.process(42, environ=b"A" * 2097152)
    os.unlink(host.proc / "42" / "loginuid")
    record = lines(collect(["processes"])[3]["live_response/process/processes.jsonl"])[0]
    assert record["environ_cut_at"] == 131072 == len(record["environ"][0])


def test_a_process_that_vanished_or_whose_number_was_given_again_says_so(host, collect):
    host.process(42, start=100)
    host.process(43, start=100)
    context = Context(str(host.root), sockets=[])
    processes = context.processes
    (host.proc / "42" / "stat").unlink()
    (host.proc / "43" / "stat").write_text(STAT.format(pid=43, name="x", start=500), encoding="ascii")
    records = lines(collect(["processes"], processes=processes)[3]["live_response/process/processes.jsonl"])
    assert [record["vanished"] for record in records] == [True, True]


def test_a_fifo_among_the_files_of_a_process_hangs_nobody(host, collect):
    folder = host.process(42)
    processes = Context(str(host.root), sockets=[]).processes
    for name in ("status", "environ"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    start = time.monotonic()
    assert collect(["processes"], processes=processes)[2]["processes"]["outcome"] == "complete"
    assert time.monotonic() - start < 5


def test_each_running_file_is_hashed_once(host, collect):
    host.process(42)
    host.process(43)
    (record,) = lines(collect(["processes", "executables"])[3]["live_response/process/executables.jsonl"])
    assert record["sha256"] == "45097f6a663c462c74713f58fec5812b00cf94d8a89672da8ea431f006944066"
    assert sorted(record["pids"]) == [42, 43]


def test_the_time_budget_makes_it_partial_and_names_what_is_missing(host, collect):
    host.process(42)
    bundle, _context, coverage, _found = collect(["processes", "modules"], max_seconds=-1)
    assert {one["outcome"] for one in coverage.values()} == {"missing"}
    assert bundle.outcome == "partial"
    assert [one["collector"] for one in bundle.missing] == ["processes", "modules"]


def test_the_byte_budget_of_one_collector_does_not_starve_the_next(host, collect, monkeypatch):
    host.process(42)
    monkeypatch.setattr(named("processes"), "max_bytes", 10)
    coverage, found = collect(["processes", "deleted_files"])[2:]
    assert coverage["processes"]["outcome"] == "partial"
    assert coverage["processes"]["bytes"] == 10
    assert coverage["deleted_files"]["outcome"] == "complete"


def test_a_collector_that_fails_stops_no_other(host, collect, monkeypatch):
    def broken(bundle, context):
        raise ValueError("text of the host")

    host.process(42)
    monkeypatch.setattr(named("sockets"), "take", broken)
    bundle, _context, coverage, _found = collect(["sockets", "processes"])
    assert coverage["sockets"]["outcome"] == "missing"
    assert coverage["processes"]["outcome"] == "complete"
    assert bundle.missing == [{"collector": "sockets", "why": "failed: ValueError"}]


def test_a_bundle_that_cannot_be_written_ends_the_reading(host, collect, monkeypatch):
    def full(bundle, context):
        raise HostError("evidence cannot be written: No space left on device")

    monkeypatch.setattr(named("sockets"), "take", full)
    with pytest.raises(HostError):
        collect(["sockets"])


def test_owners_come_from_one_scan_and_all_holders_are_named(host, tmp_path):
    for pid in (42, 43):
        host.process(pid, fds=[(3, "socket:[9]"), (4, "socket:[9]"), (5, "socket:[x]")])
    assert {inode: sorted(pids) for inode, pids in Context(str(host.root)).owners.items()} == {9: [42, 43]}


def test_deleted_files_are_listed_and_deleted_programs_copied_once(host, collect):
    gone = str(host.root / "implant (deleted)")
    with open(gone, "wb") as handle:
        handle.write(b"implant")
    for pid in (42, 43):
        folder = host.process(pid, fds=[(3, "/var/log/x (deleted)")])
        (folder / "exe").unlink()
        os.symlink(gone, folder / "exe")
    _bundle, context, _coverage, found = collect(["processes", "deleted_files", "deleted_programs"])
    assert [one["target"] for one in lines(found["live_response/process/open_deleted_files.jsonl"])] == ["/var/log/x (deleted)"] * 2
    assert [data for name, data in found.items() if name.endswith("/exe")] == [b"implant"]
    assert context.counts["deleted_programs"] == 1
    assert {one["what"] for one in context.notable} == {"runs from a deleted file"}


def test_a_mount_over_a_process_is_noted(host, collect):
    (host.proc / "self").mkdir()
    (host.proc / "self" / "mountinfo").write_text(
        "1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /proc/42 rw shared:1 - tmpfs t\\040t rw\nrubbish\n", encoding="ascii"
    )
    _bundle, context, _coverage, found = collect(["mounts"])
    assert [one["source"] for one in lines(found["live_response/storage/mounts.jsonl"])] == ["/dev/a", "t t"]
    assert context.notable == [{"what": "mount hides a process", "target": "/proc/42"}]


def test_modules_that_one_list_leaves_out_are_noted(host, collect):
    (host.proc / "modules").write_text("ext4 1000 1 jbd2,mbcache, Live 0x0 (OE)\nx\n", encoding="ascii")
    for name in ("hidden", "builtin"):
        (host.root / "sys/module" / name).mkdir(parents=True)
    (host.root / "sys/module/hidden/initstate").write_text("live", encoding="ascii")
    context = collect(["modules"])[1]
    assert [(one["what"], one["name"]) for one in context.notable] == [
        ("kernel module missing from /proc/modules", "hidden"), ("kernel module missing from /sys/module", "ext4"),
    ]
    assert system.parse_modules(b"ext4 1000 1 jbd2,mbcache, Live 0x0 (OE)\n")[0]["used_by"] == ["jbd2", "mbcache"]


@pytest.mark.parametrize("plant", ["fifo", "folder", "link"])
def test_a_preload_file_or_utmp_that_is_no_file_is_partial_and_never_hangs(host, collect, plant):
    for name in ("etc/ld.so.preload", "run/utmp"):
        path = host.root / name
        path.parent.mkdir(exist_ok=True)
        if plant == "fifo":
            os.mkfifo(path)
        elif plant == "folder":
            path.mkdir()
        else:
            os.symlink("/etc/shadow", path)
    bundle, _context, coverage, found = collect(["logins", "system"])
    assert coverage["logins"]["outcome"] == coverage["system"]["outcome"] == "partial"
    assert "[root]/etc/ld.so.preload" not in found and "[root]/run/utmp" not in found
    assert len(bundle.missing) == 2


def test_the_summary_is_escaped_and_no_kind_pushes_the_others_out():
    context = Context("/nowhere")
    for number in range(1000):
        context.note("many", name="x\x1b[2J\n")
    context.note("one", name="y")
    summary = _run.summary(context)
    assert len(summary["notable"]) == 11
    assert summary["notable"][0]["name"] == "x\\x1b[2J\\x0a"
    assert summary["counts"]["notable"] == 1001


def test_names_are_unique_and_ordered_by_volatility():
    ranks = [collector.volatility for collector in _collectors.VOLATILE]
    assert ranks == sorted(ranks)
    assert len(set(_collectors.names())) == len(_collectors.VOLATILE)
    assert [collector.name for collector in _collectors.VOLATILE if collector.command] == ["firewall"]


def test_without_root_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(_run.os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="needs root"):
        _run.run({"case": "INC-1", "tier": "volatile"}, False, None)


def test_limits_below_one_are_refused_and_named(monkeypatch):
    monkeypatch.setattr(_run.os, "geteuid", lambda: 0)
    with pytest.raises(OptionError, match="max_seconds"):
        _run.run({"case": "INC-1", "tier": "volatile", "max_seconds": 0, "max_bytes": 5}, True, None)


@pytest.mark.parametrize("case", ["", "..", "a/b", ".x"])
def test_a_case_that_is_no_folder_name_is_refused(monkeypatch, case):
    monkeypatch.setattr(_run.os, "geteuid", lambda: 0)
    with pytest.raises(OptionError, match="case"):
        _run.run({"case": case, "tier": "volatile"}, True, None)
