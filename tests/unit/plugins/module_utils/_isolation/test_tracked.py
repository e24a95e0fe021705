# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which tracked connections belong to what is cut."""

from __future__ import annotations

import errno

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host import _sock_there
from ansible_collections.firebreak.response.plugins.module_utils._host._conntrack import Entry
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _tracked
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import EGRESS, make_plan
from ansible_collections.firebreak.response.plugins.module_utils._isolation._tracked import FORWARDED, LOCAL, cut

OWN = {"10.66.0.113", "127.0.0.1", "172.19.0.1", "fd66::113"}
PLAN = make_plan(
    Session("10.66.0.10", 50000, "10.66.0.113", 22, "sshd-socket", []),
    ["10.66.0.20 514/udp", "10.66.0.20 9100/tcp in", "10.66.0.20 icmp in", "fd66::20 514/tcp"], [], ["10.66.9.0/24"], "ssh")


def entry(protocol: int, first: tuple[str, int, str, int], reply: tuple[str, int, str, int] | None = None) -> Entry:
    """One of these ends, without rewriting where no reply is given."""
    return Entry(6 if ":" in first[0] else 4, protocol, *first, *(reply or (first[2], first[3], first[0], first[1])), False, b"\x02key")


@pytest.mark.parametrize("kept", [
    entry(6, ("127.0.0.1", 40000, "127.0.0.53", 53)),
    entry(17, ("10.66.0.113", 40000, "10.66.0.113", 53)),
    entry(6, ("::1", 40000, "::1", 25)),
    entry(6, ("10.66.0.10", 50000, "10.66.0.113", 22)),  # the session, and another responder
    entry(6, ("10.66.9.4", 40000, "10.66.0.113", 22)),
    entry(6, ("10.66.0.10", 50000, "10.66.0.113", 2222), ("10.66.0.113", 22, "10.66.0.10", 50000)),  # by way of a rewritten port
    entry(17, ("10.66.0.113", 40000, "10.66.0.20", 514)),
    entry(6, ("10.66.0.20", 40000, "10.66.0.113", 9100)),
    entry(1, ("10.66.0.20", 0, "10.66.0.113", 0)),
    entry(6, ("fd66::113", 40000, "fd66::20", 514)),
], ids=str)
def test_what_may_pass_keeps_its_entry(kept):
    assert cut(PLAN, kept, OWN) == ""


@pytest.mark.parametrize("gone", [
    entry(6, ("10.66.0.113", 40000, "203.0.113.66", 4444)),
    entry(17, ("10.66.0.113", 40000, "203.0.113.66", 514)),
    entry(6, ("203.0.113.66", 40000, "10.66.0.113", 22)),
    entry(6, ("fd66::113", 40000, "2001:db8:66::66", 4444)),
    entry(6, ("10.66.0.113", 40000, "10.66.0.20", 514)),  # another protocol than the one that is allowed
    entry(47, ("10.66.0.113", 0, "10.66.0.20", 0)),
    entry(17, ("10.66.0.113", 40000, "10.66.0.20", 514), ("203.0.113.66", 53, "10.66.0.113", 40000)),  # steered elsewhere on the way
    entry(6, ("172.19.0.2", 40000, "172.19.0.1", 22)),  # a container with its own host
    entry(17, ("10.66.0.113", 5353, "224.0.0.251", 5353)),
    entry(17, ("10.66.0.30", 5353, "224.0.0.251", 5353)),
    entry(17, ("10.66.0.113", 68, "10.66.0.1", 67)),  # nothing here is leased
], ids=str)
def test_what_is_cut_loses_its_entry(gone):
    assert cut(PLAN, gone, OWN) == LOCAL


@pytest.mark.parametrize("through", [
    entry(6, ("172.19.0.2", 40000, "203.0.113.66", 4444), ("203.0.113.66", 4444, "10.66.0.113", 40000)),
    entry(6, ("10.66.0.30", 40000, "10.66.0.113", 8080), ("172.19.0.2", 80, "10.66.0.30", 40000)),
    entry(6, ("172.19.0.2", 40000, "10.66.0.20", 9100), ("10.66.0.20", 9100, "10.66.0.113", 40000)),  # whom the host may reach, containers may not
    entry(6, ("10.66.0.10", 40000, "10.66.0.113", 8022), ("172.19.0.2", 22, "10.66.0.10", 40000)),
], ids=str)
def test_what_only_passes_through_the_host_loses_its_entry(through):
    assert cut(PLAN, through, OWN) == FORWARDED


