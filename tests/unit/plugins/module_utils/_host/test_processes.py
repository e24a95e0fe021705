# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process table: read from a made-up /proc, whatever names and races it holds."""

from __future__ import annotations

import os
import threading

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host import _processes as table


def make(root, pid, name=b"sleep", ppid=1, state=b"S", start=100, flags=0x400000, exe="/usr/bin/sleep", argv=b"sleep\x0060\x00", stdio="/dev/null"):
    folder = root / str(pid)
    (folder / "fd").mkdir(parents=True)
    fields = [state, b"%d" % ppid, b"5", b"6", b"34816", b"-1", b"%d" % flags] + [b"0"] * 12 + [b"%d" % start] + [b"0"] * 30
    (folder / "stat").write_bytes(b"%d (" % pid + name + b") " + b" ".join(fields) + b"\n")
    (folder / "cmdline").write_bytes(argv)
    (folder / "environ").write_bytes(b"A=1\x00LD_PRELOAD=/tmp/x.so\x00")
    if exe:
        os.symlink(exe, str(folder / "exe"))
    for number in range(3):
        os.symlink(stdio, str(folder / "fd" / str(number)))
    return folder


def test_a_process_is_read_with_all_its_fields(tmp_path):
    make(tmp_path, 42)
    (tmp_path / "self").mkdir()
    found = table.first_look(str(tmp_path))
    assert list(found) == [42]
    one = found[42]
    assert (one.pid, one.ppid, one.sid, one.tty, one.start, one.state, one.name) == (42, 1, 6, 34816, 100, "S", "sleep")
    assert one.exe == "/usr/bin/sleep" and one.argv == ["sleep", "60"] and one.stdio == ("/dev/null",) * 3
    assert one.alive and not one.kernel_thread and one.uid == os.getuid() and "LD_PRELOAD=/tmp/x.so" in one.environ


@pytest.mark.parametrize("name", [b"a) R 1 1", b"((", b"\n\x1b[31m", b"\xff\xfe", b"", b")"])
def test_a_name_may_hold_anything(tmp_path, name):
    make(tmp_path, 7, name=name)
    one = table.first_look(str(tmp_path))[7]
    assert one.name.encode("utf-8", "surrogateescape") == name and one.ppid == 1 and one.start == 100


@pytest.mark.parametrize("stat", [b"", b"7", b"7 (a", b"7 (a) S 1", b")(", b"\x00" * 50])
def test_a_stat_that_is_none_is_no_process(tmp_path, stat):
    make(tmp_path, 7)
    (tmp_path / "7" / "stat").write_bytes(stat)
    assert table.first_look(str(tmp_path)) == {}


def test_two_megabytes_of_arguments_are_cut(tmp_path):
    make(tmp_path, 7, argv=b"a\x00" * 1000000)
    argv = table.first_look(str(tmp_path))[7].argv
    assert len(argv) == 4096 and len("\0".join(argv)) == table.ARGV_LIMIT - 1


def test_arguments_of_thousands_of_processes_do_not_fill_our_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_ARGV_TOTAL", 300000)
    for pid in range(10, 30):
        make(tmp_path, pid, argv=b"a" * 2000000)
    sizes = [len(one.argv[0]) for one in table.first_look(str(tmp_path)).values()]
    assert len(sizes) == 20 and sizes.count(table.ARGV_LIMIT) == 3 and sizes.count(4096) == 17


def test_a_process_lives_on_when_only_its_first_thread_has_ended(tmp_path):
    folder = make(tmp_path, 7, state=b"Z", exe="", argv=b"")
    stat = (folder / "stat").read_bytes().split(b" ")
    stat[-32 - 1] = b"2"  # num_threads
    (folder / "stat").write_bytes(b" ".join(stat))
    (folder / "task" / "7").mkdir(parents=True)
    thread = make(folder / "task", 9, state=b"S", argv=b"[kworker/0:9]\x00/dev/tcp/\x00")
    assert thread.exists()
    one = table.first_look(str(tmp_path))[7]
    assert (one.state, one.threads, one.alive, one.exe) == ("Z", 2, True, "/usr/bin/sleep")
    assert one.argv == ["[kworker/0:9]", "/dev/tcp/"]
    assert table.now(one, str(tmp_path)) == "S" and table.same(one, str(tmp_path))


def test_a_process_whose_arguments_hang_is_there_without_them(tmp_path, monkeypatch):
    make(tmp_path, 7)
    make(tmp_path, 8, argv=b"sleep\x0061\x00")
    wake, read = threading.Event(), table._command_line

    def hang(path, limit):
        if "/7/" in path:
            wake.wait(30)
        return read(path, limit)

    monkeypatch.setattr(table, "_command_line", hang)
    found = table.first_look(str(tmp_path))
    alone = table.read_process(7, str(tmp_path))
    wake.set()
    assert found[8].argv == ["sleep", "61"] and not found[8].mute
    assert found[7].mute and found[7].argv == [] and found[7].exe == "/usr/bin/sleep" and found[7].environ == []
    assert alone is not None and alone.mute


def test_empty_arguments_stay_where_they_are(tmp_path):
    make(tmp_path, 7, argv=b"a\x00\x00b\x00\x00")
    assert table.first_look(str(tmp_path))[7].argv == ["a", "", "b", ""]


def test_kernel_threads_and_zombies_are_told_apart(tmp_path):
    make(tmp_path, 2, flags=table.KERNEL_THREAD, exe="")
    make(tmp_path, 3, state=b"Z", exe="", argv=b"")
    found = table.first_look(str(tmp_path))
    assert found[2].kernel_thread and found[2].exe is None and not found[3].alive and found[3].argv == []


def test_ancestors_end_where_the_line_closes(tmp_path):
    make(tmp_path, 5, ppid=4)
    make(tmp_path, 4, ppid=5)
    make(tmp_path, 9, ppid=77)
    found = table.first_look(str(tmp_path))
    assert table.ancestors(found, 5) == [5, 4] and table.ancestors(found, 9) == [9, 77]


def test_the_same_number_with_another_start_or_image_is_another(tmp_path):
    folder = make(tmp_path, 5)
    one = table.read_process(5, str(tmp_path))
    assert table.same(one, str(tmp_path)) and table.now(one, str(tmp_path)) == "S"
    os.unlink(str(folder / "exe"))
    os.symlink("/bin/sh", str(folder / "exe"))
    assert not table.same(one, str(tmp_path)) and table.now(one, str(tmp_path)) == "S"
    (folder / "stat").write_bytes((folder / "stat").read_bytes().replace(b" 100 ", b" 101 "))
    assert table.now(one, str(tmp_path)) is None


def test_a_fifo_over_a_file_hangs_nobody(tmp_path):
    folder = make(tmp_path, 5)
    os.unlink(str(folder / "cmdline"))
    os.mkfifo(str(folder / "cmdline"))
    assert table.first_look(str(tmp_path))[5].argv == []
