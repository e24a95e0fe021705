# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the cut would break or destroy on this very host, found before it: `look` reads the machine, all else is pure.

A refusal keeps a breached host on the network, so nobody but root may be able to cause one: what counts here is set up by root
alone, and what others could imitate (FUSE mounts, program names) is looked at twice. The sentences of what refuses hold no word
of the host, since they end in an error; those of warnings may, escaped. What cannot be read is no risk, and is said.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Mapping, NamedTuple

from .._errors import HostError
from .._host._files import link, read_proc, read_regular
from .._host._netstate import dump
from .._text import printable
from ._layer2 import BARE
from ._storage import behind, covering, network_kind, parse_mounts, parse_swaps

if TYPE_CHECKING:
    from typing import Callable

    from .._host._processes import Process
    from .._host._session import Session
    from ._storage import Mount

NAMES = ("network-root", "cluster-fencing", "virtual-machines", "tunnelled-management", "management-link", "directory-logins")
_UNKNOWN = "unknown"
# Where a file that does not answer stops the host, the login or the run itself.
_PLACES = ("/", "/usr", "/var", "/home", "/root")
_SHOWN = 5

# Programs that have others take over from, reset or replace a host that they do not hear, or that reset it themselves: Pacemaker and
# Corosync, DLM, SBD, sanlock, Oracle Clusterware, CTDB, VRRP, PostgreSQL's cluster managers, the agents of Kubernetes (node repair).
_FENCED = frozenset((
    "pacemakerd", "pacemaker-remoted", "pacemaker_remoted", "corosync", "dlm_controld", "fenced", "sbd", "sanlock", "cssdagent",
    "cssdmonitor", "ctdbd", "keepalived", "patroni", "repmgrd", "pg_autoctl", "stolon-keeper", "kubelet", "k3s", "rke2"))
_FENCED_SCRIPTS = frozenset(("patroni",))
_INTERPRETER = re.compile(r"(?:python|pypy)[0-9.]*")
_DELETED = " (deleted)"
_SYSTEM_UIDS = 1000  # login.defs(5), UID_MIN: accounts below are no people's
_DEPTH = 32

# IFLA_INFO_KIND of interfaces that put a packet into another one.
_TUNNELS = frozenset((
    "wireguard", "ovpn", "ovpn-dco", "vxlan", "geneve", "bareudp", "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan", "ipip",
    "sit", "ip6tnl", "vti", "vti6", "xfrm", "tun", "ppp"))
_ON_TOP = ("vlan", "macvlan", "ipvlan", "macsec")  # IFLA_LINK is what they lie on; of a veth it is a number of another namespace
_JOINED = ("bridge", "bond", "team")
_NAMED = ("bond", "team", "vlan", "macsec", "ppp")
_STEPS = 256

# nsswitch.conf(5): sources of users that are asked over the network.
_DIRECTORIES = frozenset((
    "sss", "ldap", "winbind", "nis", "nisplus", "oslogin", "authd", "himmelblau", "centrifydc", "lsass", "vas3", "vas4"))
_KEYS_COMMAND = re.compile(r"^[ \t]*AuthorizedKeysCommand[ \t]*[ \t=][ \t]*\"?([^\s\"#]+)", re.IGNORECASE | re.MULTILINE)
_PASSWD_LINE = re.compile(r"^[ \t]*passwd[ \t]*:([^\n#]*)", re.MULTILINE)
_CONFIG_BYTES = 262144
_USERS_BYTES = 4194304
_TABLE_BYTES = 1048576
_CONFIGS = 64


class Risk(NamedTuple):
    """One risk. name: of `NAMES`, or "unknown"; refuses: unless the operator accepts it; what happens; what to do or allow instead."""

    name: str
    refuses: bool
    what: str
    instead: str

    def as_dict(self) -> dict[str, object]:
        """Its form in the result."""
        return {"risk": self.name, "refuses": self.refuses, "what": self.what, "instead": self.instead}


class RefusedError(HostError):
    """Risks stand against the isolation; each is a reason of its own, so that none is cut off with the others."""

    def __init__(self, against: list[Risk]) -> None:
        names = ", ".join(sorted({risk.name for risk in against}))
        self._sentences = [
            *("{0}: {1}. Instead: {2}".format(risk.name, risk.what, risk.instead) for risk in against),
            "To isolate all the same: accept_risks (variable firebreak_accept_risks): [{0}]; nothing was changed".format(names)]
        self.facts = {"preflight": [risk.as_dict() for risk in against]}
        super().__init__("preflight: the isolation would break something here. " + ". ".join(self._sentences))

    @property
    def reasons(self) -> list[str]:
        """One a risk, and what to do last."""
        return ["preflight: " + sentence for sentence in self._sentences]


