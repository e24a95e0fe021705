# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the cut would break, on made-up hosts: what refuses, what only warns, and what an attacker cannot make us believe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.firebreak.response.plugins.module_utils import _arguments, _containment
from ansible_collections.firebreak.response.plugins.module_utils._errors import HostError
from ansible_collections.firebreak.response.plugins.module_utils._host._processes import Process
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _preflight, _run
from ansible_collections.firebreak.response.plugins.module_utils._isolation._preflight import Risk
from ansible_collections.firebreak.response.plugins.module_utils._isolation._storage import parse_mounts
from ansible_collections.firebreak.response.plugins.module_utils._timeline import Timeline

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket", [1])
NONE = Session("", 0, "", 0, "none", [1])
ROOT_MOUNT = "27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def short(risks: list[Risk]) -> list[tuple[str, bool]]:
    return [(risk.name, risk.refuses) for risk in risks]


def storage(text: str, swaps: tuple[str, ...] = (), remote: str | None = "") -> list[Risk]:
    return _preflight.storage(parse_mounts(text)[0], list(swaps), lambda _device, _source: remote)


def process(pid: int, exe: str | None, uid: int = 0, argv: tuple[str, ...] = (), state: str = "S") -> Process:
    made = Process()
    made.pid, made.exe, made.uid, made.argv, made.state, made.name = pid, exe, uid, list(argv), state, "x"
    return made


def clusters(*processes: Process, by_root: tuple[str, ...] = ()) -> list[Risk]:
    return _preflight.clusters({one.pid: one for one in processes}, lambda path: path in by_root)


def link(index: int, name: str, kind: str = "", arp: int = 1, **more: object) -> dict[str, object]:
    found: dict[str, object] = {"index": index, "name": name, "type": arp, **more}
    return {**found, "kind": kind} if kind else found


def at(index: int, address: str = "10.0.0.2") -> list[dict[str, object]]:
    return [{"index": 1, "address": "127.0.0.1", "local": "127.0.0.1"}, {"index": index, "address": address, "local": address}]


def test_the_names_are_the_choices():
    assert _arguments.NETWORK["accept_risks"]["choices"] == list(_preflight.NAMES)


def test_a_plain_host_has_no_risk():
    assert storage(ROOT_MOUNT + "28 27 8:2 / /home rw - xfs /dev/sda2 rw\n", ("/dev/sda3", "/var/swap")) == []


@pytest.mark.parametrize(("line", "said"), [
    ("27 1 0:40 / / rw - nfs4 srv:/root rw", "/ (nfs4)"),
    (ROOT_MOUNT + "28 27 0:41 / /home rw - cifs //srv/home rw", "/home (cifs)"),
    (ROOT_MOUNT + "28 27 0:41 / /usr rw - ceph 10.0.0.9:/usr rw", "/usr (ceph)"),
    (ROOT_MOUNT + "28 27 0:41 / /var rw - fuse.glusterfs srv:/var rw,user_id=0", "/var (fuse.glusterfs)"),
    (ROOT_MOUNT + "28 27 0:41 / /home/ann rw - nfs srv:/home/ann rw", "folders in /home (1)"),
    (ROOT_MOUNT + "28 27 0:40 / /home rw - autofs auto.home rw\n29 28 0:41 / /home rw - nfs4 srv:/home rw", "/home (nfs4)"),
])
def test_what_the_host_needs_must_not_come_over_the_network(line, said):
    (risk,) = [one for one in storage(line) if one.refuses]
    assert risk.name == "network-root" and risk.what.startswith("over the network come {0}: ".format(said))


def test_devices_and_swap_over_the_network():
    (risk,) = storage(ROOT_MOUNT, ("/dev/sdb1", "/var/a swap"), "iSCSI")
    assert risk.refuses and risk.what.startswith("over the network come / (iSCSI), swap (iSCSI): ")
    (risk,) = _preflight.storage(parse_mounts(ROOT_MOUNT)[0], ["/dev/nbd0"], lambda _device, source: "NBD" if source == "/dev/nbd0" else "")
    assert risk.what.startswith("over the network come swap (NBD): ")
    (risk,) = storage(ROOT_MOUNT, remote=None)
    assert risk == _preflight.unknown("whether the devices under / come over the network cannot be read")


