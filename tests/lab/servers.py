# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers of the lab: command and control on the internet, sinks on the monitoring system.

usage: servers.py c2|monitoring LOGFILE. Writes what it sees as JSON lines: time, kind, source, port, text.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

SHELL_PORT, POOL_PORT, BEACON_PORT = 4444, 3333, 8443
MONITORING_TCP, MONITORING_UDP = 6514, 514
TICK = 0.5


class Log:
    """Appends what the server sees."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")

    def write(self, kind: str, peer: tuple, text: bytes) -> None:
        """One line; `peer` is (address, port, …)."""
        line = {"time": time.time(), "kind": kind, "source": peer[0].removeprefix("::ffff:"), "port": peer[1],
                "text": text[:200].decode("utf-8", "replace")}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class Datagrams(asyncio.DatagramProtocol):
    """Writes every datagram down and answers it."""

    def __init__(self, log: Log, kind: str) -> None:
        self._log, self._kind = log, kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        """One beacon."""
        self._log.write(self._kind, addr, data)
        self._transport.sendto(b"ok", addr)


async def serve(role: str, log: Log) -> None:
    """Serve until killed."""
    async def shell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")

        async def order() -> None:
            number = 0
            while True:
                number += 1
                writer.write(f"echo TICK-{number}\n".encode())
                await writer.drain()
                await asyncio.sleep(TICK)

        ordering = asyncio.ensure_future(order())
        try:
            while line := await reader.read(4096):
                log.write("shell", peer, line)
        except ConnectionError:
            log.write("reset", peer, b"")
        finally:
            ordering.cancel()

    def stream(kind: str):
        async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = writer.get_extra_info("peername")
            try:
                while data := await reader.read(4096):
                    log.write(kind, peer, data)
            except ConnectionError:
                log.write("reset", peer, b"")
        return sink

    loop = asyncio.get_running_loop()
    if role == "c2":
        await asyncio.start_server(shell, ["0.0.0.0", "::"], SHELL_PORT)
        await asyncio.start_server(stream("pool"), ["0.0.0.0", "::"], POOL_PORT)
        await asyncio.start_server(stream("tcp"), ["0.0.0.0", "::"], BEACON_PORT)
        udp = BEACON_PORT
    else:
        await asyncio.start_server(stream("syslog"), ["0.0.0.0", "::"], MONITORING_TCP)
        udp = MONITORING_UDP
    # One socket takes both families: IPv4 peers show as mapped addresses.
    await loop.create_datagram_endpoint(lambda: Datagrams(log, "udp"), local_addr=("::", udp))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Log(sys.argv[2])))
