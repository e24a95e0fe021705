# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger under parallel writers, killed writers and forgers."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import pytest
from ansible_collections.firebreak.response.plugins.plugin_utils._case import _records as records
from ansible_collections.firebreak.response.plugins.plugin_utils._case._ledger import Ledger
from ansible_collections.firebreak.response.plugins.plugin_utils._case._verify import verify
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import CaseError


@pytest.fixture
def case(tmp_path):
    folder = tmp_path / "INC-1"
    folder.mkdir()
    return folder


def ledger_of(folder):
    return Ledger(str(folder / "ledger.jsonl"), "INC-1")


def fill(folder, count=5):
    ledger = ledger_of(folder)
    for number in range(count):
        at = ledger.append([{"event": "started", "host": f"web{number:02}"}])
    return at


def lines(folder):
    return (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def rewrite(folder, changed):
    (folder / "ledger.jsonl").write_bytes(b"".join(changed))


def test_a_filled_ledger_verifies_and_is_private(case):
    at = fill(case)
    report = verify(str(case), at)
    assert (report.count, report.head, report.problems) == (5, at.head, [])
    assert os.stat(case / "ledger.jsonl").st_mode & 0o777 == 0o600


def test_a_checkpoint_record_says_how_far_the_ledger_went(case):
    before = fill(case, 2)
    at = ledger_of(case).append([{"event": "finished"}], checkpoint=True)
    last = json.loads(lines(case)[-1])
    assert (last["event"], last["count"], before.count, at.count) == ("checkpoint", 3, 2, 4)
    assert verify(str(case), at).problems == []


def test_a_flipped_byte_is_found_in_its_record(case):
    fill(case)
    changed = lines(case)
    changed[2] = changed[2].replace(b"web02", b"web92")
    rewrite(case, changed)
    assert verify(str(case)).problems[0].startswith("record 3 (line 3)")


@pytest.mark.parametrize("position", range(0, 400, 7))
def test_no_byte_can_be_changed_unnoticed(case, position):
    fill(case, 3)
    data = bytearray((case / "ledger.jsonl").read_bytes())
    data[position] ^= 0x01
    (case / "ledger.jsonl").write_bytes(bytes(data))
    assert verify(str(case)).problems


def test_a_removed_line_is_named(case):
    fill(case)
    changed = lines(case)
    del changed[1]
    rewrite(case, changed)
    assert verify(str(case)).problems[0].startswith("record 2 (line 2): it says it is record 3")


def test_swapped_lines_are_named(case):
    fill(case)
    changed = lines(case)
    changed[1], changed[2] = changed[2], changed[1]
    rewrite(case, changed)
    assert verify(str(case)).problems[0].startswith("record 2 (line 2)")


def test_a_cut_tail_shows_only_against_a_checkpoint(case):
    at = fill(case)
    rewrite(case, lines(case)[:3])
    assert verify(str(case)).problems == []
    assert verify(str(case), at).problems == [
        "record 4 is missing: the ledger ends after 3 records, the checkpoint knows 5"
    ]


def test_a_ledger_written_anew_shows_against_a_checkpoint(case):
    at = fill(case)
    os.unlink(case / "ledger.jsonl")
    fill(case)
    assert verify(str(case), at).problems == ["record 5 is not the one of the checkpoint: the ledger was written anew"]


def test_a_forged_record_at_the_end_is_named(case):
    fill(case, 2)
    forged = json.loads(lines(case)[-1])
    forged["seq"] = 3
    rewrite(case, lines(case) + [records.canonical(forged) + b"\n"])
    assert verify(str(case)).problems[0].startswith("record 3 (line 3)")


def test_a_line_of_garbage_is_named(case):
    fill(case, 2)
    changed = lines(case)
    rewrite(case, [changed[0], b"garbage\n", changed[1]])
    assert verify(str(case)).problems == ["line 2 is no record, and no record accounts for it"]


def test_a_record_of_another_case_does_not_fit(case):
    Ledger(str(case / "ledger.jsonl"), "INC-2").append([{"event": "started"}])
    assert verify(str(case)).problems == ["record 1 (line 1): it belongs to another case"]


@pytest.mark.parametrize("cut", [2, 40, 150])
def test_a_torn_line_is_kept_accounted_for_and_written_past(case, cut):
    fill(case, 3)
    whole = (case / "ledger.jsonl").read_bytes()
    (case / "ledger.jsonl").write_bytes(whole[:-cut])
    assert verify(str(case)).torn == 1
    at = ledger_of(case).append([{"event": "started"}])
    report = verify(str(case), at)
    assert (report.count, report.torn, report.problems) == (4, 1, [])
    assert whole[:-cut] in (case / "ledger.jsonl").read_bytes()
    assert json.loads(lines(case)[-2])["event"] == "torn"


def test_a_record_that_lacks_only_its_line_end_is_whole(case):
    fill(case, 3)
    (case / "ledger.jsonl").write_bytes((case / "ledger.jsonl").read_bytes()[:-1])
    at = fill(case, 1)
    report = verify(str(case), at)
    assert (report.count, report.torn, report.problems) == (4, 0, [])


def test_a_torn_first_line_does_not_stop_the_ledger(case):
    (case / "ledger.jsonl").write_bytes(b'{"seq":1,"ca')
    at = fill(case, 1)
    assert (at.count, verify(str(case), at).problems) == (2, [])


def test_a_torn_line_longer_than_a_block_is_passed(case):
    fill(case, 2)
    with open(case / "ledger.jsonl", "ab") as stream:
        stream.write(b"x" * 200000)
    at = fill(case, 1)
    assert (at.count, verify(str(case), at).problems) == (4, [])


def test_a_forged_account_of_a_torn_line_is_named(case):
    fill(case, 2)
    with open(case / "ledger.jsonl", "ab") as stream:
        stream.write(b"torn")
    fill(case, 1)
    changed = lines(case)
    changed[2] = b"other\n"
    rewrite(case, changed)
    assert verify(str(case)).problems == ["line 3 is not the torn line that record 3 accounts for"]


def test_a_link_in_place_of_the_ledger_is_refused(case, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"")
    os.symlink(tmp_path / "elsewhere", case / "ledger.jsonl")
    with pytest.raises(CaseError, match="nothing is done without it"):
        fill(case, 1)


def _writer(folder, number, times):
    for _each in range(times):
        ledger_of(folder).append([{"event": "started", "host": f"web{number}"}, {"event": "finished"}], checkpoint=True)


def test_thirty_writers_at_once_lose_nothing(case):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_writer, args=(case, number, 4)) for number in range(30)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    report = verify(str(case), ledger_of(case).checkpoint())
    assert (report.count, report.torn, report.problems) == (30 * 4 * 3, 0, [])