def unknown(what: str) -> Risk:
    """What could not be read, as a line that refuses nothing."""
    return Risk(_UNKNOWN, False, what, "look at it yourself before the cut")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and {0} more".format(len(names) - _SHOWN) if len(names) > _SHOWN else "")


def storage(mounts: list[Mount], swaps: list[str], remote: Callable[[str, str], str | None]) -> list[Risk]:
    """network-root. `remote`: (device number or "", source) -> what the device's data come over; "" local, None not to be told."""
    found: list[str] = []
    others: list[str] = []
    dark: list[str] = []
    asked: dict[tuple[str, str], str | None] = {}

    def ask(device: str, source: str) -> str | None:
        if (device, source) not in asked:
            asked[device, source] = remote(device, source)
        return asked[device, source]

    needed: list[Mount] = []

    def need(place: str, mount: Mount) -> None:
        kind = network_kind(mount) or ask(mount.device, mount.source)
        if kind:
            found.append("{0} ({1})".format(place, kind))
        elif kind is None:
            dark.append(place)

    for place in _PLACES:
        mount = covering(mounts, place)
        if mount is not None and mount not in needed:
            needed.append(mount)
            need(place, mount)
    for path in swaps:
        mount = None if path.startswith("/dev/") else covering(mounts, path)
        if mount is not None:
            need("swap", mount)
            continue
        kind = ask("", path)
        if kind:
            found.append("swap ({0})".format(kind))
        elif kind is None:
            dark.append("swap")
    homes = 0
    for mount in mounts:
        kind = network_kind(mount)
        if mount in needed:
            continue
        if kind and mount.place.startswith("/home/") and "/" not in mount.place[6:] and not mount.by_a_user:
            homes += 1
        elif kind or (mount.kind == "autofs" and mount.place in _PLACES):
            others.append("{0} ({1})".format(printable(mount.place, 128), kind or "mounted when somebody looks at it"))
    if homes:
        found.append("folders in /home ({0})".format(homes))
    risks = []
    if found:
        risks.append(Risk(
            "network-root", True, "over the network come {0}: once it is cut off, whatever touches them hangs, logins too, and what is not"
            " written back is lost".format(_some(sorted(set(found)))),
            "allow their servers (such as 'ADDRESS 2049/tcp' for NFS, 445/tcp for SMB, 3260/tcp for iSCSI), or isolate at the switch"))
    if others:
        risks.append(Risk(
            "network-root", False, "network mounts will hang: {0}".format(_some(others)), "allow their servers where programs must go on"))
    if dark:
        risks.append(unknown("whether the devices under {0} come over the network cannot be read".format(_some(sorted(set(dark))))))
    return risks


def program(process: Process) -> str:
    """The path of the program that counts: of the file that runs, or of the script that an interpreter was given."""
    path = process.exe or ""
    if path.endswith(_DELETED):  # after an update
        path = path[:-len(_DELETED)]
    if _INTERPRETER.fullmatch(path.rpartition("/")[2]):
        for argument in process.argv[1:4]:
            if argument.startswith("/") and argument.rpartition("/")[2] in _FENCED_SCRIPTS:
                return argument
    return path


def clusters(processes: Mapping[int, Process], by_root: Callable[[str], bool]) -> list[Risk]:
    """cluster-fencing. `by_root`: whether root alone can have placed the file that this host has at a path.

    By the program's file and never by the name, which anybody can give himself: a process counts if root or a system account runs
    it, and if its path leads to a file of root's in folders of root's. So neither "corosync" in somebody's home nor one in /tmp or in
    a container, run by a web server that was broken into, can make us refuse. Of those of system accounts a line says so.
    """
    found: set[str] = set()
    doubtful: set[str] = set()
    for process in processes.values():
        # Cheap first: there are thousands of processes, and next to none of them is one of these.
        if process.exe is None or process.uid >= _SYSTEM_UIDS or not process.alive:
            continue
        path = program(process)
        name = path.rpartition("/")[2]
        if name in _FENCED and name not in found:
            (found if by_root(path) else doubtful).add(name)
    risks = []
    if found:
        risks.append(Risk(
            "cluster-fencing", True, "{0}: the other nodes take a host that they do not hear for dead, and take over from it, reset or"
            " replace it, which destroys the evidence".format(_some(sorted(found))),
            "set the cluster or this node to maintenance first, or allow its peers"))
    if doubtful - found:
        risks.append(Risk(
            "cluster-fencing", False, "{0}: run from a container or a file that is not root's, so it is not believed that a cluster would"
            " miss this host".format(_some(sorted(doubtful - found))), "ask whoever runs it whether a cluster would replace this host"))
    return risks


