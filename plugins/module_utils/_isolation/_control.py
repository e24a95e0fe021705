# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Isolation as the steps see it: inspect, arm, cut, destroy, prove, confirm, release."""

from __future__ import annotations

import fcntl
import os
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from .._errors import HostError
from .._host._sock_diag import destroy
from .._host._sockets import own_addresses, read_sockets
from .._host._workdir import Workdir, siblings
from . import _backends, _others
from ._commands import Trial, held_for
from ._policy import OBSERVE, Plan, from_dict
from ._rollback import Rollback, disarm, sweep

if TYPE_CHECKING:
    from ._holder import Holder
    from .._host._session import Session
    from .._host._sockets import Socket

# States of TCP in which nothing can be delivered any more, or nothing ever was.
_NO_FLOW = ("LISTEN", "CLOSE", "TIME_WAIT")
_FRAMES = "table netdev "
# Seconds for which a wider way in waits at least: the controller looks once more when the first interval is over.
_SECOND_INTERVAL = 30
NOT_HELD = {"unit": "", "persist": False, "watch": False, "owner": False, "why": ""}
_MAY_DELIVER = ("ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING")


def _stands(state: dict[str, object]) -> bool:
    """Whether an isolation is in force for good: confirmed, or held though nobody could."""
    return any(bool(state.get(key)) for key in ("confirmed", "held_at", "sabotaged_at"))


