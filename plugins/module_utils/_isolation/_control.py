# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Isolation as the steps see it: what `_cut` does, then destroy, prove, confirm, hold, release."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import TYPE_CHECKING

from .._host._files import read_proc
from .._host._sock_diag import destroy
from .._host._sockets import own_addresses, read_sockets
from ._commands import NO_SYSTEMD, ends, shared
from ._cut import FRAMES, Cut
from ._policy import Plan, silent_of
from ._rollback import disarm, sweep

if TYPE_CHECKING:
    from .._host._session import Session
    from .._host._sockets import Socket
    from .._host._workdir import Workdir

# States of TCP in which nothing can be delivered any more, or nothing ever was.
_NO_FLOW = ("LISTEN", "CLOSE", "TIME_WAIT")
_MAY_DELIVER = ("ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING")
# How many connections this network tracks, there where that is loaded. A question by netlink would have the kernel load it, and
# costs tens of milliseconds where the table is large and empty.
_TRACKED = "proc/sys/net/netfilter/nf_conntrack_count"
_NOT_HELD = {"unit": "", "persist": False, "watch": False, "owner": False, "why": ""}


def read_others() -> dict[str, str] | None:
    """What others have in the firewall, as `_others.read` tells it."""
    if not shared():
        return {}
    from . import _others

    return _others.read()


