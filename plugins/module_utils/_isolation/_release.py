# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back of an isolation that is in force: ends what must not come back to life, then takes our rules away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._arguments import strings
from .._errors import HostError, OptionError
from .._host._journal import tell
from .._host._sockets import read_sockets
from .._host._workdir import elsewhere, unknown_here
from .._remains import evidence
from .._text import printable
from ._commands import HELD, INET, NO_SYSTEMD, ends, table_exists
from ._control import Isolation, read_others
from ._cut import FRAMES
from ._policy import Plan, from_dict
from ._rollback import disarm, sweep
from ._run import result_of

if TYPE_CHECKING:
    from .._host._session import Session
    from .._host._workdir import Workdir


def _not_ended(tracked: object) -> int:
    """Forwarded connections whose ends were out of reach, of what `_tracked.end` has told."""
    count = tracked.get("not_ended") if isinstance(tracked, dict) else 0
    return count if isinstance(count, int) else 0


def _changes(others: object) -> list[str]:
    """What others have changed since the reading `others`."""
    now = read_others() if others is not None else None
    if others is None or others == now:
        return []
    from . import _others

    return _others.changes(others, now)


class Release(Isolation):
    """The isolation of this host for one case, to be taken away, by whichever backend it was made."""

    def ended(self) -> list[str]:
        """A sentence where the isolation has ended by itself before it was released."""
        at = str(self.state.get("ended_at") or "")
        if at and self.state.get("end_failed"):
            return ["the isolation was to end by itself at {0}, when its time (ttl) was over, and commands of that failed".format(printable(at, 40))]
        return ["the isolation had ended by itself at {0}: its time (ttl) was over".format(printable(at, 40))] if at else []

    def look_for_release(self) -> None:
        """Read what a release would remove: sets before, changed."""
        self._take_engine()
        self._resume()
        self._after = ""
        self.changed = bool(self.before) or self.held or table_exists(INET, HELD) is True or (
            bool(self.state) and not (self.state.get("rolled_back_at") or self.state.get("ended_at"))) or ends(self.work.case, self.root)

    def release(self, session: Session) -> dict[str, object]:
        """End forbidden sockets, then take our rules away and disarm: counts of `destroy`, and for the result "rules_were_gone",
        "residual" (what our calls made in the kernel and nothing takes away), "changed_by_others" and "may_go_on" (connections that the
        host forwarded, whose ends are on other systems)."""
        engine = self._take_engine()
        self.look_for_release()
        tables = self.state.get("tables")
        tables = tables if isinstance(tables, dict) else {}
        if not self.changed:
            if self.state:
                sweep(self.work)
                self.work.update(isolation=None)
            return {"destroyed": 0, "gone": 0, "remaining": [], "rules_were_gone": False, "left": [], "residual": engine.residual(tables),
                    "changed_by_others": [], "gone_meanwhile": [], "may_go_on": 0}
        self._alone()
        changed_by_others = _changes(self.state.get("others"))
        plan = self.state.get("plan")
        try:
            self.plan = from_dict(plan, session) if isinstance(plan, dict) else Plan([], [], [], session)
        except (HostError, OptionError):  # whoever damaged it shall not keep the host isolated by that
            self.plan = Plan([], [], [], session)
        ended = self.destroy(self.flows(read_sockets(os.path.join(self.root, "proc"))))
        forwarded = [self.state.get("conntrack"), self._tracked_no_more()]
        fell_back = self.holder.fell_back
        self.holder.remove()
        self._perform(self._way_back({}, tables))
        residual = self.holder.take_stand_in_away() if fell_back else []
        still = engine.live()
        if FRAMES in still or engine.holds(still):
            raise HostError("release: our rules could not be removed; the host is still isolated")
        left = ["rules of somebody else lead to our chains of iptables, which are empty and cannot be removed"] if still else []
        if self.state.get("token") and not self.state.get("confirmed"):
            disarm(self.work, str(self.state["token"]), str(self.state.get("timer", "")), self.state.get("handle"), self.root)
        if ends(self.work.case, self.root):
            from ._ttl import Deadline

            left += Deadline(self.work, self.root).remove()
        record = self.in_force().get("interfaces") or self.state.get("interfaces")
        meanwhile: list[str] = []
        if isinstance(record, dict):
            from ._interfaces import give_back

            refused, meanwhile = give_back(record)
            left += refused
        sweep(self.work)
        self.work.update(isolation=None)
        left += [self.holder.why] if self.holder.why not in ("", NO_SYSTEMD) else []
        return {**ended, "rules_were_gone": not self.before, "left": left, "residual": [*engine.residual(tables), *residual],
                "changed_by_others": changed_by_others, "gone_meanwhile": meanwhile, "may_go_on": sum(_not_ended(one) for one in forwarded)}


def run(work: Workdir, session: Session, check_mode: bool, diff: bool) -> dict[str, object]:
    """The result of a release, or in check mode of one to come. Raises FirebreakError."""
    isolation = Release(work, None)  # by whichever backend it was made
    isolation.look_for_release()
    if diff:
        isolation.choose_interfaces(False)
        isolation.moves_deadline(None)
    reasons = [] if isolation.changed else elsewhere(work)
    beside = [*([] if reasons or isolation.changed else unknown_here(work)), *evidence(work), *isolation.ended()]
    if check_mode:
        return result_of(isolation, "would_be " + ("partial" if reasons else "released"), [*reasons, *beside], [], diff)
    drift = isolation.drift()  # what the unit has written goes with it
    ended = isolation.release(session)
    remaining = ended["remaining"]
    if isinstance(remaining, list) and remaining:
        reasons.append("{0} forbidden connections could not be ended and may come back to life".format(len(remaining)))
    reasons += strings(ended["left"])
    if isolation.changed:
        tell(work.case, "isolation released")
    verdict = "partial" if reasons else "released"
    if ended["rules_were_gone"]:
        reasons.append("somebody else had removed the rules before; what was left was cleaned up")
    told_of: dict[str, object] = {key: strings(ended[key]) for key in ("residual", "changed_by_others")}
    if told_of["changed_by_others"]:
        reasons.append("what others have in the firewall has changed since the isolation was confirmed; it stays as it is")
    if ended["may_go_on"]:
        reasons.append("{0} connections that the host forwarded for others were cut; their ends may take them up again".format(ended["may_go_on"]))
    reasons += [*strings(ended["gone_meanwhile"]), *beside]
    return {**result_of(isolation, verdict, reasons, [], diff), **told_of, "drift": drift}