def test_each_device_is_asked_for_once():
    asked = []
    text = ROOT_MOUNT + "28 27 8:1 /v /var rw - ext4 /dev/sda1 rw\n29 27 8:1 /h /home rw - ext4 /dev/sda1 rw\n"
    _preflight.storage(parse_mounts(text)[0], ["/dev/sda2"], lambda *device: asked.append(device) or "")
    assert asked == [("8:1", "/dev/sda1"), ("", "/dev/sda2")]


def test_other_network_mounts_are_only_said_and_escaped():
    (risk,) = storage(ROOT_MOUNT + "28 27 0:41 / /mnt/\\012\x1b[31mroot rw - nfs4 srv:/x rw\n")
    assert risk == Risk(
        "network-root", False, "network mounts will hang: /mnt/\\x0a\\x1b[31mroot (nfs4)", "allow their servers where programs must go on")
    (risk,) = storage(ROOT_MOUNT + "".join("28 27 0:41 / /mnt/{0} rw - nfs4 srv:/x rw\n".format(n) for n in range(100000)))
    assert risk.what.endswith("/mnt/4 (nfs4) and 9994 more") and len(risk.what) < 200


def test_a_user_cannot_make_us_refuse_by_a_mount_of_his_own():
    mounts = "28 27 0:41 / /home/u7 rw - fuse.glusterfs x rw,user_id=1001,group_id=1001\n"
    mounts += "29 27 0:42 / /home/u7/b rw - fuse.sshfs x rw,user_id=1001\n"
    assert short(storage(ROOT_MOUNT + mounts)) == [("network-root", False)]
    (risk,) = storage(ROOT_MOUNT + "28 27 0:40 / /home rw - autofs auto.home rw\n")
    assert not risk.refuses and "/home (mounted when somebody looks at it)" in risk.what


def test_cluster_programs_refuse_by_their_file():
    (risk,) = clusters(process(1, "/usr/sbin/corosync"), process(2, "/usr/sbin/pacemakerd", 189), process(3, None, argv=("sbd",)),
                       by_root=("/usr/sbin/corosync", "/usr/sbin/pacemakerd"))
    assert risk.refuses and risk.name == "cluster-fencing" and risk.what.startswith("corosync, pacemakerd: the other nodes ")
    updated = clusters(process(1, "/usr/sbin/keepalived (deleted)"), by_root=("/usr/sbin/keepalived",))
    assert short(updated) == [("cluster-fencing", True)]
    script = process(4, "/usr/bin/python3.11", 26, ("/usr/bin/python3", "-u", "/usr/bin/patroni", "/etc/patroni.yml"))
    assert short(clusters(script, by_root=("/usr/bin/patroni",))) == [("cluster-fencing", True)]


def test_an_attacker_cannot_make_us_refuse_by_a_name():
    everywhere = ("/usr/sbin/corosync", "/usr/bin/patroni")
    assert clusters(process(1, "/home/u7/corosync", 1001), process(2, "/usr/sbin/corosync", 1001), by_root=everywhere) == []
    (risk,) = clusters(process(1, "/tmp/corosync", 33), process(2, "/var/www/x/corosync", 33), by_root=everywhere)
    assert not risk.refuses and risk.what.startswith("corosync: run from a container or a file that is not root's")
    fake = process(3, "/usr/bin/python3", 33, ("python3", "/tmp/patroni"))
    assert short(clusters(fake, by_root=everywhere)) == [("cluster-fencing", False)]
    named = process(4, "/usr/bin/sleep", 0, ("/usr/sbin/corosync", "/usr/bin/patroni"))
    dead = process(5, "/usr/sbin/corosync", 0, state="X")
    assert clusters(named, dead, process(6, "/usr/sbin/corosync\n", 0), by_root=everywhere) == []