def guests(links: list[dict[str, object]]) -> list[Risk]:
    """virtual-machines: ports that are taps in bridges, as `_layer2.sort` tells them. `links`: of `_netstate.dump`."""
    masters = [one["master"] for one in links if one.get("kind") == "tun" and one.get("master")]
    if not masters:
        return []
    return [Risk(
        "virtual-machines", True, "virtual machines hang on bridges (ports: {0}, bridges: {1}): they lose the network where this host routes for"
        " them, and stay reachable past the isolation where it only bridges".format(len(masters), len(set(masters))),
        "isolate the guests themselves, or move or stop them first")]


def _below(links: Mapping[object, dict[str, object]], start: object, ports: bool) -> list[dict[str, object]]:
    """An interface and those that it lies on; `ports`: with those that it joins too."""
    chain: list[dict[str, object]] = []
    waiting, seen = [start], {start}
    while waiting and len(chain) < _STEPS:
        one = links.get(waiting.pop())
        if one is None:
            continue
        chain.append(one)
        more = [one.get("link")] if one.get("kind") in _ON_TOP else []
        if ports and one.get("kind") in _JOINED:
            more += [index for index, other in links.items() if other.get("master") == one.get("index")]
        waiting += [index for index in more if index not in seen]
        seen.update(more)
    return chain


def way_in(links: list[dict[str, object]], addresses: list[dict[str, object]], address: str, required: bool) -> list[Risk]:
    """tunnelled-management and management-link. `address`: the host's own in the management session; `required`: as option layer2."""
    by_index: dict[object, dict[str, object]] = {one.get("index"): one for one in links}
    starts = [one.get("index") for one in addresses if (one.get("local") or one.get("address")) == address]
    if not starts:
        return [unknown("the interface of the management session's address is not found")]
    risks = []
    tunnels = {str(one.get("kind") or "of an unknown kind") for start in starts for one in _below(by_index, start, False)
               if one.get("kind") in _TUNNELS or one.get("type") in BARE}
    if tunnels:
        shown = _some(sorted(kind if kind in _TUNNELS else "of an unknown kind" for kind in tunnels))
        risks.append(Risk(
            "tunnelled-management", True, "the management session comes through a tunnel ({0}): its outer packets go elsewhere than the"
            " session, so the cut ends it and nobody gets in".format(shown),
            "allow the tunnel's far end (such as 'ADDRESS 51820/udp' for WireGuard), or come in beside the tunnel"))
    kinds = {str(one.get("kind")) for start in starts for one in _below(by_index, start, True) if one.get("kind") in _NAMED}
    if kinds:
        risks.append(Risk(
            "management-link", required, "the management session comes over {0}: frames of the interfaces under it are not held back, and"
            " no rule for them is tried out before the cut".format(_some(sorted(kinds))), "layer2: auto, and close the switch port too"))
    return risks


def logins(sshd: list[str], nsswitch: str, passwd: str | None, user: str | None, uid: int) -> list[Risk]:
    """directory-logins. The texts of the files; `user`: who became root, else the one of `uid`; `passwd` None: it cannot be read."""
    reasons = []
    if any(command.lower() != "none" for text in sshd for command in _KEYS_COMMAND.findall(text)):
        reasons.append("sshd asks a program for keys (AuthorizedKeysCommand)")
    sources = {word for line in _PASSWD_LINE.findall(nsswitch) for word in line.split()}
    if sources & _DIRECTORIES:
        reasons.append("users come from a directory too ({0})".format(_some(sorted(sources & _DIRECTORIES))))
    if not reasons or passwd is None:
        return []
    local = False
    for line in passwd.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and (fields[0] == user if user else fields[2] == str(uid)):
            local = True
            break
    what = " and ".join(reasons)
    if local:
        return [Risk("directory-logins", False, what + "; the user of this run is local", "allow the directory where others must get in")]
    return [Risk(
        "directory-logins", True, what + ", and the user of this run is not in /etc/passwd: without the directory his next login fails, and"
        " the isolation is taken back", "allow the directory's servers, or log in as a local user with a key of his own")]