class Isolation:
    """The isolation of this host for one case.

    before, after: our part of the firewall now and as it should be; changed: whether they differ; state: what the
    work folder says of the isolation in force (never believed about the rules, which are read from the kernel).
    """

    def __init__(self, work: Workdir, plan: Plan | None, backend: str = "auto", root: str = "/", layer2: str = "auto") -> None:
        self.work = work
        self.plan = plan
        self.root = root
        self.wanted = backend
        self.required = layer2 == "required"
        self.before = ""
        self.changed = False
        self.backend = ""
        self.backend_reason = ""
        self.proved_by = "private network"
        self.state: dict[str, object] = {}
        self.cut_flows: list[Socket] = []
        self._engine: _backends.Engine | None = None
        self._rules: dict[str, str] = {}
        self._frames = ""
        self._trial: Trial | None = None
        self._after: str | None = None
        self._rollback: Rollback | None = None
        self._lock = -1
        self._loaded = False
        self._just_read = False
        self._old: dict[str, object] = {}
        self._holder: Holder | None = None
        self._held_anew = False
        self._drifted = False
        self._mended = False
        self.rolled_back_at = ""

    def _take_engine(self) -> _backends.Engine:
        """The backend; for an isolation in force the one that it was made with. Sets `before`."""
        if self._engine is not None:
            return self._engine
        self.state = self.state_of()
        engine, reason = _backends.choose(self.wanted, self.root)
        before = engine.live()
        if not engine.holds(before):
            # The kernel's nftables answers at once; iptables is asked only where a work folder speaks of it.
            name = "nftables" if engine.name == "iptables" else "iptables"
            if name == "nftables" or "iptables" in self._recorded():
                try:
                    other, _reason = _backends.choose(name, self.root)
                    theirs = other.live()
                except HostError:
                    theirs = ""
                there = bool(theirs) and other.holds(theirs)
                if there and self.wanted == engine.name:
                    raise HostError("backend: this host is isolated with {0}; release it before taking {1}. Nothing was changed".format(
                        other.name, engine.name))
                if there:
                    engine, reason, before = other, "the isolation in force uses it", theirs
        self._engine, self.before = engine, before
        self.backend, self.backend_reason = engine.name, reason
        # The rules say whose they are, and the unit that holds them does, even where the rules themselves were taken away.
        for holder in [engine.holder(before), *held_for(self.root)]:
            if holder and holder != self.work.case:
                raise HostError("case {0} holds the isolation of this host; release it there first. Nothing was changed".format(holder))
        return engine

    @property
    def observes(self) -> bool:
        """Whether the plan cuts nothing and only counts."""
        return self.plan is not None and self.plan.mode == OBSERVE

    @property
    def cuts_already(self) -> bool:
        """Whether what is in force cuts the host off."""
        plan = self.state.get("plan")
        return bool(self.before) and not (isinstance(plan, dict) and plan.get("mode") == OBSERVE)

    def counted(self) -> dict[str, int]:
        """Packets that would have been cut."""
        return self._take_engine().counted()

    @property
    def holder(self) -> Holder:
        """The unit that holds the isolation, or could."""
        if self._holder is None:
            from ._holder import Holder  # not before there is something to hold: in a fleet, imports are what takes time

            self._holder = Holder(self.work, self.root)
        return self._holder

    @property
    def held(self) -> bool:
        """Whether a unit holds the isolation of this case."""
        return self.work.case in held_for(self.root)

    def _recorded(self) -> list[object]:
        """The backends that the work folders of this host speak of."""
        states = [self.state, *(state.get("isolation") for _case, state in siblings(self.work))]
        return [state.get("backend") for state in states if isinstance(state, dict)]

    def inspect(self) -> None:
        """Read what is in force and what should be. On a host that is not isolated nothing is waited for."""
        if self.plan is None:
            raise ValueError("a plan is needed")
        engine = self._take_engine()
        self._rules = engine.rules(self.plan, self.work.case)
        self._frames = engine.layer2.text(self.plan)
        if self.required:
            engine.layer2.check(self._frames)
        self.changed = not self.before or self.before != self.after
        left = str(self.state.get("listing") or "")
        if self.changed and self.state.get("confirmed") and self.state.get("plan") == self.plan.as_dict():
            # More devices than there were are nobody's doing; rules for packets that differ are, and so are rules for frames that are gone.
            (was, frames_were), (now, frames_now) = ((text.partition(_FRAMES)[0], _FRAMES in text) for text in (left, self.before))
            self._drifted = now != was or frames_were and not frames_now

    def inspect_again(self) -> None:
        """For the second run: `after` is what the first one wrote down with the plan, which comes from there too."""
        listing, by = self.state_of().get("listing"), self.state_of().get("proved_by")
        if isinstance(listing, str) and isinstance(by, str):
            self._after, self.proved_by = listing, by
        self.inspect()
        self._just_read = True  # and what is there is proved at once: on every host of a fleet, so nft is not asked twice

    def state_of(self) -> dict[str, object]:
        """What the work folder says of this case's isolation; empty where it says nothing."""
        state = self.work.read().get("isolation")
        return state if isinstance(state, dict) else {}

    @property
    def after(self) -> str:
        """The canonical listing: our rules as the host's own program lists them, loaded in a private network."""
        if self._after is None:
            engine = self._take_engine()
            if self._trial is None:
                self._try_out()
            listing = self._trial.result() if self._trial is not None else None
            if not listing:
                self.proved_by = "work folder"
                same = self.plan is not None and self.state.get("plan") == self.plan.as_dict()
                stored = self.state.get("listing") if same else None
                if stored is None and self._loaded:  # what nft shows right after it took the rules
                    stored = engine.live()
                listing = stored if isinstance(stored, str) else "".join(self._rules.values())
            self._after = listing
            if self._loaded:
                self.state.update(listing=listing, proved_by=self.proved_by)
                self.work.update(isolation=self.state)
        return self._after

    def _try_out(self) -> None:
        engine, plan = self._take_engine(), self.plan
        if plan is not None:
            self._trial = Trial(lambda: engine.try_out(self._rules, plan))

    def arm(self, confirm_within: int, on_lost: str = "widen", then: str = "release") -> None:
        """Write the way back and start the timer that takes it. Does not wait for the timer. `on_lost`, `then`: what it does."""
        if self.plan is None:
            raise ValueError("a plan is needed")
        engine = self._take_engine()
        self.work.make()
        self._alone()
        previous = self.state if self.before and self.state.get("rules") else {}
        if previous and not _stands(previous):
            held = previous.get("previous")
            previous = held if isinstance(held, dict) else {}
        tables = self.state.get("tables") if self.before else None
        known = tables if isinstance(tables, dict) else engine.tables()
        self.rolled_back_at = str(self.state.get("rolled_back_at") or "")
        self._rollback = Rollback(self.work, self.root)
        old = self.state
        session = self.plan.session
        self.state = {
            "backend": engine.name, "plan": self.plan.as_dict(), "rules": self._rules, "tables": known,
            "session": dict(zip(session._fields, session)), "token": self._rollback.token, "confirmed": False,
            "armed_at": round(time.time(), 3), "confirm_within": confirm_within,
            "frames": self._frames, "back": self._way_back(previous, known), "previous": previous or None,
            "on_lost": on_lost, "then": then, "second_interval": max(confirm_within, _SECOND_INTERVAL),
            "knocks": engine.knocks(self.plan), "wide": self._wider() if on_lost == "widen" else None,
            "others": self.state.get("others") if self.before else None,
        }
        self.work.update(isolation=self.state, rolled_back_at=None)
        self._rollback.start(confirm_within)
        self._old = old

    def prepare(self) -> None:
        """Start early what the cut will need; it changes nothing by itself."""
        self._take_engine().prepare()

    def _alone(self) -> None:
        """One run at a time on this host."""
        if self._lock >= 0:
            return
        self._lock = os.open(self.work.root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HostError("another Firebreak run is at work on this host; nothing was changed. Run again when it is done") from error

    def cut(self) -> None:
        """Put the rules in force, once the way back is armed for sure; `settle` is to follow.

        Raises HostError; the host is as before then.
        """
        engine, rollback = self._take_engine(), self._rollback
        if rollback is None:
            raise ValueError("arm first")
        rollback.ready()
        self.state.update(timer=rollback.kind, handle=rollback.handle)
        try:
            # What came before the cut may have taken longer than the way back waits: without it there is no cut.
            if not rollback.armed:
                raise HostError("rollback: it fired before the cut was made, as reading the host took too long; nothing is in force")
            if self.held:  # what it would put back are the old rules
                self.holder.stop()
            engine.load(self._rules)
            if self.required and not engine.layer2.load(self._frames):
                raise HostError("layer2: required was asked for, but {0}; nothing is in force".format(engine.layer2.why))
            if not rollback.armed:
                raise HostError("rollback: it fired while the cut was made; nothing is in force")
        except HostError:
            self._perform(self.state["back"])
            disarm(self.work, rollback.token, rollback.kind, rollback.handle, self.root)
            self.work.update(isolation=self._old or None)
            raise
        self._loaded = True

    def settle(self) -> None:
        """After the cut: write it down, and begin to work out what the kernel should show."""
        engine = self._take_engine()
        if self.proved_by != "private network":
            self._after = None
        if not self.required:
            engine.layer2.load(self._frames)
        if self._trial is None and self._after is None:
            self._try_out()
        if self._old.get("token") and not self._old.get("confirmed"):
            disarm(self.work, str(self._old["token"]), str(self._old.get("timer", "")), self._old.get("handle"), self.root)
        self.work.update(isolation=self.state)

    def _way_back(self, previous: dict[str, object], tables: dict[str, list[str]]) -> list[dict[str, object]]:
        """Commands that bring back the isolation that a state describes, or none."""
        engine, rules = self._take_engine(), previous.get("rules")
        again = self.holder.start_again() if previous and self.held else []
        return [*engine.back(rules if isinstance(rules, dict) else None, tables), *engine.layer2.back(str(previous.get("frames") or "")), *again]

    @staticmethod
    def _perform(steps: object) -> int:
        from . import _undo

        return _undo.perform(steps if isinstance(steps, list) else [])

    def _wider(self) -> dict[str, object] | None:
        """The isolation with a wider way in, and the commands that make it so; None where it would be the same."""
        engine, plan = self._take_engine(), self.plan.widened() if self.plan is not None else None
        if plan is None:
            return None
        rules, frames = engine.rules(plan, self.work.case, fresh=True), engine.layer2.text(plan)
        return {"plan": plan.as_dict(), "rules": rules, "frames": frames, "steps": [*engine.back(rules, {}), *engine.layer2.back(frames)]}

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

    def proof(self, sockets: list[Socket] | None = None) -> dict[str, object]:
        """What can be shown from inside, now; `sockets` as for `remaining`."""
        from ._probe import probe

        engine = self._take_engine()
        live = self.before if self._just_read else engine.live()
        session = self.plan.session if self.plan is not None else None
        return {
            "mode": self.plan.mode if self.plan is not None else "",
            "leases": [str(network) for network in self.plan.leases] if self.plan is not None else [],
            "ruleset": bool(live) and live == self.after,
            "ruleset_against": self.proved_by,
            "rollback": self.state.get("timer"),
            "layer2": engine.layer2.report(live, self.after),
            "flows_remaining": 0 if self.observes else len(self.remaining(sockets)),
            "probe": None if self.observes else probe(),
            "management": {
                "networks": self.plan.as_dict()["management"] if self.plan is not None else [],
                "ports": self.plan.ports if self.plan is not None else [],
                "peer": session.peer_address if session is not None else "",
                "source": session.source if session is not None else "none",
            },
            "widened": bool(self.state.get("widened_at")),
            "hold": self.holder.report(self._held_anew) if self.held or self._holder is not None else NOT_HELD,
            "confirmed": True if self.state.get("confirmed") else None,
        }

    def confirm(self, session: Session) -> dict[str, object]:
        """The second run: {"confirmed": bool, "rolled_back": bool, "how": sentence}; disarms the rollback on success."""
        self._take_engine()
        if not self.state:
            return {"confirmed": False, "rolled_back": False, "how": "no isolation of this case is recorded on the host"}
        if self.state.get("rolled_back_at"):
            return {"confirmed": False, "rolled_back": True, "how": "the rollback had fired before"}
        if self.state.get("confirmed"):
            return {"confirmed": True, "rolled_back": False, "how": "confirmed before"}
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
        self.state["confirmed"] = True
        self.state["previous"] = None
        if self.state.get("others") is None:
            self.state["others"] = _others.read()
        self.work.update(isolation=self.state)
        return {"confirmed": True, "rolled_back": False, "how": how}

    def _in_force(self) -> bool:
        """Whether the rules for packets are those that are meant; for frames, interfaces may have come or gone."""
        if self.plan is None:
            return True
        return bool(self.before) and self.before.partition(_FRAMES)[0] == self.after.partition(_FRAMES)[0]

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
        engine.load(engine.rules(self.plan, self.work.case) if self.plan is not None else self._rules)
        engine.layer2.load(self._frames)
        self._just_read = False
        self._mended = True

    def hold(self, persist: bool, watch: bool) -> None:
        """Hold a confirmed isolation over a reboot and against others, as is wanted; sets `changed` where it was not held like this."""
        if self.plan is None or not self.state.get("confirmed"):
            return
        if not self.held and not (persist or watch):
            return
        self._alone()
        self._held_anew = self.holder.put(self._take_engine(), self.plan, persist, watch)
        self.changed = self.changed or self._held_anew

    def drift(self) -> list[dict[str, str]]:
        """What others did to the rules since they were confirmed: put back by the unit, or found just now."""
        found = self.holder.drift() if self.held else []
        if self.state.get("sabotaged_at"):
            found.append({"at": str(self.state["sabotaged_at"]),
                          "what": "access sabotaged: connections of the responder arrived and nobody got in; the host stayed isolated"})
        if self.rolled_back_at:
            found.append({"at": self.rolled_back_at, "what": "the isolation before this one was taken back: nobody had confirmed it"})
        if self._mended:
            found.append({"at": "", "what": "the rules were not whole when the isolation was confirmed, and were loaded again"})
        if self._drifted:
            found.append({"at": "", "what": "the rules had been changed or removed before this run"})
        return found

    def look_for_release(self) -> None:
        """Read what a release would remove: sets before, changed."""
        self._take_engine()
        self._after = ""
        self.changed = bool(self.before) or self.held or (bool(self.state) and not self.state.get("rolled_back_at"))

    def release(self, session: Session) -> dict[str, object]:
        """End forbidden sockets, then take our rules away and disarm: counts of `destroy`, and for the result "rules_were_gone",
        "residual" (what our calls made in the kernel and nothing takes away) and "changed_by_others"."""
        engine = self._take_engine()
        self.look_for_release()
        tables = self.state.get("tables")
        tables = tables if isinstance(tables, dict) else {}
        if not self.changed:
            if self.state:
                sweep(self.work)
                self.work.update(isolation=None)
            return {"destroyed": 0, "gone": 0, "remaining": [], "rules_were_gone": False, "residual": engine.residual(tables),
                    "changed_by_others": []}
        self._alone()
        others = self.state.get("others")
        changed_by_others = _others.changes(others, _others.read()) if others is not None else []
        plan = self.state.get("plan")
        self.plan = from_dict(plan, session) if isinstance(plan, dict) else Plan([], [], [], session)
        ended = self.destroy(self.flows(read_sockets(os.path.join(self.root, "proc"))))
        fell_back = False
        if self.held:
            fell_back = self.holder.fell_back
            self.holder.remove()
        self._perform(self._way_back({}, tables))
        if fell_back:
            self._perform(_backends.unhook(self.root))
        if engine.live():
            raise HostError("release: our rules could not be removed; the host is still isolated")
        if self.state.get("token") and not self.state.get("confirmed"):
            disarm(self.work, str(self.state["token"]), str(self.state.get("timer", "")), self.state.get("handle"), self.root)
        sweep(self.work)
        self.work.update(isolation=None)
        return {**ended, "rules_were_gone": not self.before, "residual": engine.residual(tables), "changed_by_others": changed_by_others}