def test_placed_by_root_looks_at_every_folder(tmp_path):
    good = tmp_path / "usr/sbin"
    good.mkdir(parents=True)
    program = good / "corosync"
    program.write_text("")
    for path in (tmp_path / "usr", good, program):
        path.chmod(0o755)
    root, me = str(tmp_path), os.getuid()
    assert _preflight.placed_by_root("/usr/sbin/corosync", root, me)
    assert not _preflight.placed_by_root("/usr/sbin/corosync", root, me + 1)
    assert not _preflight.placed_by_root("usr/sbin/corosync", root, me)
    assert not _preflight.placed_by_root("/usr/sbin", root, me) and not _preflight.placed_by_root("/usr/sbin/sbd", root, me)
    assert not _preflight.placed_by_root("/" + "usr/../" * 40 + "usr/sbin/corosync", root, me)
    program.chmod(0o775)
    assert not _preflight.placed_by_root("/usr/sbin/corosync", root, me)
    program.chmod(0o755)
    good.chmod(0o1777)  # as /tmp: root's, but anybody puts a link there
    assert not _preflight.placed_by_root("/usr/sbin/corosync", root, me)


def test_guests_on_bridges():
    links = [link(1, "lo", arp=772), link(2, "br0", "bridge"), link(3, "tap0", "tun", master=2), link(4, "tap1", "tun", master=2),
             link(5, "tun0", "tun"), link(6, "veth0", "veth", master=2)]
    (risk,) = _preflight.guests(links)
    assert risk.refuses and risk.name == "virtual-machines" and risk.what.startswith("virtual machines hang on bridges (ports: 2, bridges: 1): ")
    assert _preflight.guests(links[:2] + links[4:]) == []


@pytest.mark.parametrize("kind", ["wireguard", "vxlan", "gre", "ipip", "sit", "ip6tnl", "vti", "xfrm", "tun"])
def test_a_session_in_a_tunnel_refuses(kind):
    (risk,) = _preflight.way_in([link(7, "wg0", kind, 65534)], at(7), "10.0.0.2", False)
    assert (risk.name, risk.refuses) == ("tunnelled-management", True)
    assert risk.what.startswith("the management session comes through a tunnel ({0}): ".format(kind))


def test_a_tunnel_is_known_by_its_type_and_under_what_lies_on_it():
    (risk,) = _preflight.way_in([link(7, "x", "novel", 778)], at(7), "10.0.0.2", False)
    assert risk.refuses and "(of an unknown kind)" in risk.what
    links = [link(7, "v.5", "vlan", link=8), link(8, "g", "gretap")]
    assert short(_preflight.way_in(links, at(7), "10.0.0.2", False)) == [("tunnelled-management", True), ("management-link", False)]
    # The peer's number of a veth is one of another namespace.
    assert _preflight.way_in([link(7, "eth0", "veth", link=8), link(8, "wg0", "wireguard", 65534)], at(7), "10.0.0.2", False) == []
    assert short(_preflight.way_in([link(7, "ppp0", "ppp", 512)], at(7), "10.0.0.2", False)) == [
        ("tunnelled-management", True), ("management-link", False)]


def test_bonds_and_their_like_refuse_only_where_layer2_is_required():
    links = [link(7, "br0", "bridge"), link(8, "bond0.5", "vlan", link=9, master=7), link(9, "bond0", "bond"), link(10, "eth0", master=9)]
    (risk,) = _preflight.way_in(links, at(7), "10.0.0.2", False)
    assert (risk.name, risk.refuses) == ("management-link", False) and "comes over bond, vlan: " in risk.what
    assert short(_preflight.way_in(links, at(7), "10.0.0.2", True)) == [("management-link", True)]
    circle = [link(7, "a", "vlan", link=8), link(8, "b", "macsec", link=7)]
    assert short(_preflight.way_in(circle, at(7), "10.0.0.2", False)) == [("management-link", False)]