def test_killed_writers_leave_a_ledger_that_goes_on(case):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_writer, args=(case, number, 100000)) for number in range(4)]
    for writer in writers:
        writer.start()
    time.sleep(0.4)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    at = fill(case, 1)
    report = verify(str(case), at)
    assert report.problems == []
    assert report.count == at.count > 4


def test_a_named_file_must_be_what_arrived(case):
    (case / "evidence").mkdir()
    (case / "evidence" / "a.tar.gz").write_bytes(b"abc")
    entry = {
        "path": "evidence/a.tar.gz",
        "size": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
    ledger_of(case).append([{"event": "received", "produced": [entry]}])
    assert verify(str(case)).problems == []
    (case / "evidence" / "a.tar.gz").write_bytes(b"abd")
    assert verify(str(case)).problems == ["file 'evidence/a.tar.gz' is not what record 1 says arrived"]
    os.unlink(case / "evidence" / "a.tar.gz")
    os.symlink("/dev/zero", case / "evidence" / "a.tar.gz")
    assert verify(str(case)).problems == ["file 'evidence/a.tar.gz' of record 1 is missing or is a link"]


def test_a_file_that_no_record_names_is_found(case):
    fill(case, 1)
    (case / "evidence").mkdir()
    (case / "evidence" / "planted").write_bytes(b"")
    assert verify(str(case)).problems == ["file 'evidence/planted' is in no record of the ledger"]


def test_arguments_hold_no_secret_and_no_bulk():
    shown = records.arguments(
        {"case": "X", "_phase": "apply", "api_token": "s3", "allow": ["a"] * 60, "d": {"password": "p"}}, False
    )
    assert "_phase" not in shown and shown["d"] == {"password": "removed"} and len(shown["allow"]) == 51
    assert records.arguments({"api_token": "s3"}, False) != {"api_token": "s3"}
    assert records.arguments({"case": "X"}, True) == "removed: no_log"
