# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces in other network namespaces, and AF_XDP sockets, from a made-up /proc."""

from __future__ import annotations

import os

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host import _elsewhere


def link(name: str, index: int, kind: str | None = None, other: int | None = None, hardware: int = 1) -> dict[str, object]:
    return {"name": name, "index": index, "kind": kind, "link": other, "type": hardware}


def test_what_ends_at_this_host_s_own_interfaces_is_not_led_away():
    own = [link("lo", 1, hardware=772), link("eth0", 2), link("veth1", 7, "veth", 3)]
    theirs = [link("lo", 1, hardware=772), link("eth0", 3, "veth", 7), link("mv0", 4, "macvlan", 2), link("br0", 5, "bridge")]
    assert _elsewhere.led_away(own, theirs) == []
    assert _elsewhere.led_away(own, [*theirs, link("eth1", 9), link("wire", 8, "veth", 7), link("far", 7, "veth", None)]) == ["eth1", "far", "wire"]


def test_other_namespaces_are_found_by_processes_and_by_names(tmp_path):
    for pid, space in (("self", "one"), ("1", "one"), ("22", "two"), ("23", "two")):
        (tmp_path / "proc" / pid / "ns").mkdir(parents=True)
        (tmp_path / space).touch()
        os.symlink(str(tmp_path / space), str(tmp_path / "proc" / pid / "ns/net"))
    (tmp_path / "proc/44/ns").mkdir(parents=True)  # a process that is gone
    (tmp_path / "run/netns").mkdir(parents=True)
    (tmp_path / "run/netns/blue").touch()
    found = _elsewhere.namespaces(str(tmp_path))
    assert sorted(found) == sorted(os.stat(str(tmp_path / path)).st_ino for path in ("two", "run/netns/blue"))


def test_the_rings_of_an_af_xdp_socket_tell_of_it_where_the_kernel_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(_elsewhere, "_diagnosed", lambda: None)
    line = "7f00-7f01 rw-s 00000000 00:08 {0}       socket:[{0}]\n"
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/maps").write_text("00400-00500 r-xp 0 08:01 3 /bin/x socket:[1] y\n" + line.format(51) * 4 + line.format(60), encoding="ascii")
    assert _elsewhere.xdp_sockets(lambda: [60], str(tmp_path)) == (1, 0)
    assert _elsewhere.xdp_sockets(lambda: [51, 60], str(tmp_path)) == (0, 0)


def test_an_answer_that_is_none_is_an_error(monkeypatch):
    def refuse(table: str) -> list[dict[str, object]]:
        raise OSError(1, "refused")

    monkeypatch.setattr(_elsewhere, "dump", refuse)
    monkeypatch.setattr(_elsewhere, "enter_network", lambda path: True)
    with pytest.raises(OSError, match="cannot be looked into"):
        _elsewhere._asked([(1, "/nowhere")])