def test_an_address_that_no_interface_has_is_said():
    assert _preflight.way_in([link(2, "eth0")], at(2), "10.0.0.3", False) == [
        _preflight.unknown("the interface of the management session's address is not found")]
    peer = [{"index": 7, "address": "10.0.0.2", "local": "10.0.0.9"}, {"index": 2, "address": "10.0.0.2"}]
    assert _preflight.way_in([link(2, "eth0"), link(7, "ppp0", "ppp", 512)], peer, "10.0.0.2", False) == []


PASSWD = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n+::::::\n"
COMMAND = "Port 22\n  authorizedkeyscommand = \"/usr/bin/sss_ssh_authorizedkeys\"\n"
SSSD = "passwd:\tfiles sss systemd # users\ngroup: files\n"


@pytest.mark.parametrize(("sshd", "nsswitch", "user", "found"), [
    ("Port 22", "passwd: files systemd", "bob", []),
    ("#AuthorizedKeysCommand /x\nAuthorizedKeysCommand none\nAuthorizedKeysCommandUser nobody", "group: sss\n#passwd: sss", "bob", []),
    ("", "passwd: files [NOTFOUND=return] ldap", "bob", [("directory-logins", True)]),
    ("", SSSD, "ann", [("directory-logins", False)]),
    ("", SSSD, "an", [("directory-logins", True)]),
    ("", SSSD, None, [("directory-logins", False)]),
    (COMMAND, "", "bob", [("directory-logins", True)]),
    (COMMAND, "", "ann", [("directory-logins", False)]),
    ("Match user x\n\tAuthorizedKeysCommand /x\r\n", "", "", [("directory-logins", False)]),
])
def test_logins_that_need_the_network(sshd, nsswitch, user, found):
    assert short(_preflight.logins([sshd], nsswitch, PASSWD, user, 0)) == found


def test_a_user_who_is_in_no_file_and_a_file_that_cannot_be_read():
    assert short(_preflight.logins([], SSSD, PASSWD, None, 4242)) == [("directory-logins", True)]
    assert _preflight.logins([], SSSD, None, "bob", 0) == []


def test_a_refusal_names_option_risks_and_what_to_do():
    risks = storage("27 1 0:40 / / rw - nfs4 srv:/root rw\n") + clusters(process(1, "/usr/sbin/sbd"), by_root=("/usr/sbin/sbd",))
    risks += [_preflight.unknown("x")]
    with pytest.raises(HostError) as caught:
        _preflight.refuse(risks, [])
    said = str(caught.value)
    assert said.startswith("preflight: ") and said.endswith("nothing was changed")
    assert "accept_risks (variable firebreak_accept_risks): [cluster-fencing, network-root]" in said
    for risk in risks[:2]:
        assert "{0}: {1}. Instead: {2}".format(risk.name, risk.what, risk.instead) in said
    with pytest.raises(HostError) as caught:
        _preflight.refuse(risks, ["network-root", "directory-logins"])
    assert "nfs4" not in str(caught.value) and "[cluster-fencing]" in str(caught.value)
    assert caught.value.reasons == [
        "preflight: cluster-fencing: {0}. Instead: {1}".format(*risks[1][2:]),
        "preflight: To isolate all the same: accept_risks (variable firebreak_accept_risks): [cluster-fencing]; nothing was changed"]
    assert caught.value.facts == {"preflight": [risks[1].as_dict()]}
    _preflight.refuse(risks, ["network-root", "cluster-fencing"])
    _preflight.refuse(risks[2:], [])


