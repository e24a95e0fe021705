# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which interfaces go down and which stay up, and the messages that give them back, without a kernel."""

from __future__ import annotations

import ipaddress
import os
import struct
import subprocess

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._host import _netback
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _hold, _interfaces, _undo
from ansible_collections.firebreak.response.plugins.module_utils._isolation._control import Isolation
from ansible_collections.firebreak.response.plugins.module_utils._isolation._interfaces import Interfaces, back, built_on, carriers, kept, samples
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan
from ansible_collections.firebreak.response.plugins.module_utils._isolation._release import Release

SSH = Session("10.0.0.9", 40000, "10.0.0.2", 22, "sshd-socket", [1])
NONE = Session("", 0, "", 0, "none", [1])


def link(index: int, name: str, flags: int = 0x1003, **more: object) -> dict[str, object]:
    return {"index": index, "name": name, "flags": flags, **more}


LINKS = {one["index"]: one for one in (
    link(1, "lo", 0x49), link(2, "eth0"), link(3, "eth1"), link(4, "eth2", 0x1002), link(5, "bond0", kind="bond"), link(6, "eth5", master=5),
    link(7, "eth6", master=5), link(8, "bond0.7", kind="vlan", link=5), link(9, "br0", kind="bridge"), link(10, "veth0", kind="veth", link=11),
    link(11, "veth1", kind="veth", link=10, master=9), link(12, "pod", kind="veth", link=2), link(13, "red", kind="vrf"), link(14, "eth7", master=13),
    link(15, "eth8", master=9))}


@pytest.mark.parametrize(("start", "under"), [
    (2, []), (8, [5, 6, 7]), (9, [11, 15, 10]), (10, [11, 9, 15]), (14, [13]), (99, []),
    (12, []),  # the other end is in another namespace, where it has a number that somebody has here too
])
def test_what_an_interface_is_built_on(start, under):
    assert sorted(built_on(LINKS, start)) == sorted(under)


def test_interfaces_that_lie_on_each_other_have_an_end():
    ring = {1: link(1, "a", link=2, kind="vlan"), 2: link(2, "b", link=1, kind="vlan")}
    assert built_on(ring, 1) == [2]


def address(text: str, index: int) -> dict[str, object]:
    return {"address": text, "index": index}


ADDRESSES = [address("10.0.0.2", 2), address("10.1.0.2", 3), address("fe80::2", 2)]


def ways(table: dict[str, int]):
    """The longest of these prefixes decides."""
    def find(target: str, _source: str) -> list[int]:
        networks = [(ipaddress.ip_network(prefix), index) for prefix, index in table.items()]
        found = [(network.prefixlen, index) for network, index in networks if ipaddress.ip_address(target) in network]
        return [max(found)[1]] if found else []
    return find


def test_the_session_is_carried_by_the_interface_that_has_its_address_and_leads_to_its_peer():
    assert carriers(SSH, LINKS, ADDRESSES, ways({"0.0.0.0/0": 2})) == [2]
    assert carriers(SSH, LINKS, ADDRESSES, lambda *_asked: [3, 2]) == [2, 3], "with two next hops both"
    on_link = Session("fe80::9", 40000, "fe80::2", 22, "sshd-socket", [1])
    assert carriers(on_link, LINKS, ADDRESSES, lambda *_asked: []) == [2]


@pytest.mark.parametrize(("session", "answer", "addresses"), [
    (SSH, [3], ADDRESSES), (SSH, [], ADDRESSES), (SSH, [1], [address("10.0.0.2", 1)]), (SSH, [2], []),
    (Session("fe80::9", 40000, "fe80::2", 22, "sshd-socket", [1]), [], [address("fe80::2", 2), address("fe80::2", 3)]),
])
def test_where_routes_say_otherwise_the_host_is_refused(session, answer, addresses):
    with pytest.raises(HostError, match="^interfaces_down: .*nothing was changed"):
        carriers(session, LINKS, addresses, lambda *_asked: answer)


