# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hangs holds up nobody: reads that do not come back, a log that nobody reads, folders, files that are none."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host import _files, _journal, _patience, _workdir


def test_every_item_is_done_in_order():
    assert _patience.each([1, 2, 3], lambda number: number * 2) == ([2, 4, 6], [])
    assert _patience.each([], lambda number: number) == ([], [])


def test_items_that_hang_are_left_behind_and_the_others_are_done():
    wake = threading.Event()

    def work(number):
        if number % 10 == 3:
            wake.wait(30)
        return number

    began = time.monotonic()
    done, stuck = _patience.each(list(range(100)), work, 0.05)
    took = time.monotonic() - began
    wake.set()
    assert stuck == list(range(3, 100, 10))
    assert done == [number for number in range(100) if number % 10 != 3]
    assert took < 5


def test_what_comes_back_late_counts_no_more():
    wake, back = threading.Event(), threading.Event()

    def work(number):
        if number == 0:
            wake.wait(30)
            back.set()
        return number

    done, stuck = _patience.each([0, 1], work, 0.05)
    wake.set()
    assert back.wait(5)
    time.sleep(0.05)
    assert (done, stuck) == ([1], [0])


def test_without_room_for_a_thread_the_work_is_done_all_the_same(monkeypatch):
    def refuse(_function, _arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_patience._thread, "start_new_thread", refuse)
    assert _patience.each([1, 2], str) == (["1", "2"], [])


def test_one_piece_of_work_that_hangs_is_left_behind():
    start = time.monotonic()
    assert not _patience.in_time(lambda: time.sleep(3), start + 0.1)
    assert time.monotonic() - start < 1
    assert _patience.in_time(lambda: None, start + 5)


def test_a_log_that_nobody_reads_holds_up_nobody(tmp_path):
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        began = time.monotonic()
        for _number in range(2000):
            _journal.tell("INC-1", "x" * 1000, path)
        assert time.monotonic() - began < 5
        assert log.recv(65536).startswith(b"<37>")
    _journal.tell("INC-1", "nobody is there", path)


def test_a_line_for_the_log_has_the_tag_and_no_control_characters(tmp_path):
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(path)
        _journal.tell("INC-1", "ended\n\x1b[2J", path)
        line = log.recv(65536).decode()
    assert f" incident_response[{os.getpid()}]: case=INC-1 ended" in line and line.isprintable()


def test_what_is_no_regular_file_is_not_even_opened(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"x")
    with pytest.raises(OSError, match="not a regular file"):
        _files.open_regular(str(fifo))
    os.close(writer)
    os.close(reader)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_text("content")
    with pytest.raises(OSError, match="not a regular file"):
        _files.open_regular(str(tmp_path / "link"))
    assert _files.read_regular(str(tmp_path / "file"), 100) == b"content"


def test_what_runs_beside_is_there_when_it_is_asked_for_also_without_a_thread(monkeypatch):
    calls = []
    answer = _patience.beside(lambda: calls.append(threading.get_ident()) or len(calls))
    assert (answer(), answer(), calls != [threading.get_ident()]) == (1, 1, True)

    def none(_work, _arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_patience._thread, "start_new_thread", none)
    assert _patience.beside(lambda: "here")() == "here"


def test_a_case_goes_to_memory_where_the_disk_is_full_or_somebody_elses(tmp_path, monkeypatch):
    disk, memory = str(tmp_path / "disk"), str(tmp_path / "memory")
    assert _workdir.root_of("INC-1", (disk, memory)) == disk
    monkeypatch.setattr(_workdir, "_room", lambda root: 0 if root == disk else 1 << 30)
    assert _workdir.root_of("INC-1", (disk, memory)) == memory
    os.makedirs(disk + "/INC-2")
    assert _workdir.root_of("INC-2", (disk, memory)) == disk  # where it was begun
    monkeypatch.setattr(_workdir, "_room", lambda root: 0)
    assert _workdir.root_of("INC-1", (disk, memory)) == disk


def test_a_release_of_a_case_that_the_host_never_had_names_the_case_that_it_has(tmp_path):
    _workdir.Workdir("INC-42", str(tmp_path)).update(frozen=[{"pid": 1}])
    (sentence,) = _workdir.elsewhere(_workdir.Workdir("INC-24", str(tmp_path)))
    assert "INC-24" in sentence and "INC-42" in sentence
    assert _workdir.elsewhere(_workdir.Workdir("INC-42", str(tmp_path))) == []


def test_a_state_that_could_not_be_read_back_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(_workdir, "_STATE_LIMIT", 1000)
    work = _workdir.Workdir("INC-1", str(tmp_path))
    work.update(frozen=[1])
    with pytest.raises(_workdir.HostError, match="grow beyond"):
        work.update(more="x" * 2000)
    assert work.read() == {"frozen": [1]}
