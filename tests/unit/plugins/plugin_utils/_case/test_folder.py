# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where cases lie, and what may not be made of a host's name."""

from __future__ import annotations

import hashlib
import os

import pytest
from ansible_collections.firebreak.response.plugins.plugin_utils._case._folder import (
    CaseFolder,
    check_case,
    host_name,
    place,
)
from ansible_collections.firebreak.response.plugins.plugin_utils._case._intake import Arrival
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import CaseError, PolicyError


@pytest.mark.parametrize("case", ["", "..", "a/b", ".hidden", "-x", "a" * 65, "INC 1", "INC\n1", "ä", None, 42])
def test_a_bad_case_name_is_refused_by_name_and_value(case):
    with pytest.raises(PolicyError, match="firebreak_case"):
        check_case("firebreak_case", case)


@pytest.mark.parametrize("case", ["INC-42", "a", "2026.11_x", "a" * 64])
def test_a_good_case_name_stays(case):
    assert check_case("case", case) == case


@pytest.mark.parametrize(
    "host", ["../../etc", "..", ".", "", "a/b", "a b", "web\n", "ü", "%2E", "-rf", "a" * 300, "\ud800"]
)
def test_a_host_name_is_one_harmless_folder(host):
    name = host_name(host)
    assert name and len(name) <= 128 and name.isascii() and "/" not in name and name[0] not in ".-"
    assert all(char.isalnum() or char in "._-%" for char in name)


def test_different_hosts_have_different_folders():
    names = ["a/b", "a%2Fb", "a b", "a", ".a", "%2Ea", "a" * 300, "a" * 301]
    assert len({host_name(name) for name in names}) == len(names)


def test_an_ordinary_host_keeps_its_name():
    assert host_name("web07.example.com") == "web07.example.com"


def test_folders_are_private(tmp_path):
    folder = CaseFolder(str(tmp_path / "cases"), "INC-1")
    for path in (folder.path, folder.evidence_of("web07")):
        assert os.stat(path).st_mode & 0o777 == 0o700


def test_an_open_folder_is_closed(tmp_path):
    (tmp_path / "INC-1").mkdir(mode=0o755)
    folder = CaseFolder(str(tmp_path), "INC-1")
    assert os.stat(folder.path).st_mode & 0o777 == 0o700


def test_a_link_in_place_of_a_case_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    os.symlink(tmp_path / "other", tmp_path / "INC-1")
    with pytest.raises(CaseError, match="firebreak_cases_dir"):
        CaseFolder(str(tmp_path), "INC-1")


def test_a_link_in_place_of_a_hosts_folder_is_refused(tmp_path):
    folder = CaseFolder(str(tmp_path), "INC-1")
    folder.evidence_of("a")
    os.symlink("/tmp", os.path.join(folder.path, "evidence", "b"))
    with pytest.raises(CaseError):
        folder.evidence_of("b")


def test_outside_awx_there_is_a_default():
    assert place(None, {}) == os.path.expanduser("~/.local/share/firebreak/cases")


@pytest.mark.parametrize("chosen", ["/runner/cases", "/runner", "/priv/x/../cases", "/home/runner/x"])
def test_a_folder_that_vanishes_with_the_job_is_refused(chosen):
    with pytest.raises(PolicyError, match="firebreak_cases_dir"):
        place(chosen, {"AWX_PRIVATE_DATA_DIR": "/priv"})


def test_in_a_job_there_is_no_default_but_a_volume_will_do():
    with pytest.raises(PolicyError, match="firebreak_cases_dir"):
        place(None, {}, job=True)
    assert place("/cases", {"AWX_PRIVATE_DATA_DIR": "/priv"}, job=True) == "/cases"


def test_evidence_gets_its_name_only_when_it_is_what_was_announced(tmp_path):
    arrival = Arrival(str(tmp_path), "x.tar.gz")
    arrival.write(b"ab")
    arrival.write(b"c")
    assert os.listdir(tmp_path) == ["x.tar.gz.part"]
    arrived = arrival.finish(hashlib.sha256(b"abc").hexdigest(), 3)
    assert arrived.verified and os.listdir(tmp_path) == ["x.tar.gz"]
    assert os.stat(arrived.path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("sha256", "size"), [("0" * 64, 3), (hashlib.sha256(b"abc").hexdigest(), 4)])
def test_what_does_not_fit_is_kept_as_rejected(tmp_path, sha256, size):
    arrival = Arrival(str(tmp_path), "x.tar.gz")
    arrival.write(b"abc")
    assert not arrival.finish(sha256, size).verified
    assert os.listdir(tmp_path) == ["x.tar.gz.rejected"]


def test_evidence_never_replaces_evidence(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"first")
    arrival = Arrival(str(tmp_path), "x.tar.gz")
    with pytest.raises(CaseError):
        arrival.finish(hashlib.sha256(b"").hexdigest(), 0)
    assert (tmp_path / "x.tar.gz").read_bytes() == b"first"