def refuse(risks: list[Risk], accepted: list[str]) -> None:
    """Raises RefusedError where a risk refuses the host that the operator has not accepted."""
    against = [risk for risk in risks if risk.refuses and risk.name not in accepted]
    if against:
        raise RefusedError(against)


def placed_by_root(path: str, root: str = "/", owner: int = 0) -> bool:
    """Whether the file at this path is `owner`'s, in folders of `owner`'s, and nobody else can change it or put another there."""
    parts = path.split("/")[1:]
    if not path.startswith("/") or len(parts) > _DEPTH:
        return False
    place = root.rstrip("/")
    try:
        for part in parts[:-1]:
            place = "{0}/{1}".format(place, part)
            found = os.stat(place)
            if found.st_uid != owner or found.st_mode & stat.S_IWOTH:
                return False
        found = os.stat("{0}/{1}".format(place, parts[-1]))
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == owner and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


class _Reader:
    """Small files below `root`, bounded; `unread` gathers the paths of those that are there and could not be read whole."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self.unread: list[str] = []

    def table(self, path: str) -> str:
        """A table of the kernel's; a missing one is said."""
        data = read_proc(self.root + path, _TABLE_BYTES)
        if not data or len(data) >= _TABLE_BYTES:
            self.unread.append(path)
        return data.decode("utf-8", "surrogateescape")

    def config(self, path: str, limit: int = _CONFIG_BYTES) -> str | None:
        """A file of settings, over links (authselect makes nsswitch.conf one); "" where there is none, None where it is not read."""
        place = path
        for _turn in range(8):
            target = link(self.root + place)
            if target is None:
                break
            place = os.path.normpath(os.path.join(os.path.dirname(place), target))
        try:
            data = read_regular(self.root + place, limit)
        except FileNotFoundError:
            return ""
        except OSError:
            data = b""
        else:
            if len(data) < limit:
                return data.decode("utf-8", "surrogateescape")
        self.unread.append(path)
        return None

    def first(self, path: str) -> str:
        """A file of settings, or the distribution's own where the administrator made none."""
        return self.config("/etc" + path) or self.config("/usr/etc" + path) or ""

    def folder(self, path: str) -> list[str]:
        """The *.conf files of a folder of settings."""
        try:
            names = sorted(name for name in os.listdir(self.root + path) if name.endswith(".conf"))
        except FileNotFoundError:
            return []
        except OSError:
            names = []
            self.unread.append(path)
        if len(names) > _CONFIGS:
            self.unread.append(path)
        return [self.config("{0}/{1}".format(path, name)) or "" for name in names[:_CONFIGS]]


def look(
    session: Session, processes: Mapping[int, Process], required: bool, root: str = "/", environ: Mapping[str, str] | None = None,
    tables: Callable[[str], list[dict[str, object]]] = dump, uid: int | None = None,
) -> list[Risk]:
    """Every risk of this host. Comes before the cut, so it reads a dozen small files and two tables of the kernel.

    `required`: layer2 is; `environ`: of this process; `tables`: as `_netstate.dump`; `uid`: the effective user.
    """
    reader = _Reader(root)
    risks: list[Risk] = []
    mounts, whole = parse_mounts(reader.table("/proc/self/mountinfo"))
    if not whole:
        reader.unread.append("/proc/self/mountinfo")
    swaps = read_proc(reader.root + "/proc/swaps", _CONFIG_BYTES).decode("utf-8", "surrogateescape")
    risks += storage(mounts, parse_swaps(swaps), lambda device, source: behind(device, source, root))
    risks += clusters(processes, lambda path: placed_by_root(path, root))
    try:
        links, addresses = tables("links"), tables("addresses")
    except OSError:
        reader.unread.append("the list of interfaces")
    else:
        risks += guests(links)
        if session.source != "none":
            risks += way_in(links, addresses, session.server_address, required)
    if session.source != "none":  # without a session there is no login to lose
        sshd = [reader.first("/ssh/sshd_config"), *reader.folder("/etc/ssh/sshd_config.d")]
        user = (os.environ if environ is None else environ).get("SUDO_USER")
        risks += logins(sshd, reader.first("/nsswitch.conf"), reader.config("/etc/passwd", _USERS_BYTES), user,
                        os.geteuid() if uid is None else uid)
    if reader.unread:
        shown = [printable(path, 128) for path in dict.fromkeys(reader.unread)]
        risks.append(unknown("not read, or not whole: {0}".format(_some(shown))))
    return risks
