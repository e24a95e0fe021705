# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Up to the cut: read what is in force and what should be, arm the way back, put the rules in force."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from .._errors import HostError, OptionError
from .._host._workdir import Workdir, siblings
from . import _backends
from ._commands import Trial, held_for
from ._policy import OBSERVE, Plan, from_dict, silent_of
from ._rollback import MARKS, Rollback, disarm

if TYPE_CHECKING:
    from ._holder import Holder
    from ._interfaces import Interfaces

FRAMES = "table netdev "  # where the rules for frames begin in a listing
# Seconds for which a wider way in waits at least: the controller looks once more when the first interval is over.
_SECOND_INTERVAL = 30


def _stands(state: dict[str, object]) -> bool:
    """Whether an isolation is in force for good: confirmed, or held though nobody could."""
    return any(bool(state.get(key)) for key in ("confirmed", "held_at", "sabotaged_at"))


class Cut:
    """The isolation of this host for one case, as far as the cut; `_control.Isolation` is the whole of it.

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
        self._engine: _backends.Engine | None = None
        self._rules: dict[str, str] = {}
        self._frames = ""
        self._in_case: list[dict[str, object]] = []
        self._late = False
        self._trial: Trial | None = None
        self._after: str | None = None
        self._rollback: Rollback | None = None
        self._lock = -1
        self._loaded = False
        self._just_read = False
        self._old: dict[str, object] = {}
        self._holder: Holder | None = None
        self.interfaces: Interfaces | None = None
        self._past: object = None
        self._resumed = False
        self._drifted = False
        self.rolled_back_at = ""
        self.ended_at = ""
        self.end_failed = False

    def _take_engine(self) -> _backends.Engine:
        """The backend; for an isolation in force the one that it was made with. Sets `before`."""
        if self._engine is not None:
            return self._engine
        self.state = self.state_of()
        engine, reason = _backends.choose(self.wanted, self.root)
        before = engine.live()
        if not engine.holds(before):
            # The kernel's nftables answers at once; iptables is asked only where a work folder or the kernel speaks of chains of ours.
            name = "nftables" if engine.name == "iptables" else "iptables"
            if name == "nftables" or "iptables" in self._recorded() or _backends.by_iptables(self.root):
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
        clsact = self.in_force().get("clsact")
        engine.layer2.had = [str(name) for name in clsact] if isinstance(clsact, list) else None
        self.backend, self.backend_reason = engine.name, reason
        # The rules say whose they are, and the unit that holds them does, even where the rules themselves were taken away.
        for holder in [engine.holder(before), *held_for(self.root)]:
            if holder and holder != self.work.case:
                raise HostError("case {0} holds the isolation of this host; release it there first. Nothing was changed".format(holder))
        return engine

    def in_force(self) -> dict[str, object]:
        """What the work folder says of what is in force: where the last change was taken back, that is what was there before it."""
        if not self.state.get("rolled_back_at"):
            return self.state
        previous = self.state.get("previous")
        return previous if isinstance(previous, dict) else {}

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
        if engine.holds(self.before) and not self._just_read:
            self.rolled_back_at = self._resume()
        if not self.state.get("rolled_back_at"):  # who was a suspect's peer at the cut is known from there alone
            self.plan.silence(silent_of(self.state.get("plan")))
        self._rules = engine.rules(self.plan, self.work.case)
        self._frames = engine.layer2.text(self.plan)
        if self.required:
            engine.layer2.check(self._frames)
        # What is in force and can neither be taken for confirmed nor be confirmed any more is applied anew.
        self.changed = not self.before or self.before != self.after or not (self.state.get("confirmed") or self._waits())
        left = str(self.state.get("listing") or "")
        if self.changed and self.state.get("confirmed") and self.state.get("plan") == self.plan.as_dict() and not self.state.get("ended_at"):
            # More devices than there were are nobody's doing; rules for packets that differ are, and so are rules for frames that are gone.
            (was, frames_were), (now, frames_now) = ((text.partition(FRAMES)[0], FRAMES in text) for text in (left, self.before))
            self._drifted = now != was or frames_were and not frames_now or engine.layer2.lost(left, self.before)

    def _resume(self) -> str:
        """Where the last change was taken back, what was before it is in force again: go by the state of that. When it was, or ""."""
        at, previous = str(self.state.get("rolled_back_at") or ""), self.state.get("previous")
        if not at or not isinstance(previous, dict) or self.state.get("ended_at"):
            return ""
        self.state, self._resumed = previous, True
        return at

    def choose_interfaces(self, wanted: bool) -> None:
        """After `inspect`: which interfaces go down, or come up again since it is not `wanted` any more. Raises HostError."""
        record = None if self.state.get("rolled_back_at") or self.state.get("ended_at") else self.state.get("interfaces")
        if not (wanted or record):
            return
        from ._interfaces import Interfaces  # few ask for it

        self.interfaces = Interfaces(record, self.root)
        if wanted and self.plan is not None:
            self.interfaces.choose(self.plan, self.plan.session, self.state.get("plan") == self.plan.as_dict())
        else:
            self.interfaces.give_up()
        self.changed = self.changed or self.interfaces.changes

    def _waits(self) -> bool:
        """Whether a confirmation of the isolation in force is still taken."""
        token = str(self.state.get("token", ""))
        return any(os.path.exists(self.work.file(mark + token)) for mark in MARKS)

    def inspect_again(self) -> None:
        """For the second run: `after` is what the first one wrote down with the plan, which comes from there too."""
        listing, by = self.state_of().get("listing"), self.state_of().get("proved_by")
        if isinstance(listing, str) and isinstance(by, str):
            self._after, self.proved_by = listing, by
        self._just_read = True  # what is there is proved at once: on every host of a fleet, so nft is not asked twice
        self.inspect()

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
        return self._after

    def _try_out(self) -> None:
        engine, plan = self._take_engine(), self.plan
        if plan is not None:
            self._trial = Trial(lambda: engine.try_out(self._rules, plan))

    def arm(self, confirm_within: int, on_lost: str = "widen", then: str = "release", **more: object) -> None:
        """Write the way back and start the timer that takes it. Does not wait for the timer. `on_lost`, `then`: what it does;
        `more`: what else the work folder is to hold, for each writing costs time before the cut."""
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
        self.rolled_back_at = self.rolled_back_at or str(self.state.get("rolled_back_at") or "")
        self.ended_at, self.end_failed = str(self.state.get("ended_at") or ""), bool(self.state.get("end_failed"))
        self._rollback = Rollback(self.work, self.root)
        old, wide = self.state, self._wider() if on_lost == "widen" else None  # before the way back, which takes its chains away too
        session = self.plan.session
        self._in_case = [] if self.required else engine.layer2.in_case()
        self.state = {
            "backend": engine.name, "plan": self.plan.as_dict(), "rules": self._rules, "tables": known,
            "session": dict(zip(session._fields, session)), "token": self._rollback.token, "confirmed": False,
            "armed_at": round(time.time(), 3), "confirm_within": confirm_within,
            "frames": self._frames, "previous": previous or None,
            "back": [*self._way_back(previous, known), *self._in_case, *self._interfaces_back(previous)],
            "interfaces": self.interfaces.record if self.interfaces is not None else None,
            "on_lost": on_lost, "then": then, "second_interval": max(confirm_within, _SECOND_INTERVAL),
            "knocks": engine.knocks(self.plan), "wide": wide,
            "others": self.state.get("others") if self.before else None,
            "clsact": engine.layer2.had if self.before else None,
        }
        self.work.update(isolation=self.state, rolled_back_at=None, **more)
        self._rollback.start(confirm_within)
        self._old = old

    def silence(self, addresses: list[str]) -> None:
        """Before the cut: what is sent to these, with whom suspects talk, is dropped without a word, so that who tries again learns nothing."""
        if self.plan is None or self.observes or not self.plan.silence(addresses):
            return
        self._rules = self._take_engine().rules(self.plan, self.work.case)
        self._after = self._trial = None
        self.state.update(plan=self.plan.as_dict(), rules=self._rules)
        if self.state.get("wide"):
            self.state["wide"] = self._wider()

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
            if self.held or self.before:  # what it would put back are the old rules
                self.holder.stop(unseen=True)
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
            self._by_nft()
        if self._trial is None and self._after is None:
            self._try_out()
        if self._old.get("token") and not self._old.get("confirmed"):
            disarm(self.work, str(self._old["token"]), str(self._old.get("timer", "")), self._old.get("handle"), self.root)
        self.work.update(isolation=self.state)

    def _by_nft(self) -> None:
        """Hold frames back by nft; where it cannot, `frames` is to follow."""
        if self._take_engine().layer2.load(self._frames):
            self._keep_in_case(False)
        else:
            self._late = True

    def frames(self) -> None:
        """Where nft did not hold frames back, have tc do so: it takes 10 ms, for which the kills need not wait."""
        if not self._late or self.plan is None:
            return
        self._late = False
        layer2 = self._take_engine().layer2
        by_tc = layer2.load_by_tc(self.plan)
        if by_tc:
            self.state.update(clsact=layer2.had, wide=self._wider() if self.state.get("wide") else None)
        self._keep_in_case(by_tc)
        self.work.update(isolation=self.state)

    def _keep_in_case(self, needed: bool) -> None:
        """The way back was written for nft and for tc; what is not needed of it goes."""
        back = self.state.get("back")
        if isinstance(back, list) and not needed:
            self.state["back"] = [step for step in back if step not in self._in_case]

    def _way_back(self, previous: dict[str, object], tables: dict[str, list[str]]) -> list[dict[str, object]]:
        """Commands that bring back the isolation that a state describes, or none."""
        engine, rules = self._take_engine(), previous.get("rules")
        again = self.holder.start_again() if previous and self.held else []
        frames = engine.layer2.back(str(previous.get("frames") or ""), lambda: self._plan_of(previous))
        return [*engine.back(rules if isinstance(rules, dict) else None, tables), *frames, *again]

    def _plan_of(self, state: dict[str, object]) -> Plan | None:
        plan = state.get("plan")
        try:
            return from_dict(plan, self.plan.session) if isinstance(plan, dict) and self.plan is not None else None
        except (HostError, OptionError):
            return None

    def _interfaces_back(self, previous: dict[str, object]) -> list[dict[str, object]]:
        if self.interfaces is None:
            return []
        from ._interfaces import back

        return back(self.interfaces.record, previous.get("interfaces"))

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
        return {"plan": plan.as_dict(), "rules": rules, "frames": frames, "steps": [*engine.back(rules, {}), *engine.layer2.back(frames, lambda: plan)]}
