# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Isolation against the real kernel: two network namespaces and a cable between them. Needs root, touches nothing else.

This file is also the program that runs inside the "host" namespace: `test_isolation_kernel.py ACTION JSON`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

TREE = next(str(parent.parent) for parent in pathlib.Path(__file__).resolve().parents if parent.name == "ansible_collections")
HOST = {4: "10.99.0.2", 6: "fd99::2"}
PEERS = {4: ("10.99.0.1", "10.99.0.3"), 6: ("fd99::1", "fd99::3")}  # allowed, forbidden
BACKENDS = ("nftables", "iptables")


class Namespaces:
    """`host` and `peer`, each held by a sleeping process, with a veth pair between."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.held = [subprocess.Popen(["unshare", "-n", "sleep", "300"]) for _name in range(2)]
        self.host, self.peer = (process.pid for process in self.held)
        self.folder = folder
        own = os.readlink("/proc/self/ns/net")
        for pid in (self.host, self.peer):
            until(lambda pid=pid: os.readlink("/proc/{0}/ns/net".format(pid)) != own and comm(pid) == "sleep")
        self.run(self.host, "ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", str(self.peer))
        for pid, device, four, six in ((self.host, "veth0", [HOST[4]], [HOST[6]]), (self.peer, "veth1", PEERS[4], PEERS[6])):
            for name in ("lo", device):
                self.run(pid, "ip", "link", "set", name, "up")
            for address in four:
                self.run(pid, "ip", "addr", "add", address + "/24", "dev", device)
            for address in six:
                self.run(pid, "ip", "-6", "addr", "add", address + "/64", "dev", device, "nodad")
        root = folder / "root"
        root.mkdir()
        for name in ("usr", "sbin", "bin", "proc"):  # no /run/systemd: the rollback must not be the machine's own
            (root / name).symlink_to("/" + name)

    def run(self, pid: int, *argv: str) -> str:
        return subprocess.run(["nsenter", "-t", str(pid), "-n", *argv], check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self, pid: int, code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["nsenter", "-t", str(pid), "-n", sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        self.held.append(process)
        return process

    def act(self, action: str, **values: object) -> dict[str, object]:
        """Run an action of this file in the host namespace."""
        values.update(folder=str(self.folder))
        answer: dict[str, object] = json.loads(self.run(self.host, sys.executable, __file__, action, json.dumps(values)))
        return answer

    def ruleset(self) -> str:
        return self.run(self.host, "nft", "-s", "list", "ruleset")

    def close(self) -> None:
        for path in self.folder.glob("work/*/state.json"):
            handle = json.loads(path.read_text(encoding="ascii")).get("isolation", {}).get("handle")
            try:
                # The start time is the twentieth field after the name: nobody else's process is ended.
                if handle and int(pathlib.Path("/proc/{0}/stat".format(handle[0])).read_text().rpartition(")")[2].split()[19]) == handle[1]:
                    os.kill(handle[0], 15)
            except OSError:
                continue
        for process in self.held:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    # What a killed client was never sent is lost: closing must not try to send it.
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def comm(pid: int) -> str:
    return pathlib.Path("/proc/{0}/comm".format(pid)).read_text(encoding="ascii").strip()


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not within {0} s".format(seconds)
        time.sleep(0.02)


@pytest.fixture
def net(tmp_path):
    if os.geteuid() != 0:
        pytest.fail("needs root for network namespaces")
    namespaces = Namespaces(tmp_path)
    yield namespaces
    namespaces.close()


SERVER = """
import socket, sys, threading
def serve(family, address, port):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((address, port)); s.listen()
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        c.sendall(b"hello"); print("accepted", flush=True)
        def pump(c=c):
            while True:
                try:
                    data = c.recv(99)
                except OSError as error:
                    print("error", error.errno, flush=True); return
                print("got", data.decode(), flush=True)
                if not data: return
        threading.Thread(target=pump, daemon=True).start()
serve(socket.%s, "%s", %d)
"""
CLIENT = """
import socket, sys
s = socket.create_connection(("%s", %d)); s.recv(99); print("connected", flush=True)
for line in sys.stdin:
    try:
        s.sendall(line.encode()); print("sent", flush=True)
    except OSError as error:
        print("error", error.errno, flush=True)
