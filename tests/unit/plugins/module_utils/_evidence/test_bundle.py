# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle: readable wherever it is cut off, honest about what is missing, closed to names of the host."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import zlib

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._evidence import _bundle, _sink
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir


@pytest.fixture
def work(tmp_path):
    return Workdir("INC-1", str(tmp_path / "firebreak"))


@pytest.fixture
def bundle(work):
    return _bundle.Bundle(work, "volatile", "INC-1")


def members(path):
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_what_was_added_comes_out_and_every_hash_fits(work, bundle):
    bundle.add_bytes("[root]/proc/1/stat", b"1 (a) S", "/proc/1/stat")
    bundle.add_jsonl("live_response/process/processes.jsonl", [{"name": "a\nb\udcff"}], "/proc")
    closed = bundle.close()
    path = work.file(closed["bundle"])
    found = members(path)
    with open(work.file(closed["manifest"]), "rb") as handle:
        raw = handle.read()
    manifest = json.loads(raw)
    assert found["[root]/proc/1/stat"] == b"1 (a) S"
    assert json.loads(found["live_response/process/processes.jsonl"]) == {"name": "a\nb\udcff"}
    with open(path, "rb") as handle:
        assert hashlib.sha256(handle.read()).hexdigest() == closed["sha256"] == manifest["bundle"]["sha256"]
    assert closed["size"] == os.path.getsize(path) == manifest["bundle"]["size"]
    assert closed["manifest_sha256"] == hashlib.sha256(raw).hexdigest()
    assert closed["files"] == len(manifest["members"]) == 2
    for member in manifest["members"]:
        assert hashlib.sha256(found[member["path"]]).hexdigest() == member["sha256"]
        assert len(found[member["path"]]) == member["size"]
    assert json.loads(found["manifest.json"])["members"] == manifest["members"]
    assert manifest["outcome"] == closed["outcome"] == "complete"


def test_bundle_manifest_and_folder_are_roots_alone(work, bundle):
    closed = bundle.close()
    assert stat.S_IMODE(os.stat(work.path).st_mode) == 0o700
    for name in (closed["bundle"], closed["manifest"]):
        assert stat.S_IMODE(os.stat(work.file(name)).st_mode) == 0o600


def test_after_sync_everything_so_far_can_be_read_though_the_end_never_came(work, bundle):
    bundle.add_bytes("first", b"x" * 5000, "a")
    bundle.sync()
    bundle.add_bytes("second", b"y" * 5, "b")
    with open(work.file(bundle.name), "rb") as handle:
        plain = zlib.decompressobj(31).decompress(handle.read())
    with tarfile.open(fileobj=io.BytesIO(plain + bytes(1024))) as archive:
        assert archive.extractfile("first").read() == b"x" * 5000


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "a\nb", "a b", "\udcff"])
def test_a_member_name_that_is_not_ours_is_refused(bundle, name):
    with pytest.raises(ValueError):
        bundle.add_bytes(name, b"", "x")


def test_a_name_used_twice_gets_a_number_and_nothing_is_lost(work, bundle):
    bundle.add_bytes("a", b"1", "x")
    assert bundle.add_bytes("a", b"2", "x")["path"] == "a~2"
    found = members(work.file(bundle.close()["bundle"]))
    assert (found["a"], found["a~2"]) == (b"1", b"2")


def test_a_hostile_source_is_escaped_and_kept_exact(bundle):
    raw = b"/tmp/\xff\n\x1b[2J" + "\u202e".encode() + b"a" * 4096
    entry = bundle.add_bytes("a", b"", raw)
    assert not set("\n\x1b\u202e") & set(entry["source"])
    assert base64.b64decode(entry["source_base64"]) == raw


def test_beyond_the_size_budget_is_cut_and_said(work):
    bundle = _bundle.Bundle(work, "volatile", "INC-1", max_bytes=10)
    assert bundle.add_bytes("a", b"x" * 25, "x")["size"] == 10
    closed = bundle.close()
    assert closed["outcome"] == "partial"
    assert "size budget" in closed["missing"][0]["why"]
    assert members(work.file(closed["bundle"]))["a"] == b"x" * 10


def test_a_file_larger_than_its_limit_is_cut_and_said(work, bundle, tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as handle:
        handle.truncate(5 * 1024**4)
    handle = os.open(path, os.O_RDONLY)
    entry = bundle.add_fd("a", handle, 1000, str(path))
    os.close(handle)
    assert (entry["size"], entry["outcome"]) == (1000, "partial")
    assert entry["file"]["size"] == 5 * 1024**4
    assert bundle.close()["outcome"] == "partial"


def test_a_file_that_shrinks_while_it_is_read_is_padded_and_said(work, bundle, tmp_path, monkeypatch):
    path = tmp_path / "shrinks"
    path.write_bytes(b"x" * 1000)
    handle = os.open(path, os.O_RDONLY)
    real = os.fstat(handle)
    path.write_bytes(b"x" * 100)
    monkeypatch.setattr(_bundle.os, "fstat", lambda handle: real)
    entry = bundle.add_fd("a", handle, 5000, str(path))
    monkeypatch.undo()
    os.close(handle)
    assert entry["outcome"] == "partial"
    assert "shrank" in entry["why"]
    assert members(work.file(bundle.close()["bundle"]))["a"] == b"x" * 100 + bytes(900)


def test_a_full_disk_is_an_error_and_never_a_success(work, bundle, monkeypatch):
    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_sink.os, "write", full)
    with pytest.raises(HostError, match="No space left"):
        bundle.add_bytes("a", os.urandom(1000000), "x")
    with pytest.raises(HostError, match="No space left"):
        bundle.sync()


def test_too_little_room_is_refused_before_anything_is_written(work, monkeypatch):
    work.make()
    real = os.statvfs(work.path)
    monkeypatch.setattr(
        _bundle.os, "statvfs", lambda path: os.statvfs_result((real.f_bsize, 1, 100, 10, 10, 1, 1, 1, 0, 255))
    )
    with pytest.raises(HostError, match="MiB free"):
        _bundle.Bundle(work, "volatile", "INC-1")
    assert os.listdir(work.path) == []


def test_check_mode_counts_and_hashes_and_writes_nothing(tmp_path):
    work = Workdir("INC-1", str(tmp_path / "firebreak"), writable=False)
    bundle = _bundle.Bundle(work, "volatile", "INC-1")
    bundle.add_bytes("a", b"x", "x")
    bundle.sync()
    closed = bundle.close()
    assert closed["bundle"] is None and closed["manifest"] is None and closed["size"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_exists_already_is_never_written_over(work, monkeypatch):
    first = _bundle.Bundle(work, "volatile", "INC-1")
    names = iter([first.name, "20261124T042751.123Z-volatile.tar.gz"])
    monkeypatch.setattr(_bundle.Bundle, "_new_name", lambda self: next(names))
    assert _bundle.Bundle(work, "volatile", "INC-1").name == "20261124T042751.123Z-volatile.tar.gz"


def test_moments_have_three_digits_always():
    assert _bundle.utc(1795494471.9999) == "2026-11-24T04:27:51.999Z"
    assert _bundle.utc(1795494471.0) == "2026-11-24T04:27:51.000Z"


def test_the_stream_is_plain_gzip(work, bundle):
    bundle.add_bytes("a", b"x", "x")
    bundle.sync()
    closed = bundle.close()
    with gzip.open(work.file(closed["bundle"])) as handle:
        assert len(handle.read()) % 512 == 0