def test_without_a_session_or_without_ip_the_host_is_refused(tmp_path):
    with pytest.raises(HostError, match="^interfaces_down: no SSH session.*nothing was changed"):
        Interfaces(None).choose(make_plan(NONE, [], [], [], "local"), NONE, False)
    with pytest.raises(HostError, match="^interfaces_down: the host has no ip.*nothing was changed"):
        Interfaces(None, str(tmp_path)).choose(make_plan(SSH, [], [], [], "ssh"), SSH, False)


def test_every_interface_over_which_somebody_who_is_allowed_is_reached_stays_up():
    plan = make_plan(SSH, ["10.5.0.0/16 514/udp"], [], ["172.16.0.0/12"], "ssh")
    routes = [{"type": 1, "destination": "10.5.7.0", "destination_prefix": 24, "out": 3},
              {"type": 3, "destination": "10.5.8.255", "destination_prefix": 32, "out": 9}]
    table = {"10.0.0.0/24": 2, "0.0.0.0/0": 2, "10.5.7.0/24": 8, "172.20.0.0/16": 14}
    assert kept(plan, SSH, LINKS, ADDRESSES, routes, ways(table)) == {
        2: "carries the management session", 8: "leads to 10.5.0.0/16", 5: "is under bond0.7", 6: "is under bond0.7", 7: "is under bond0.7"}
    routes.append({"type": 1, "destination": "172.20.0.0", "destination_prefix": 16, "out": 14})
    assert kept(plan, SSH, LINKS, ADDRESSES, routes, ways(table))[14] == "leads to 172.16.0.0/12"


def test_management_is_also_asked_for_from_the_address_that_the_session_came_in_at():
    asked = []
    plan = make_plan(SSH, ["192.0.2.5 514/udp"], [], [], "ssh")
    kept(plan, SSH, LINKS, ADDRESSES, [], lambda target, source: asked.append((target, source)) or [2])
    assert ("10.0.0.9", "10.0.0.2") in asked and ("192.0.2.5", "") in asked and ("192.0.2.5", "10.0.0.2") not in asked


def test_samples_stand_for_every_part_of_a_network():
    network = ipaddress.ip_network("10.5.0.0/16")
    inner = [(4, int(ipaddress.ip_address("10.5.0.0")), int(ipaddress.ip_address("10.5.127.255"))), (6, 0, 5), (4, 0, 2**32 - 1)]
    found = samples(network, inner)
    assert found == ["10.5.0.0", "10.5.0.1", "10.5.128.0", "10.5.128.1"]
    assert samples(ipaddress.ip_network("10.5.0.9/32"), inner) == ["10.5.0.9"]
    assert samples(ipaddress.ip_network("255.255.255.255/32"), []) == ["255.255.255.255"]


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


U = struct.Struct("=I").pack


def route(family: int = 2, table: int = 254, protocol: int = 3, flags: int = 0, more: bytes = b"") -> bytes:
    return struct.pack("=BBBBBBBBI", family, 24, 0, 0, table, protocol, 0, 1, flags) + more


def test_a_route_keeps_every_attribute_and_none_of_what_only_tells_how_it_stands():
    metrics, unknown = attribute(8, attribute(2, U(1300))), attribute(77, b"later")
    hops = b"".join(struct.pack("=HBBI", 16, 0x15, weight, index) + attribute(5, bytes([10, 0, 0, weight])) for weight, index in ((1, 3), (4, 2)))
    message = _netback.route(route(flags=0x15, more=metrics + attribute(9, hops) + unknown), {3: "eth1"}, {2: "eth0", 3: "eth1"})
    body = bytes.fromhex(message["body"])
    assert struct.unpack_from("=I", body, 8)[0] == 4, "of the flags only onlink"
    assert metrics in body and unknown in body and message["of"] == ["eth0", "eth1"]
    assert [(struct.unpack_from("=I", body, offset)[0], name) for offset, name in message["at"]] == [(3, "eth1"), (2, "eth0")]
    assert [body[offset - 2] for offset, _name in message["at"]] == [4, 4]


