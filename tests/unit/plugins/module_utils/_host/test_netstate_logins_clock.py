# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bytes of the kernel and of login files, read without either."""

from __future__ import annotations

import os
import struct

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host import _clock, _logins, _netstate


def message(kind, body):
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)


def attribute(number, data):
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def test_a_route_is_read_with_its_own_table():
    body = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 3, 0, 1, 0)
    body += attribute(1, bytes([10, 0, 0, 0])) + attribute(5, bytes([10, 0, 0, 1])) + attribute(15, struct.pack("=I", 1000))
    records, done = _netstate.parse("routes", message(24, body) + message(3, bytes(4)))
    assert done
    assert records[0]["destination"] == "10.0.0.0" and records[0]["gateway"] == "10.0.0.1"
    assert (records[0]["destination_prefix"], records[0]["table"]) == (24, 1000)


def test_a_link_is_read_and_its_hostile_name_kept():
    body = struct.pack("=BxHiII", 0, 1, 2, 0x1043, 0) + attribute(3, b"e\n\xff\0") + attribute(1, b"\x02\0\0\0\0\x01")
    records, done = _netstate.parse("links", message(16, body))
    assert not done
    assert (records[0]["index"], records[0]["name"], records[0]["address"]) == (2, "e\n\udcff", "02:00:00:00:00:01")


@pytest.mark.parametrize(("nested", "kind", "xdp"), [
    (attribute(1, b"veth\0"), "veth", False), (attribute(2, b"\1"), "", True), (b"\1\0\1\0" * 3, "", False), (b"\xff" * 7, "", False),
])
def test_what_kind_a_link_is_and_whether_a_program_sits_on_it(nested, kind, xdp):
    body = struct.pack("=BxHiII", 0, 1, 2, 0x1043, 0) + attribute(0x8000 | 18, nested) + attribute(0x8000 | 43, nested)
    (record,), _done = _netstate.parse("links", message(16, body))
    assert (record["kind"], record["xdp"]) == (kind, xdp)


@pytest.mark.parametrize("data", [b"", b"\0" * 16, b"\xff" * 40, message(24, b"\0" * 3), message(24, b"\0" * 12 + b"\1\0\0\0")])
def test_rubbish_ends_and_never_raises(data):
    assert _netstate.parse("routes", data)[1] is False


def test_an_error_of_the_kernel_is_raised():
    with pytest.raises(PermissionError):
        _netstate.parse("routes", message(2, struct.pack("=i", -1) + bytes(16)))


def record(kind=7, line=b"pts/0", user=b"root", host=b"10.0.0.9", address=bytes([10, 0, 0, 9]) + bytes(12)):
    return struct.pack("=hxxi32s4s32s256shhiii16s20x", kind, 99, line, b"ts/0", user, host, 0, 0, 5, 1700000000, 7, address)


def test_a_login_is_read_with_its_peer():
    assert _logins.parse_utmp(record()) == [
        {"type": "user", "pid": 99, "line": "pts/0", "user": "root", "host": "10.0.0.9", "session": 5,
         "time": 1700000000, "address": "10.0.0.9"}
    ]


def test_empty_strange_and_cut_login_records_do_not_stop_the_reading():
    data = record(kind=0) + record(kind=-5, user=b"\xff\n" * 16) + record(address=b"\x20\x01" + bytes(13) + b"\x01") + b"rest"
    records = _logins.parse_utmp(data)
    assert [one["type"] for one in records] == ["-5", "user"]
    assert records[0]["user"] == "\udcff\n" * 16
    assert records[1]["address"] == "2001::1"


def test_session_files_are_read_and_the_fifo_beside_them_is_not(tmp_path):
    (tmp_path / "c1").write_text("# comment\nUID=0\nREMOTE_HOST=10.0.0.9\nrubbish\n", encoding="ascii")
    os.mkfifo(tmp_path / "c1.ref")
    os.mkfifo(tmp_path / "c2")
    assert _logins.read_sessions(str(tmp_path)) == [{"file": "c1", "UID": "0", "REMOTE_HOST": "10.0.0.9"}]
    assert _logins.read_sessions(str(tmp_path / "none")) == []


def test_the_clock_says_what_keeps_it(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/uptime").write_text("12.50 1.00\n", encoding="ascii")
    (tmp_path / "run/chrony").mkdir(parents=True)
    clock = _clock.read_clock(str(tmp_path))
    assert (clock["uptime"], clock["services"]) == ("12.50", ["chrony"])