def test_no_reason_is_longer_than_the_controller_shows():
    mounts = "27 1 0:40 / / rw - fuse.lizardfs srv:/root rw,user_id=0\n" + "".join(
        "28 27 0:41 / {0} rw - fuse.lizardfs srv:/ rw,user_id=0\n".format(place) for place in ("/usr", "/var", "/home", "/root"))
    names = sorted(_preflight._FENCED)
    risks = storage(mounts) + clusters(
        *(process(number, "/" + name) for number, name in enumerate(names)), by_root=tuple("/" + name for name in names))
    risks += _preflight.guests([link(n, "t", "tun", master=n) for n in range(1000, 3000)])
    kinds = ["vlan", "macsec", "ip6erspan", "wireguard", "ovpn-dco", "ip6gretap", "bareudp", "geneve", "bond", "team", "ppp"]
    links = [link(number, "t", kind) for number, kind in enumerate(kinds, 1)]
    risks += _preflight.way_in(links, [{"index": one["index"], "local": "10.0.0.2"} for one in links], "10.0.0.2", True)
    risks += _preflight.logins([COMMAND], "passwd: " + " ".join(_preflight._DIRECTORIES), PASSWD, "bob", 0)
    assert tuple(risk.name for risk in risks) == _preflight.NAMES
    with pytest.raises(HostError) as caught:
        _preflight.refuse(risks, [])
    assert len(caught.value.reasons) == 7 and max(map(len, caught.value.reasons)) < 600