@pytest.mark.parametrize("body", [
    route(more=attribute(4, U(2))), route(table=255, protocol=2, more=attribute(4, U(3))), route(10, protocol=9, more=attribute(4, U(3))),
    route(family=28, more=attribute(4, U(3))), route(more=b"\xff" * 9), route(more=attribute(9, b"\1\0\0\0" * 3))])
def test_a_route_that_is_not_lost_or_comes_by_itself_is_not_recorded(body):
    assert _netback.route(body, {3: "eth1"}) is None


def test_a_route_by_an_object_leaves_the_next_hop_to_the_object():
    more = attribute(30, U(501)) + attribute(5, bytes(4)) + attribute(4, U(3))
    message = _netback.route(route(more=more), {3: "eth1"})
    assert bytes.fromhex(message["body"])[12:] == attribute(30, U(501)) and message["at"] == []


def test_a_lifetime_goes_on_meanwhile_and_ends(monkeypatch):
    found = _netback.route(route(10, more=attribute(4, U(3)) + attribute(12, struct.pack("=IIiI", 0, 0, 3000, 0) + bytes(16))), {3: "lo"})
    (offset,) = found["ages"]
    assert struct.unpack_from("=I", bytes.fromhex(found["body"]), offset)[0] == 30
    body = struct.pack("=BBBBI", 10, 64, 0, 0, 3) + attribute(1, bytes(16)) + attribute(6, struct.pack("=IIII", 20, 40, 1, 1))
    message = _netback.address(body, {3: "lo"})
    monkeypatch.setattr(_undo.time, "time", lambda: message["seconds"] + 30)
    filled = _undo._filled(message)
    assert struct.unpack_from("=II", filled, message["ages"][0]) == (0, 10)
    assert struct.unpack_from("=I", filled, 4)[0] == 1, "the number that the interface has now"
    monkeypatch.setattr(_undo.time, "time", lambda: message["seconds"] + 41)
    assert _undo._filled(message) is None


def test_only_addresses_and_neighbours_that_somebody_gave_are_recorded():
    names = {3: "eth1"}

    def of(family: int, flags: int, index: int = 3) -> bytes:
        return struct.pack("=BBBBI", family, 24, 0, 0, index) + attribute(8, U(flags))

    assert _netback.address(of(2, 0x81), names) and _netback.address(of(10, 0x80), names)
    assert not _netback.address(of(10, 0x81), names) and not _netback.address(of(2, 0x80, 4), names)

    def who(state: int, flags: int, family: int = 2, index: int = 3) -> bytes:
        return struct.pack("=BxxxIHBB", family, index, state, flags, 1) + attribute(1, bytes(4)) + attribute(3, bytes(16))

    message = _netback.neighbour(who(0x80, 0), names)
    assert message["at"] == [[4, "eth1"]] and bytes.fromhex(message["body"])[12:] == attribute(1, bytes(4))
    assert _netback.neighbour(who(0, 8), names)
    assert not _netback.neighbour(who(2, 0), names) and not _netback.neighbour(who(0x80, 0, 7), names) and not _netback.neighbour(who(0x80, 0, index=4), names)


def test_rules_are_recorded_that_speak_of_the_interface_or_its_tables():
    def of(more: bytes, table: int = 254) -> bytes:
        return struct.pack("=BBBBBBBBI", 2, 0, 0, 0, table, 0, 0, 1, 0x1A) + more

    named = _netback.rule(of(attribute(3, b"eth1\0")), {"eth1"}, set())
    assert named and struct.unpack_from("=I", bytes.fromhex(named["body"]), 8)[0] == 2
    assert _netback.rule(of(attribute(15, U(880))), {"eth1"}, {880}) and _netback.rule(of(b"", 88), {"eth1"}, {88})
    assert not _netback.rule(of(attribute(3, b"eth0\0")), {"eth1"}, {88})


@pytest.mark.parametrize("record", [
    None, "x", [], {}, {"names": 5, "up": "x", "kept": {}, "messages": "x"},
    {"kept": ["x", {}], "messages": [5, {}, {"body": "zz", "of": []}, {"body": "00" * 9, "of": 5}]}])
