# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""With whom suspects talk, so that a cut can be silent there."""

from __future__ import annotations

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._processes._suspects import Suspects
from ansible_collections.firebreak.response.tests.unit.plugins.module_utils._processes.made_up import RESPONDER


def shell(host, peer: str = "203.0.113.5") -> None:
    """A shell that somebody elsewhere sits at."""
    inode = host.socket(peer)
    end = f"socket:[{inode}]"
    host.add("/usr/bin/bash", ["bash", "-i"], stdio=(end, end, end), fds=[inode])


def peers(host, autonomy: str = "terminate", **options) -> list[str]:
    found = Suspects(host.processes, host.sockets, root=str(host.root), own_pid=RESPONDER, **options)
    found.find()
    found.decide(autonomy)
    return found.peers


@pytest.mark.parametrize("autonomy", ["report", "freeze", "terminate"])
def test_the_peer_of_a_suspect_is_told_whatever_may_be_done_to_him(host, autonomy):
    shell(host)
    assert peers(host, autonomy) == ["203.0.113.5"]


def test_nobody_else_has_peers_that_are_told(host):
    host.add("/usr/sbin/nslcd", ["nslcd"], fds=[host.socket("192.0.2.9")])
    assert peers(host) == []


def test_a_server_that_others_need_too_is_none_of_them(host):
    shell(host)
    shell(host, "192.0.2.9")
    host.add("/usr/sbin/nslcd", ["nslcd"], fds=[host.socket("192.0.2.9")])
    assert peers(host) == ["203.0.113.5"]


def test_who_is_spared_has_none(host):
    shell(host)
    assert peers(host, spare=["/usr/bin/bash"]) == []
