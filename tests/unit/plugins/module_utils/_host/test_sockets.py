# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sockets out of /proc/net."""

from __future__ import annotations

import os
import socket

from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import (
    Socket,
    owners,
    parse_packet_sockets,
    parse_sockets,
    read_sockets,
)

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
V4 = "   1: 0200000A:9C9C 076433C6:115C 01 00000000:00000000 00:00000000 00000000    33        0 4711 1 0 20 0 0 10 0\n"
MAPPED = (
    "   2: 0000000000000000FFFF00000200000A:0016 0000000000000000FFFF00000100000A:9C40 01 "
    "00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 0 0 10 0\n"
)


def test_addresses_ports_state_and_owner_are_read():
    assert parse_sockets(HEAD + V4, "tcp", 4) == [
        Socket("tcp", 4, "10.0.0.2", 40092, "198.51.100.7", 4444, "ESTABLISHED", 33, 4711)]


def test_mapped_addresses_become_ipv4_but_the_family_stays():
    found = parse_sockets(HEAD + MAPPED, "tcp", 6)[0]
    assert (found.family, found.local_address, found.remote_address) == (6, "10.0.0.2", "10.0.0.1")


def test_lines_that_do_not_fit_are_left_out():
    hostile = "x\n" + "1: zz:1 00:2 01\n" + "1: 0200000A:ZZZZ 0:0 01 0 0 0 0 0 0\n" + "\x00\xff\n" + V4.replace(" 01 ", " FF ")
    assert [one.state for one in parse_sockets(HEAD + hostile, "tcp", 4)] == ["UNKNOWN"]
    assert parse_packet_sockets("head\nshort\n" + "ffff 3 3 zz 2 1 0 0 77\n") == []


def test_every_holder_of_a_socket_is_found():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        assert os.getpid() in owners([inode, 0])[inode]
        assert any(one.inode == inode and one.state == "LISTEN" for one in read_sockets())
    assert owners([]) == {}