def test_a_record_that_somebody_has_damaged_is_read_as_far_as_it_goes(record):
    found = _interfaces.whole(record)
    assert (found["names"], found["up"], found["messages"]) == ([], [], [])
    assert back(record, None) == back(None, record) == []
    damaged = Interfaces(record)
    damaged.give_up()
    assert damaged.predicted()["down"] == [] and _interfaces.give_back(found) == ([], [])


def message(name: str) -> dict[str, object]:
    return _netback.switched(name, True)


def test_the_way_back_leads_to_the_isolation_before_whichever_had_more_interfaces():
    one, two = {"up": ["a"], "messages": [message("a")]}, {"up": ["a", "b"], "messages": [message("a"), message("b")]}
    assert back(None, None) == back(one, one) == []
    assert back(two, one) == [{"netlink": [message("b")]}]
    assert back(one, None) == [{"netlink": [message("a")]}]
    assert back(one, two) == [{"netlink": [_netback.switched("b", False)]}]
    assert back(None, one) == [{"netlink": [_netback.switched("a", False)]}]


def test_what_either_of_two_took_down_comes_back():
    one = {"up": ["a"], "names": ["a", "x"], "messages": [message("a")], "kept": [{"device": "b", "why": "leads"}]}
    two = {"up": ["a", "b"], "names": ["b"], "messages": [message("a"), message("b")], "kept": []}
    assert _interfaces.together(None, one) == one
    assert _interfaces.together(two, one) == {"up": ["a", "b"], "names": ["a", "b", "x"], "messages": [message("a"), message("b")], "kept": []}


@pytest.mark.parametrize("lowered", [True, False])
def test_a_run_that_died_before_it_lifted_interfaces_forgets_none_by_the_confirmation(tmp_path, monkeypatch, lowered):
    work = Workdir("X", str(tmp_path))
    work.make()
    isolation = Isolation(work, None)
    record = {"up": ["a"], "names": ["a"], "messages": [message("a")], "kept": []}
    isolation.state = {"token": "t", "others": {}, "interfaces": None, "previous": {"interfaces": record}, **({"lowered": True} if lowered else {})}
    monkeypatch.setattr(isolation, "_take_engine", lambda: None)
    work.write("armed-t", b"")
    assert isolation.confirm(SSH._replace(peer_port=SSH.peer_port + 1))["confirmed"] is True
    assert isolation.state["interfaces"] == (None if lowered else record)


def test_an_interface_that_is_gone_is_told_and_damage_is_no_crash():
    assert _undo.replay([message("no-such-device")]) == (0, ["no-such-device"])
    assert _undo.replay(None) == _undo.replay(["x"]) == (0, [])
    good = message("lo")
    for damaged in ({"type": 1}, {**good, "body": "xx"}, {**good, "body": "00"}, {**good, "type": "x"}, {**good, "type": 2**40}, {**good, "at": [5]}):
        assert _undo.perform([{"netlink": [damaged]}]) == 1, damaged
    assert _interfaces.give_back({"messages": [{"body": "xx"}]})[0] and _interfaces.give_back({"messages": []}) == ([], [])


class Asked:
    """Interfaces that note what is asked of them."""

    record = {"up": ["no-such-device"], "names": ["no-such-device"], "messages": [], "kept": []}

    def __init__(self, then) -> None:
        self.then = then
        self.applied = 0

    def apply(self) -> None:
        self.applied += 1
        self.then()


def test_nothing_is_taken_down_once_the_way_back_has_fired(tmp_path, monkeypatch):
    work = Workdir("X", str(tmp_path))
    work.make()
    isolation = Isolation(work, make_plan(SSH, [], [], [], "ssh"))
    isolation.state = {"token": "t", "previous": None}
    undone = []
    monkeypatch.setattr(isolation, "_perform", undone.append)
    for loaded, armed, applied in ((False, True, 0), (True, False, 0), (True, True, 1)):
        isolation.interfaces = Asked(lambda: None)
        isolation._loaded = loaded
        if armed:
            work.write("armed-t", b"")
        isolation.lower()
        assert (isolation.interfaces.applied, undone) == (applied, [])
        if armed:
            os.unlink(work.file("armed-t"))
    work.write("armed-t", b"")
    isolation.interfaces = Asked(lambda: os.rename(work.file("armed-t"), work.file("undone-t")))
    isolation.lower()
    assert undone == [[{"netlink": []}]], "what was taken down behind its back comes up again"