"""


def server(net, address: str, port: int):
    process = net.start(net.peer, SERVER % ("AF_INET6" if ":" in address else "AF_INET", address, port))
    assert process.stdout.readline() == "ready\n"
    return process


def stop(*processes) -> None:
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", (4, 6))
def test_a_forbidden_flow_is_cut_and_stays_dead_after_release_while_an_allowed_one_lives(net, backend, family):
    allowed, forbidden = PEERS[family]
    before = net.ruleset()
    good, bad = server(net, allowed, 4000), server(net, forbidden, 4000)
    friend, implant = net.start(net.host, CLIENT % (allowed, 4000)), net.start(net.host, CLIENT % (forbidden, 4000))
    try:
        for end in (friend, implant):
            assert end.stdout.readline() == "connected\n"
        for end in (good, bad):
            assert end.stdout.readline() == "accepted\n"
        applied = net.act("apply", backend=backend, allow=["{0} 4000/tcp".format(allowed)])
        assert applied["changed"] and applied["proof"]["ruleset"] and applied["proof"]["ruleset_against"] == "private network"
        assert applied["proof"]["probe"]["holds"] and applied["proof"]["flows_remaining"] == 0
        assert [flow[4] for flow in applied["flows"]] == [forbidden]
        assert applied["destroyed"]["destroyed"] == 1
        implant.stdin.write("stolen\n")
        implant.stdin.flush()
        assert implant.stdout.readline().startswith("error")
        friend.stdin.write("metrics\n")
        friend.stdin.flush()
        assert good.stdout.readline() == "got metrics\n"
        again = net.act("apply", backend=backend, allow=["{0} 4000/tcp".format(allowed)])
        assert not again["changed"]
        released = net.act("release", backend=backend)
        assert released["changed"]
        assert net.ruleset() == before
        assert not net.act("release", backend=backend)["changed"]
        assert os.listdir(net.folder / "work" / "one") == ["state.json"]
        time.sleep(1.5)  # longer than the first retransmissions
        bad.stdin.close()
        bad.kill()
        assert bad.stdout.read() == ""
    finally:
        stop(good, bad, friend, implant)


@pytest.mark.parametrize("backend", BACKENDS)
def test_new_connections_fail_at_once_both_ways_and_loopback_lives(net, backend):
    listening = server(net, PEERS[4][1], 4001)
    try:
        net.act("apply", backend=backend, allow=[])
        for family in (4, 6):
            for address in PEERS[family]:
                outcome = net.act("connect", address=address, port=4001)
                assert outcome["error"] and outcome["seconds"] < 1
        assert net.act("loopback")["echo"] == "echo"
    finally:
        stop(listening)


@pytest.mark.parametrize("backend", BACKENDS)
def test_destination_nat_of_the_attacker_cannot_steer_an_allowed_flow_elsewhere(net, backend):
    listening = server(net, PEERS[4][1], 4000)
    net.run(net.host, "nft", "add table ip evil; add chain ip evil out { type nat hook output priority -100; };"
            "add rule ip evil out tcp dport 4000 dnat to " + PEERS[4][1] + ":4000")
    try:
        assert not net.act("connect", address=PEERS[4][0], port=4000)["error"]
        net.act("apply", backend=backend, allow=["{0} 4000/tcp".format(PEERS[4][0])])
        assert net.act("connect", address=PEERS[4][0], port=4000)["error"]
        assert net.act("connect", address="127.0.0.1", port=4000)["error"]
    finally:
        stop(listening)


@pytest.mark.parametrize("backend", BACKENDS)
def test_source_port_of_the_management_path_opens_nothing(net, backend):
    listening = server(net, PEERS[4][0], 4000)
    try:
        net.act("apply", backend=backend, allow=[], management=[PEERS[4][0]])
        assert net.act("connect", address=PEERS[4][0], port=4000, source_port=22)["error"]
    finally:
        stop(listening)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unconfirmed_isolation_is_taken_back_and_the_finish_run_says_so(net, backend):
    before = net.ruleset()
    net.act("apply", backend=backend, allow=[], seconds=1)
    assert net.ruleset() != before
    until(lambda: net.ruleset() == before)
    until(lambda: net.act("state").get("rolled_back_at"))
    assert net.act("confirm", backend=backend)["rolled_back"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_confirmed_isolation_stays_and_a_worse_one_rolls_back_to_it(net, backend):
    net.act("apply", backend=backend, allow=["{0} 4000/tcp".format(PEERS[4][0])], seconds=2)
    assert net.act("confirm", backend=backend)["confirmed"]
    kept = net.ruleset()
    time.sleep(2.5)
    assert net.ruleset() == kept
    net.act("apply", backend=backend, allow=[], seconds=1)
    assert net.ruleset() != kept
    until(lambda: net.ruleset() == kept)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_dies_before_the_cut_has_changed_nothing(net, backend):
    before = net.ruleset()
    assert net.act("apply", backend=backend, allow=[], die=True)["changed"]
    time.sleep(0.5)
    assert net.ruleset() == before
    assert net.act("apply", backend=backend, allow=[])["proof"]["ruleset"]


def test_a_second_case_is_refused_by_name(net):
    net.act("apply", backend="nftables", allow=[])
    assert "case one holds" in net.act("apply", backend="nftables", allow=[], case="two")["refused"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thousand_networks_load(net, backend):
    allow = ["10.{0}.{1}.0/25 514/udp".format(100 + number // 250, number % 250) for number in range(1000)]
    applied = net.act("apply", backend=backend, allow=allow)
    assert applied["proof"]["ruleset"]
    print(backend, applied["seconds"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_of_others_stay(net, backend):
    net.run(net.host, "iptables", "-A", "INPUT", "-s", "203.0.113.9", "-j", "DROP")
    net.run(net.host, "nft", "add table inet theirs; add chain inet theirs c; add rule inet theirs c drop")
    before = net.ruleset()
    net.act("apply", backend=backend, allow=[])
    net.act("release", backend=backend)
    assert net.ruleset() == before


def test_what_a_legacy_program_leaves_in_the_kernel_is_named_and_empty(net):
    folder = net.folder / "root" / "usr"
    folder.unlink()
    (folder / "sbin").mkdir(parents=True)
    for program in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (folder / "sbin" / (program + suffix)).symlink_to("/usr/sbin/{0}-legacy{1}".format(program, suffix))
    net.run(net.host, "iptables-legacy", "-A", "INPUT", "-s", "203.0.113.9", "-j", "DROP")
    before = net.run(net.host, "iptables-legacy-save", "-t", "filter")
    assert net.act("apply", backend="iptables", allow=[])["proof"]["ruleset"]
    assert net.act("confirm", backend="iptables")["confirmed"]
    net.run(net.host, "ip6tables-legacy", "-A", "INPUT", "-s", "2001:db8::9", "-j", "DROP")
    released = net.act("release", backend="iptables")
    assert released["residual"] == ["iptables-legacy table mangle of IPv4", "iptables-legacy table filter of IPv6",
                                    "iptables-legacy table mangle of IPv6"]
    assert released["changed_by_others"] == ["new: ip6tables-legacy filter"]
    assert [line for line in net.run(net.host, "iptables-legacy-save", "-t", "mangle").splitlines() if line.startswith("-A")] == []
    assert counted(net.run(net.host, "iptables-legacy-save", "-t", "filter")) == counted(before)
    assert net.act("release", backend="iptables")["changed"] is False


def counted(save: str) -> list[str]:
    """iptables-save's output without dates and counters."""
    return [line.split(" [")[0] for line in save.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_release_takes_away_what_is_left_where_somebody_has_removed_a_part(net, backend):
    before = net.ruleset()
    net.act("apply", backend=backend, allow=[])
    if backend == "iptables":
        net.run(net.host, "iptables", "-D", "INPUT", "-j", "FIREBREAK-INPUT")
        net.run(net.host, "ip6tables", "-t", "mangle", "-F", "POSTROUTING")
    else:
        net.run(net.host, "nft", "delete table netdev firebreak")
    assert net.act("release", backend=backend)["changed"]
    assert net.ruleset() == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interface_that_comes_later_is_covered_by_the_next_run(net, backend):
    before = net.ruleset()
    first = net.act("apply", backend=backend, allow=[])["proof"]["layer2"]
    assert first["cover"] == "egress-hook" and first["devices"] and not first["open"]
    net.run(net.host, "ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    again = net.act("apply", backend=backend, allow=[])
    assert again["changed"] and set(again["proof"]["layer2"]["devices"]) == {*first["devices"], "late0", "late1"}
    assert not net.act("apply", backend=backend, allow=[])["changed"]
    net.act("release", backend=backend)
    assert net.ruleset() == before


def test_a_program_at_an_interface_is_named(net):
    net.run(net.host, "ip", "link", "add", "pod0", "type", "veth", "peer", "name", "pod1")
    net.run(net.host, "tc", "qdisc", "add", "dev", "pod0", "clsact")
    net.run(net.host, "tc", "filter", "add", "dev", "pod0", "ingress", "bpf", "da", "bytecode", "1,6 0 0 0,")
    (found,) = net.act("apply", backend="nftables", allow=[])["proof"]["layer2"]["programs"]
    assert (found["device"], found["what"]) == ("pod0", "tc programs (clsact)")


def test_where_an_interface_cannot_be_covered_required_refuses_and_auto_says_so(net):
    before = net.ruleset()
    net.run(net.host, "ip", "link", "add", "odd;name", "type", "veth", "peer", "name", "odd1")
    assert "layer2: required" in net.act("apply", backend="nftables", allow=[], layer2="required")["refused"]
    assert net.ruleset() == before
    (left,) = net.act("apply", backend="nftables", allow=[])["proof"]["layer2"]["open"]
    assert left["device"] == "odd;name"


def test_an_orphan_in_fin_wait_delivers_nothing_after_release(net):
    bad = server(net, PEERS[4][1], 4002)
    implant = net.start(net.host, CLIENT % (PEERS[4][1], 4002))
    try:
        assert implant.stdout.readline() == "connected\n" and bad.stdout.readline() == "accepted\n"
        net.run(net.host, "nft", "add table ip hole; add chain ip hole o { type filter hook output priority 0; };"
                "add rule ip hole o tcp dport 4002 drop")
        implant.stdin.write("stolen\n")
        implant.stdin.flush()
        assert implant.stdout.readline() == "sent\n"
        stop(implant)
        applied = net.act("apply", backend="nftables", allow=[])
        net.run(net.host, "nft", "delete table ip hole")  # only now, for a retransmission would not wait
        assert applied["proof"]["flows_remaining"] == 0
        net.act("release", backend="nftables")
        time.sleep(1.5)
        bad.kill()
        assert "stolen" not in bad.stdout.read()
    finally:
        stop(bad)


def connect(values: dict[str, object]) -> dict[str, object]:
    began = time.monotonic()
    source = ("", int(str(values["source_port"]))) if values.get("source_port") else None
    error = 0
    try:
        socket.create_connection((str(values["address"]), int(str(values["port"]))), 3, source).close()
    except OSError as problem:
        error = problem.errno or 110
    return {"error": error, "seconds": time.monotonic() - began}


def loopback() -> dict[str, object]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _address = listener.accept()
        with accepted:
            accepted.sendall(b"echo")
            return {"echo": client.recv(9).decode()}


def main() -> None:
    sys.path.insert(0, TREE)
    from ansible_collections.firebreak.response.plugins.module_utils._errors import FirebreakError
    from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
    from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import read_sockets
    from ansible_collections.firebreak.response.plugins.module_utils._host._workdir import Workdir
    from ansible_collections.firebreak.response.plugins.module_utils._isolation._control import Isolation
    from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import from_dict, make_plan
    from ansible_collections.firebreak.response.plugins.module_utils._isolation._release import Release

    action, values = sys.argv[1], json.loads(sys.argv[2])
    folder = pathlib.Path(values["folder"])
    work = Workdir(values.get("case", "one"), root=str(folder / "work"))
    session = Session("", 0, "", 0, "none", [])
    backend, root = values.get("backend", "auto"), str(folder / "root")
    if action == "connect":
        result = connect(values)
    elif action == "loopback":
        result = loopback()
    elif action == "state":
        result = work.read()
    elif action == "confirm":
        state = work.read().get("isolation")
        plan = from_dict(state["plan"], session) if isinstance(state, dict) else None
        isolation = Isolation(work, plan, backend, root)
        if plan is not None:
            isolation.inspect_again()
        result = isolation.confirm(session)
    elif action == "release":
        isolation = Release(work, None, backend, root)
        result = isolation.release(session)
        result["changed"] = isolation.changed
    else:
        plan = make_plan(session, values["allow"], values.get("management", []), [], "local")
        isolation = Isolation(work, plan, backend, root, values.get("layer2", "auto"))
        began = time.monotonic()
        times = {}
        try:
            isolation.inspect()
            times["inspect"] = time.monotonic() - began
            result = {"changed": isolation.changed}
            if isolation.changed:
                isolation.arm(values.get("seconds", 60))
                times["arm"] = time.monotonic() - began
                isolation.prepare()
                if values.get("die"):
                    print(json.dumps(result), flush=True)
                    os._exit(0)
                isolation.cut()
                times["cut"] = time.monotonic() - began
                isolation.settle()
                flows = isolation.flows(read_sockets())
                result.update(flows=flows, destroyed=isolation.destroy(flows), proof=isolation.proof())
                times["proof"] = time.monotonic() - began
            result["seconds"] = times
        except FirebreakError as error:
            result = {"refused": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
