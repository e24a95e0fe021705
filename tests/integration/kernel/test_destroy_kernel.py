# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a socket through the kernel ends that one and no other, however short-lived it was."""

from __future__ import annotations

import socket
import struct

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host._sock_diag import destroy
from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import Socket

HERE = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def listening(family: int) -> socket.socket:
    """A server of both families where it is one of IPv6, as most programs have it."""
    if family == socket.AF_INET:
        return socket.create_server(("", 0))
    return socket.create_server(("", 0), family=family, dualstack_ipv6=True)


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "127.0.0.1")])
def test_a_connection_ends_and_who_listens_goes_on_whatever_became_of_it(family, address):
    with listening(family) as server:
        server.settimeout(2)
        port = server.getsockname()[1]
        client = socket.create_connection((address, port))
        accepted, _peer = server.accept()
        flow = Socket("tcp", 6 if family == socket.AF_INET6 else 4, address, port, address, client.getsockname()[1], "ESTABLISHED", 0, 1)
        assert destroy(flow) == "destroyed"
        with pytest.raises(ConnectionAbortedError):
            accepted.recv(1)
        # As a short-lived connection of anybody's may have ended between the reading and this.
        for one in (client, accepted):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        assert destroy(flow) == "gone"
        socket.create_connection((address, port), 2).close()
        server.accept()[0].close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_of_udp_that_serves_others_goes_on_when_the_one_with_a_peer_is_gone(family):
    address = HERE[family]
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        server.bind((address, 0))
        server.settimeout(2)
        client.bind((address, 0))
        ports = server.getsockname()[1], client.getsockname()[1]
        assert destroy(Socket("udp", 6 if family == socket.AF_INET6 else 4, address, ports[0], address, ports[1], "ESTABLISHED", 0, 1)) == "gone"
        client.sendto(b"x", server.getsockname())
        assert server.recv(1) == b"x"
        client.connect(server.getsockname())
        assert destroy(Socket("udp", 6 if family == socket.AF_INET6 else 4, address, ports[1], address, ports[0], "ESTABLISHED", 0, 1)) == "destroyed"