class Isolation(Cut):
    """The isolation of this host for one case."""

    def __init__(self, work: Workdir, plan: Plan | None, backend: str = "auto", root: str = "/", layer2: str = "auto") -> None:
        super().__init__(work, plan, backend, root, layer2)
        self.cut_flows: list[Socket] = []
        self._held_anew = False
        self._why_not_held = ""
        self._why_no_end = ""
        self.end_change = ("", "")
        self._mended = False

    def flows(self, sockets: list[Socket]) -> list[Socket]:
        """The sockets with a peer that the plan forbids. What stays on the host and the management session are none."""
        plan = self.plan
        own = own_addresses(os.path.join(self.root, "proc"))
        found = []
        for socket in sockets:
            if socket.state in _NO_FLOW or (socket.protocol != "tcp" and socket.state != "ESTABLISHED"):
                continue
            if socket.remote_address in own or socket.remote_address in ("0.0.0.0", "::"):
                if not self._besets(socket):
                    continue
                found.append(socket)
                continue
            if plan is not None and (plan.is_session(socket) or plan.allows(socket)):
                continue
            found.append(socket)
        return found

    def _besets(self, socket: Socket) -> bool:
        """Whether a connection of the host to itself holds one of sshd's places."""
        plan = self.plan
        return plan is not None and socket.protocol == "tcp" and socket.local_port in plan.guarded and not plan.is_session(socket)

    def destroy(self, flows: list[Socket]) -> dict[str, object]:
        """End them: {"destroyed": n, "gone": n, "remaining": [Socket, ...]}; call after the cut, so that no peer is told."""
        if self.observes:
            return {"destroyed": 0, "gone": 0, "remaining": []}
        self.cut_flows += flows
        counts = {"destroyed": 0, "gone": 0}
        remaining = []
        for socket in flows:
            outcome = destroy(socket)
            if outcome in counts:
                counts[outcome] += 1
            elif not (socket.state == "FIN_WAIT2" and socket.inode == 0):  # all was sent, and nobody is left to read
                remaining.append(socket)
        return {**counts, "remaining": remaining}

    def remaining(self, sockets: list[Socket] | None = None) -> list[Socket]:
        """Forbidden flows that outlived the cut: TCP that could deliver again, and others that are as they were then.

        `sockets`: of a reading of just now, where there is one.
        """
        cut = set(self.cut_flows)
        return [socket for socket in self.flows(read_sockets(os.path.join(self.root, "proc")) if sockets is None else sockets)
                if (socket.protocol == "tcp" and socket.state in _MAY_DELIVER) or socket in cut]

    def lower(self) -> None:
        """Take interfaces down, and up, as was chosen: when what that destroys is safe, and never without a way back."""
        if self.interfaces is None or not self._loaded or not self._waits():
            return
        self.interfaces.apply()
        self.state["lowered"] = True
        if not self._waits():  # it has fired meanwhile, and has found nothing that was down
            previous = self.state.get("previous")
            self._perform(self._interfaces_back(previous if isinstance(previous, dict) else {}))

    def proof(self, sockets: list[Socket] | None = None) -> dict[str, object]:
        """What can be shown from inside, now; `sockets` as for `remaining`."""
        from ._probe import probe

        self.frames()
        engine = self._take_engine()
        live = self.before if self._just_read else engine.live()
        session = self.plan.session if self.plan is not None else None
        past = self._ways_past()  # not before the kills: it looks at every process
        tracked = self._tracked_no_more()  # nor this one, which may take long where the table is full
        ruleset = bool(live) and live == self.after
        if self._loaded:  # the second run goes by what this one has found
            self.state.update(listing=self.after, proved_by=self.proved_by, elsewhere=past, conntrack=tracked)
            self.work.update(isolation=self.state)
        return {
            "mode": self.plan.mode if self.plan is not None else "",
            "leases": [str(network) for network in self.plan.leases] if self.plan is not None else [],
            "ruleset": ruleset,
            "ruleset_against": self.proved_by,
            "rollback": self.state.get("timer"),
            "layer2": {**engine.layer2.report(live, self.after), "elsewhere": past},
            "conntrack": tracked,
            "silent": silent_of(self.plan.as_dict()) if self.plan is not None else [],
            "flows_remaining": 0 if self.observes else len(self.remaining(sockets)),
            "probe": None if self.observes else probe(),
            "management": {
                "networks": self.plan.as_dict()["management"] if self.plan is not None else [],
                "ports": self.plan.ports if self.plan is not None else [],
                "peer": session.peer_address if session is not None else "",
                "source": session.source if session is not None else "none",
            },
            "widened": bool(self.state.get("widened_at")),
            "interfaces": self._standing(),
            "ends_at": self._ends_at() if not self._why_no_end else None,
            "no_end": self._why_no_end,
            "hold": self.holder.report(self._held_anew) if self.held or self._holder is not None else {**_NOT_HELD, "why": self._why_not_held},
            "confirmed": True if self.state.get("confirmed") else None,
        }

    def _ways_past(self) -> object:
        """What can send without meeting any rule of this network namespace; looked for once a run, and the second one knows it from the first."""
        if self._past is None:
            if self._just_read and isinstance(self.state.get("elsewhere"), list):
                self._past = self.state["elsewhere"]
            else:
                from .._host._elsewhere import ways_past

                self._past = ways_past()
        return self._past

    def _tracked_no_more(self) -> object:
        """Delete what the kernel tracks of the connections that were cut; the second run knows from the first what came of it.

        See `_tracked.end` for the answer; None where nothing is tracked.
        """
        if self._just_read:
            return self.state.get("conntrack")
        if self.plan is None or self.observes or read_proc(os.path.join(self.root, _TRACKED), 32).strip() in (b"", b"0"):
            return None
        from . import _tracked

        return _tracked.end(self.plan, self.root)

    def _ends_at(self) -> str | None:
        if not self.state.get("end") or not ends(self.work.case, self.root):
            return None
        from ._ttl import when

        return when(self.state["end"])

    def _standing(self) -> dict[str, object] | None:
        if not self.state.get("interfaces"):
            return None
        from ._interfaces import standing

        return standing(self.state["interfaces"])

    def confirm(self, session: Session) -> dict[str, object]:
        """The second run: {"confirmed": bool, "rolled_back": bool, "how": sentence}; disarms the rollback on success."""
        self._take_engine()
        if not self.state:
            return {"confirmed": False, "rolled_back": False, "how": "no isolation of this case is recorded on the host"}
        if self.state.get("rolled_back_at"):
            return {"confirmed": False, "rolled_back": True, "how": "the rollback had fired before"}
        if self.state.get("confirmed"):
            return {"confirmed": True, "rolled_back": False, "how": "confirmed before"}
        if os.path.exists(self.work.file("undone-" + str(self.state.get("token", "")))):  # it is at work, and has not noted it yet
            return {"confirmed": False, "rolled_back": True, "how": "the rollback fired first"}
        first = self.state.get("session")
        first = first if isinstance(first, dict) else {}
        how = "over a fresh connection"
        if session.source == "none" or first.get("source") == "none":
            how = "no network peer: the connection does not pass the rules"
        elif (session.peer_address, session.peer_port) == (first.get("peer_address"), first.get("peer_port")):
            return {"confirmed": False, "rolled_back": False, "how": "the connection is the same as at apply, which proves nothing"}
        if not self._in_force() and not self._admits(session):
            return {"confirmed": False, "rolled_back": False,
                    "how": "the rules in the kernel are not those that were meant, so the connection proves nothing"}
        self._alone()
        token, kind = str(self.state.get("token", "")), str(self.state.get("timer", ""))
        if not disarm(self.work, token, kind, self.state.get("handle"), self.root):
            return {"confirmed": False, "rolled_back": True, "how": "the rollback fired first"}
        sweep(self.work)
        previous = self.state.get("previous")
        if isinstance(previous, dict) and previous.get("interfaces") and not self.state.get("lowered"):  # the first run did not live to lift them
            from ._interfaces import together

            self.state["interfaces"] = together(self.state.get("interfaces"), previous["interfaces"])
        self.state["confirmed"] = True
        self.state["previous"] = None
        if self.state.get("others") is None:
            self.state["others"] = read_others()
        self.work.update(isolation=self.state)
        return {"confirmed": True, "rolled_back": False, "how": how}

    def _in_force(self) -> bool:
        """Whether the rules for packets are those that are meant; for frames, interfaces may have come or gone."""
        if self.plan is None:
            return True
        return bool(self.before) and self.before.partition(FRAMES)[0] == self.after.partition(FRAMES)[0]

    def _admits(self, session: Session) -> bool:
        """Whether the plan's own management path holds a session, so that its rules cannot lock it out."""
        plan = self.plan
        return plan is not None and (session.source == "none" or (
            session.server_port in plan.ports and any(ip_address(session.peer_address) in network for network in plan.management)))

    def mend(self) -> None:
        """After the confirmation: rules that were never loaded whole, or that somebody took away since, are loaded again."""
        if self._in_force():
            return
        engine = self._take_engine()
        engine.load(self._rules)
        self._by_nft()
        self.frames()
        self.work.update(isolation=self.state)
        self._just_read = False
        self._mended = True

    def hold(self, persist: bool, watch: bool) -> None:
        """Hold a confirmed isolation over a reboot and against others, as is wanted; sets `changed` where it was not held like this."""
        if self.plan is None or not self.state.get("confirmed"):
            return
        if self._resumed or self.state.get("plan") != self.plan.as_dict():  # taken back, or damaged; the rules are the plan's
            self.state["plan"] = self.plan.as_dict()
            self.work.update(isolation=self.state)
        if not self._to_be_held(persist, watch):
            return
        self._alone()
        self._held_anew = self.holder.put(self._take_engine(), self.plan, persist, watch)
        self.changed = self.changed or self._held_anew

    def _to_be_held(self, persist: bool, watch: bool) -> bool:
        """Whether there is something to do for a unit, or one that is to go."""
        if not (self.held or persist or watch):
            return False
        if not self.held and not os.path.isdir(os.path.join(self.root, "run/systemd/system")):
            self._why_not_held = NO_SYSTEMD
            return False
        record = self.state.get("interfaces")
        names = record.get("names") if isinstance(record, dict) else None
        self.holder.down = [str(name) for name in names] if isinstance(names, list) else []
        return True

    def foretell_hold(self, persist: bool, watch: bool) -> None:
        """Check mode, for rules that stay as they are: sets `changed` where `hold` would do something."""
        if self.plan is not None and self.state.get("confirmed") and self._to_be_held(persist, watch):
            self.changed = self.holder.foretell(self._take_engine(), self.plan, persist, watch)

    @property
    def unit_change(self) -> dict[str, str] | None:
        """What is or was to be done to the unit, for a diff: {"before", "after", "unit"}."""
        change = self._holder.change if self._holder is not None else None
        return {**change, "unit": self.holder.unit} if change is not None else None

    def moves_deadline(self, ttl: object) -> bool:
        """Whether a confirmed isolation would end at another time than it does now; 0 is as good as None. Sets `end_change`, for a diff.
        Raises HostError where it cannot end by itself."""
        runs = ends(self.work.case, self.root)
        if not ttl and not runs:
            return False
        from ._ttl import Deadline

        change = Deadline(self.work, self.root).change(self.state.get("end"), ttl, runs)
        self.end_change = change or self.end_change
        return change is not None

    def foreseen(self, ttl: object) -> dict[str, object]:
        """For check mode, beside the rules: "changed", and "proof" with the interfaces where they are asked for."""
        found: dict[str, object] = {"changed": self.changed or self.moves_deadline(ttl)}
        if self.interfaces is not None:
            found["proof"] = {"interfaces": self.interfaces.predicted()}
        return found

    def end_after(self, ttl: object) -> None:
        """Have a confirmed isolation end by itself so many seconds from now, or not at all; the same number leaves it as it is."""
        if self.plan is None or not self.state.get("confirmed") or not self.moves_deadline(ttl):
            return
        from ._ttl import end_after

        self._alone()
        self._why_no_end = end_after(self, self._take_engine(), self.plan, ttl)
        self.changed = True

    def drift(self) -> list[dict[str, str]]:
        """What others did to the rules since they were confirmed: put back by the unit, or found just now."""
        found = self.holder.drift() if self.held else []
        if self.state.get("sabotaged_at"):
            found.append({"at": str(self.state["sabotaged_at"]),
                          "what": "access sabotaged: connections of the responder arrived and nobody got in; the host stayed isolated"})
        if self.rolled_back_at:
            found.append({"at": self.rolled_back_at, "what": "the isolation before this one was taken back: nobody had confirmed it"})
        if self.interfaces is not None and self.interfaces.again:
            found.append({"at": "", "what": "{0} interfaces had been taken up again before this run".format(len(self.interfaces.again))})
        if self.ended_at:
            found.append({"at": self.ended_at, "what": "the isolation before this one {0}: its time (ttl) was over".format(
                "was to end by itself, and commands of that failed" if self.end_failed else "ended by itself")})
        if self._mended:
            found.append({"at": "", "what": "the rules were not whole when the isolation was confirmed, and were loaded again"})
        if self._drifted:
            found.append({"at": "", "what": "the rules had been changed or removed before this run"})
        return found
