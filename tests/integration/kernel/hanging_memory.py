# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process whose memory cannot be read: it holds its lock while it waits for a file system that never answers.

usage: hanging_memory.py FOLDER (in a mount namespace of its own). Prints the number of that process once it hangs, and lives
until its standard input ends. The protocol is that of linux/fuse.h, as much of it as one file needs.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import stat
import struct
import sys
import time

LOOKUP, GETATTR, OPEN, READ, WRITE, FLUSH, RELEASE, INIT = 1, 3, 14, 15, 16, 25, 18, 26
C = ctypes.CDLL(None, use_errno=True)
C.mmap.restype = ctypes.c_void_p
C.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def victim(path: str) -> None:
    """Make a page of the file dirty, then put another mapping over it: the kernel writes the page back, with the lock held."""
    handle = os.open(path, os.O_RDWR)
    page = C.mmap(None, 4096, 3, 1, handle, 0)  # PROT_READ | PROT_WRITE, MAP_SHARED
    ctypes.memset(page, 65, 1)
    print(os.getpid(), flush=True)
    C.mmap(page, 4096, 3, 0x32, -1, 0)  # MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
    os._exit(1)


def answer(operation: int, node: int, body: bytes) -> bytes | None:
    """What the file system says; None where it says nothing, and for good."""
    def attributes(number: int) -> bytes:
        mode = 0o40755 if number == 1 else 0o100666
        return struct.pack("<6Q10I", number, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    if operation == INIT:
        return struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, 0).ljust(64, b"\0")
    if operation == LOOKUP:
        return struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + attributes(2)
    if operation == GETATTR:
        return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if operation == OPEN:
        return struct.pack("<QIi", 1, 0, 0)
    if operation == READ:
        return bytes(4096)
    return b"" if operation in (FLUSH, RELEASE) else None


def main(folder: str) -> None:
    """Serve until standard input ends."""
    device, mount = folder + "/fuse", folder + "/mount"
    os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(10, 229))
    os.mkdir(mount)
    handle = os.open(device, os.O_RDWR)
    options = f"fd={handle},rootmode=40000,user_id=0,group_id=0".encode()
    if C.mount(b"test", mount.encode(), b"fuse", 0, options):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    child = os.fork()
    if child == 0:
        os.close(handle)
        time.sleep(0.2)
        victim(mount + "/file")
    try:
        while True:
            ready, _write, _bad = select.select([handle, 0], [], [])
            if 0 in ready:
                return
            data = os.read(handle, 1 << 18)
            _length, operation, unique, node = struct.unpack_from("<IIQQ", data)
            said = answer(operation, node, data[40:])
            if said is not None:
                os.write(handle, struct.pack("<IiQ", 16 + len(said), 0, unique) + said)
            elif operation != WRITE and operation not in (2, 42):  # FORGET and BATCH_FORGET want no answer
                os.write(handle, struct.pack("<IiQ", 16, -38, unique))
    finally:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
