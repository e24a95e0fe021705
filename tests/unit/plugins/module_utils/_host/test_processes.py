# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process table: read from a made-up /proc, whatever names and races it holds."""

from __future__ import annotations

import os

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
    assert len(table.first_look(str(tmp_path))[7].argv) == table.ARGV_LIMIT // 2


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
