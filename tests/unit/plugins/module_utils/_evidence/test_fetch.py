# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pieces of a bundle: only ours, only from the case's folder, and gone only after the same hash."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError, OptionError
from ansible_collections.firebreak.response.plugins.module_utils._evidence import _fetch
from ansible_collections.firebreak.response.plugins.module_utils._evidence._bundle import Bundle
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir

NAME = "20261124T042751.123Z-volatile.tar.gz"


@pytest.fixture
def work(tmp_path):
    return Workdir("INC-1", str(tmp_path / "firebreak"))


@pytest.fixture
def closed(work):
    bundle = Bundle(work, "volatile", "INC-1")
    bundle.add_bytes("a", os.urandom(10000), "x")
    return bundle.close()


def test_the_pieces_together_are_the_bundle(work, closed):
    data, offset, eof = b"", 0, False
    while not eof:
        piece = _fetch.read_piece(work, closed["bundle"], offset, 3000)
        part = base64.b64decode(piece["data"])
        assert piece["sha256_of_piece"] == hashlib.sha256(part).hexdigest()
        assert (piece["offset"], piece["length"], piece["size"]) == (offset, len(part), closed["size"])
        data, offset, eof = data + part, offset + len(part), piece["eof"]
    assert hashlib.sha256(data).hexdigest() == closed["sha256"]


def test_the_manifest_can_be_fetched_too(work, closed):
    piece = _fetch.read_piece(work, closed["manifest"], 0, 10**9)
    assert piece["eof"] and hashlib.sha256(base64.b64decode(piece["data"])).hexdigest() == closed["manifest_sha256"]


@pytest.mark.parametrize(
    "name",
    ["state.json", "undo.py", "../" + NAME, "/etc/shadow", NAME + "\n", NAME + "/..", "", None, 5, ["x"],
     "\u0662" + NAME[1:], NAME.replace("volatile", "../../etc")],
)
def test_any_other_name_is_refused(work, closed, name):
    with pytest.raises(OptionError):
        _fetch.read_piece(work, name, 0, 10)
    with pytest.raises(OptionError):
        _fetch.discard(work, name, "0" * 64)


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, -1), ("0", 5), (True, 5), (0, None), (10**9, 5)])
def test_an_impossible_range_is_refused(work, closed, offset, length):
    with pytest.raises(OptionError):
        _fetch.read_piece(work, closed["bundle"], offset, length)


@pytest.mark.parametrize("plant", ["symlink", "fifo", "hardlink", "readable"])
def test_what_is_no_longer_our_own_file_is_refused_and_never_hangs(work, closed, tmp_path, plant):
    path = work.file(closed["bundle"])
    if plant == "symlink":
        os.unlink(path)
        os.symlink("/etc/passwd", path)
    elif plant == "fifo":
        os.unlink(path)
        os.mkfifo(path)
    elif plant == "hardlink":
        os.link(path, tmp_path / "second")
    else:
        os.chmod(path, 0o644)
    with pytest.raises(HostError):
        _fetch.read_piece(work, closed["bundle"], 0, 10)
    with pytest.raises(HostError):
        _fetch.discard(work, closed["bundle"], closed["sha256"])
    assert os.path.lexists(path)


def test_a_bundle_that_is_not_what_was_received_stays(work, closed):
    with open(work.file(closed["bundle"]), "r+b") as handle:
        handle.write(b"\0")
    with pytest.raises(HostError, match="differs"):
        _fetch.discard(work, closed["bundle"], closed["sha256"])
    assert os.path.exists(work.file(closed["bundle"]))


def test_after_verified_receipt_bundle_and_manifest_go_and_nothing_else(work, closed):
    work.update(kept=True)
    assert _fetch.discard(work, closed["bundle"], closed["sha256"]) is True
    assert os.listdir(work.path) == ["state.json"]
    assert _fetch.discard(work, closed["bundle"], closed["sha256"]) is False