def test_a_confirmation_that_meets_the_way_back_at_work_is_told_that_it_came_too_late(tmp_path, monkeypatch):
    work = Workdir("X", str(tmp_path))
    work.make()
    isolation = Isolation(work, make_plan(SSH, [], [], [], "ssh"))
    isolation.state = {"token": "t", "session": {}}
    monkeypatch.setattr(isolation, "_take_engine", lambda: None)
    monkeypatch.setattr(isolation, "_in_force", lambda: False)
    monkeypatch.setattr(isolation, "_admits", lambda _session: False)
    fresh = Session("10.0.0.9", 40001, "10.0.0.2", 22, "sshd-socket", [1])
    assert isolation.confirm(fresh)["rolled_back"] is False
    work.write("undone-t", b"")
    assert isolation.confirm(fresh) == {"confirmed": False, "rolled_back": True, "how": "the rollback fired first"}


def test_a_release_goes_by_what_is_in_force_again_once_a_change_was_taken_back(tmp_path, monkeypatch):
    isolation = Release(Workdir("X", str(tmp_path)), None, root=str(tmp_path))
    monkeypatch.setattr(isolation, "_take_engine", lambda: None)
    isolation.before = "table inet firebreak"
    before = {"confirmed": True, "interfaces": {"names": ["eth1"], "up": ["eth1"], "messages": [], "kept": []}}
    changed = {"rolled_back_at": "then", "interfaces": None, "previous": before}
    for state, expected in ((changed, before), ({**changed, "previous": None}, None), ({**changed, "ended_at": "later"}, None), (before, before)):
        isolation.state, isolation.interfaces = state, None
        isolation.look_for_release()
        assert isolation.state is (expected or state)
        isolation.choose_interfaces(False)
        assert (isolation.interfaces.difference() if isolation.interfaces else None) == (
            ("interface eth1 down\n", "interface eth1 up\n") if expected else None)


def test_nothing_to_take_down_is_no_change_the_second_time():
    nothing = Interfaces({"names": [], "up": [], "messages": [], "kept": []})
    nothing.record = dict(nothing.old)
    assert nothing.changes is False
    nothing.record = None
    assert nothing.changes is True, "the record goes, and with it what the unit keeps down"
    assert Interfaces(None).changes is False


def test_the_unit_keeps_down_what_the_file_names_and_says_so_once(tmp_path):
    plain = _hold.scripts("A", str(tmp_path), [], "/usr/sbin/nft", True, False, True)[1]
    holding = _hold.keeping_down(plain, str(tmp_path / "ip"))
    assert holding != plain and holding.count("    lower\n") == 1
    (tmp_path / "ip").write_text('#!/bin/sh\necho "$@" >>calls\n', encoding="ascii")
    (tmp_path / "ip").chmod(0o755)
    (tmp_path / "down").write_text("lo\nno-such-device\n-x\n", encoding="ascii")
    functions = holding.partition("\nhold() {")[0].replace("exec 3>&2 2>/dev/null", "exec 3>said")
    subprocess.run(["sh", "-c", functions + "\nlower; lower"], cwd=tmp_path, check=True, timeout=20)
    assert (tmp_path / "calls").read_text(encoding="ascii") == "link set dev lo down\n" * 2
    assert (tmp_path / "said").read_text(encoding="ascii").count("taken down again") == 1
    subprocess.run(["sh", "-n", "-c", holding], check=True, timeout=20)
    assert not [line for line in holding.splitlines() if line.startswith(("#", ";"))], "a unit would take it for a comment"
