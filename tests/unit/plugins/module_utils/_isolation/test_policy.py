# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Allow entries and plans."""

from __future__ import annotations

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import Socket
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import (
    PolicyError,
    from_dict,
    make_plan,
    parse_allow,
)

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket", [1])
NONE = Session("", 0, "", 0, "none", [1])


def sock(remote: str, remote_port: int, local_port: int = 50000, protocol: str = "tcp") -> Socket:
    return Socket(protocol, 6 if ":" in remote else 4, "10.0.0.2", local_port, remote, remote_port, "ESTABLISHED", 0, 1)


@pytest.mark.parametrize("entry", ["10.0.0.5 514/udp", "2001:db8::/64 9100/tcp in", "10.0.0.5 icmp", "10.0.0.0/24 icmp in"])
def test_text_form_survives_parsing(entry):
    assert [one.text() for one in parse_allow([entry])] == [entry]


@pytest.mark.parametrize("entry", [
    "", "10.0.0.5", "siem.example.com 514/udp", "10.0.0.5/24 514/udp", "0.0.0.0/0 514/udp", "::/0 514/tcp", "10.0.0.5 0/udp",
    "10.0.0.5 65536/udp", "10.0.0.5 -1/udp", "10.0.0.5 514/sctp", "10.0.0.5 514", "10.0.0.5 514/udp out in", "224.0.0.1 5353/udp",
    "::ffff:10.0.0.1 22/tcp", "10.0.0.5 514/udp; accept", "10.0.0.5 \u0665\u0661\u0664/udp", "fe80::1%eth0 22/tcp", "10.0.0.5 514/udp\nflush ruleset",
])
def test_malformed_entries_are_refused_naming_option_and_value(entry):
    with pytest.raises(PolicyError) as caught:
        parse_allow([entry])
    assert str(caught.value).startswith("allow: " + repr(entry))


def test_live_peer_is_the_management_path_unless_a_list_replaces_it():
    assert make_plan(SSH, [], [], ["10.9.0.0/16"], "ssh").as_dict()["management"] == ["10.0.0.1/32", "10.9.0.0/16"]
    assert make_plan(SSH, [], ["10.7.0.1"], [], "ssh").as_dict()["management"] == ["10.7.0.1/32"]


def test_ssh_without_a_session_is_refused_but_local_is_not():
    with pytest.raises(HostError):
        make_plan(NONE, [], [], [], "ssh")
    assert make_plan(NONE, [], [], [], "local").ports == []


def test_plan_allows_what_its_entries_say_and_nothing_beside():
    plan = make_plan(SSH, ["10.0.0.5 443/tcp", "10.0.0.6 9100/tcp in", "10.0.0.7 514/udp"], [], [], "ssh")
    assert plan.allows(sock("10.0.0.5", 443))
    assert plan.allows(sock("10.0.0.6", 33333, 9100))
    assert plan.allows(sock("10.0.0.7", 514, protocol="udp"))
    assert plan.allows(sock("10.0.0.1", 40000, 22))
    assert plan.allows(sock("127.0.0.1", 4444))
    for other in (sock("10.0.0.5", 444), sock("10.0.0.6", 9100), sock("10.0.0.7", 514), sock("10.0.0.1", 22), sock("2001:db8::1", 443)):
        assert not plan.allows(other)


def test_plan_survives_the_work_folder():
    plan = make_plan(SSH, ["2001:db8::/64 9100/tcp in"], [], ["10.9.0.0/16"], "ssh")
    assert from_dict(plan.as_dict(), SSH).as_dict() == plan.as_dict()
    with pytest.raises(HostError):
        from_dict({"management": "all"}, SSH)