def test_a_leased_address_can_be_renewed():
    import ipaddress

    leased = make_plan(PLAN.session, [], [], [], "ssh", EGRESS, [ipaddress.ip_network("10.66.0.0/24")])
    assert cut(leased, entry(17, ("10.66.0.113", 68, "10.66.0.1", 67)), OWN) == ""
    assert cut(leased, entry(17, ("10.66.0.113", 68, "203.0.113.66", 53)), OWN) == LOCAL


HERE = entry(6, ("10.66.0.113", 40000, "203.0.113.66", 4444))
CONTAINER = entry(6, ("172.19.0.2", 40000, "203.0.113.66", 4444), ("203.0.113.66", 4444, "10.66.0.113", 40000))
PUBLISHED = entry(6, ("10.66.0.30", 40000, "10.66.0.113", 8080), ("172.19.0.2", 80, "10.66.0.30", 40000))
ELSEWHERE = entry(6, ("192.0.2.7", 40000, "203.0.113.66", 4444))
ENDED = ELSEWHERE._replace(source_port=40001, over=True)
PING = entry(1, ("172.19.0.2", 0, "203.0.113.66", 0))


@pytest.fixture
def table(monkeypatch):
    """The kernel's table as a list, and what was deleted of it."""
    entries, deleted = [], []

    def delete(some, _seconds):
        deleted.extend(some)
        return len(some), 0

    monkeypatch.setattr(_tracked, "read", lambda most, _seconds: (entries[:most], len(entries) <= most))
    monkeypatch.setattr(_tracked, "delete", delete)
    monkeypatch.setattr(_tracked, "own_addresses", lambda _root: OWN)
    monkeypatch.setattr(_tracked, "tracked", lambda _root: len(entries))
    # What a container at 172.19.0.2 has; either end of a connection as it sees it.
    monkeypatch.setattr(_sock_there, "end", lambda wanted, _seconds: [one for one in wanted if one[1] == "172.19.0.2"])
    return entries, deleted


def test_what_is_cut_goes_and_what_ends_elsewhere_is_told(table):
    entries, deleted = table
    kept = entry(17, ("10.66.0.113", 40000, "10.66.0.20", 514))
    entries += [kept, HERE, CONTAINER, PUBLISHED, ELSEWHERE, ENDED, PING]
    told = _tracked.end(PLAN)
    assert deleted == [HERE, CONTAINER, PUBLISHED, ELSEWHERE, ENDED, PING]
    assert told.pop("forwarded")[:2] == ["tcp 172.19.0.2:40000 > 203.0.113.66:4444", "tcp 10.66.0.30:40000 > 172.19.0.2:80"]
    assert told == {"deleted": 6, "ended": 2, "not_ended": 1, "left": 0, "not_looked_at": 0}


def test_a_full_table_is_looked_at_in_part_and_that_is_told(table, monkeypatch):
    entries, deleted = table
    monkeypatch.setattr(_tracked, "_MOST", 2)
    entries += [HERE, CONTAINER, ELSEWHERE, PING]
    assert _tracked.end(PLAN)["not_looked_at"] == 2 and deleted == [HERE, CONTAINER]


@pytest.mark.parametrize("name", ["read", "delete"])
def test_a_kernel_that_refuses_is_no_failure_of_the_isolation(table, monkeypatch, name):
    def refuse(*_arguments):
        raise OSError(errno.EOPNOTSUPP, "no ctnetlink")

    table[0].extend([HERE, CONTAINER])
    monkeypatch.setattr(_tracked, name, refuse)
    told = _tracked.end(PLAN)
    assert (told["deleted"], told["left"] or told["not_looked_at"]) == (0, 2)
    monkeypatch.setattr(_sock_there, "end", refuse)
    assert _tracked.end(PLAN)["ended"] == 0