class Host:
    """A made-up host: files below a folder, tables of the kernel in hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.links = [link(1, "lo", arp=772), link(2, "eth0")]
        self.write("proc/self/mountinfo", "27 1 0:30 / / rw - tmpfs none rw\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n")
        self.write("etc/ssh/sshd_config", "Port 22\n")
        self.write("etc/nsswitch.conf", "passwd: files\n")
        self.write("etc/passwd", PASSWD)

    def write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def tables(self, name: str) -> list[dict[str, object]]:
        return self.links if name == "links" else at(2)

    def look(self, session: Session = SSH, user: str = "ann", **more: object) -> list[Risk]:
        return _preflight.look(session, {}, False, str(self.root), {"SUDO_USER": user}, self.tables, 0, **more)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_host_without_risks_says_nothing(host):
    assert host.look() == []


def test_every_file_of_sshd_is_read_and_links_are_followed_below_the_root(host):
    host.write("etc/ssh/sshd_config.d/50-x.conf", COMMAND)
    host.write("etc/ssh/sshd_config.d/50-x.bak", "")
    assert short(host.look()) == [("directory-logins", False)]
    (host.root / "etc/nsswitch.conf").unlink()
    host.write("etc/authselect/nsswitch.conf", SSSD)
    (host.root / "etc/nsswitch.conf").symlink_to("/etc/authselect/nsswitch.conf")
    (risk,) = host.look(user="bob")
    assert risk.refuses and "AuthorizedKeysCommand" in risk.what and "(sss)" in risk.what
    assert host.look(NONE, "bob") == []


def test_settings_of_the_distribution_hold_where_the_administrator_made_none(host):
    (host.root / "etc/nsswitch.conf").unlink()
    host.write("usr/etc/nsswitch.conf", SSSD)
    assert short(host.look(user="bob")) == [("directory-logins", True)]


def test_what_cannot_be_read_is_no_risk_and_is_said(host):
    (host.root / "proc/self/mountinfo").unlink()
    (host.root / "etc/passwd").unlink()
    os.mkfifo(host.root / "etc/passwd")
    host.write("etc/nsswitch.conf", SSSD)
    host.write("etc/ssh/sshd_config", "#" * 262144)
    (risk,) = host.look(user="bob")
    assert risk.as_dict() == {
        "risk": "unknown", "refuses": False, "instead": "look at it yourself before the cut",
        "what": "not read, or not whole: /proc/self/mountinfo, /etc/ssh/sshd_config, /etc/passwd"}


def test_links_in_a_circle_and_a_crowd_of_files_end(host):
    (host.root / "etc/passwd").unlink()
    (host.root / "etc/passwd").symlink_to("passwd")
    for number in range(100):
        host.write("etc/ssh/sshd_config.d/{0:03}.conf".format(number), "")
    (risk,) = host.look()
    assert risk.what == "not read, or not whole: /etc/ssh/sshd_config.d, /etc/passwd"


def test_a_kernel_that_lists_no_interfaces(host):
    def refused(_name: str) -> list[dict[str, object]]:
        raise OSError(1, "no")

    host.tables = refused
    (risk,) = host.look()
    assert risk.what == "not read, or not whole: the list of interfaces"


def test_a_table_of_mounts_that_does_not_end(host):
    host.write("proc/self/mountinfo", "27 1 0:30 / / rw - tmpfs none rw\n" + "28 27 0:41 / /mnt/x rw - tmpfs x rw\n" * 100000)
    (risk,) = host.look()
    assert risk.what == "not read, or not whole: /proc/self/mountinfo"


class Inspected:
    """An isolation after `inspect`, as far as the preflight asks it."""

    required = observes = False

    def __init__(self, before: str) -> None:
        self.cuts_already = bool(before)

    def choose_interfaces(self, wanted: bool) -> None:
        assert wanted is False

    def moves_deadline(self, ttl: object) -> None:
        assert ttl is None


def test_a_host_that_is_isolated_already_is_told_and_not_refused(monkeypatch):
    risks = [Risk("network-root", True, "what", "instead")]
    monkeypatch.setattr(_preflight, "look", lambda *_arguments: risks)
    with pytest.raises(HostError, match="nothing was changed$"):
        _run.preflight(Inspected(""), {"accept_risks": []}, SSH, {})
    assert _run.preflight(Inspected(""), {"accept_risks": ["network-root"]}, SSH, {}) == risks
    assert _run.told(_run.preflight(Inspected("table inet firebreak"), {"accept_risks": []}, SSH, {})) == {
        "preflight": [{"risk": "network-root", "refuses": True, "what": "what", "instead": "instead"}]}


def test_a_containment_is_refused_before_its_evidence_is_a_file(monkeypatch):
    order = []

    class Fake:
        """Whatever a containment makes; it says when."""

        before = ""
        required = cuts_already = observes = False
        sockets: list[object] = []
        processes: dict[int, object] = {}

        def __init__(self, *_arguments: object, **_options: object) -> None:
            order.append("made")

        def start(self) -> None:
            order.append("started")

        def inspect(self) -> None:
            order.append("inspected")

        def choose_interfaces(self, wanted: bool) -> None:
            order.append("interfaces chosen")

        def moves_deadline(self, ttl: object) -> None:
            order.append("deadline looked at")

    class Bundle:
        def __init__(self, *_arguments: object) -> None:
            order.append("bundle")
            raise ArithmeticError

    for name in ("Context", "Isolation", "Suspects"):
        monkeypatch.setattr(_containment, name, Fake)
    monkeypatch.setattr(_containment, "Bundle", Bundle)
    monkeypatch.setattr(_containment, "start_firewall", lambda _context: None)
    monkeypatch.setattr(_containment, "management_session", lambda *_arguments: NONE)
    monkeypatch.setattr(_preflight, "look", lambda *_arguments: [Risk("network-root", True, "what", "instead")])
    spec = _arguments.merge(_arguments.STEPS, _arguments.NETWORK, _arguments.PROCESSES, _arguments.EVIDENCE, _arguments.PRIVATE)
    params = {**{name: option.get("default") for name, option in spec.items()}, "_transport": "local"}
    work = type("Work", (), {"case": "INC-1"})()
    for check_mode in (True, False):
        with pytest.raises(HostError, match="network-root.*nothing was changed$"):
            _containment.Containment(work, params, check_mode, False, Timeline())
    assert order == ["made", "started", "made", "inspected"] * 2
    for more in ({"accept_risks": ["network-root"]}, {"steps": ["snapshot", "termination"]}):
        with pytest.raises(ArithmeticError):
            _containment.Containment(work, {**params, **more}, False, False, Timeline())
    assert order[-1] == "bundle"
