# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module `isolation`: options in, result out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Mapping

from .._arguments import strings
from .._errors import HostError, OptionError
from .._host._files import read_regular
from .._host._journal import tell
from .._host._netstate import dump
from .._host._processes import first_look
from .._host._session import Session, management_session
from .._host._sockets import owners, read_sockets
from .._host._workdir import Workdir, told_damage
from .._text import printable
from ._commands import NO_SYSTEMD
from ._control import Isolation
from ._layer2_backend import LATE
from ._leases import networks
from ._not_covered import not_covered
from ._policy import OBSERVE, Plan, from_dict, make_plan, way_in

if TYPE_CHECKING:
    from ._leases import Network
    from .._host._processes import Process
    from .._host._sockets import Socket
    from ._preflight import Risk

_FLOWS_SHOWN = 1000


def run(params: Mapping[str, object], check_mode: bool, diff: bool = False) -> dict[str, object]:
    """The result. Raises FirebreakError; nothing was changed then unless its message says so."""
    if os.geteuid() != 0:
        raise HostError("isolation needs root on the host; nothing was changed. Set become: true")
    work = Workdir(str(params["case"]), writable=not check_mode)
    if params["_checkpoint"] and not check_mode:
        tell(work.case, str(params["_checkpoint"]))
    processes, sockets = first_look(), read_sockets()
    session = management_session(processes, sockets)
    if params["state"] == "released":
        from ._release import run as release  # not where there is nothing to release: in a fleet, imports are what takes time

        result = release(work, session, check_mode, diff)
    elif params["_phase"] == "finish":
        result = finish(work, params, session, sockets, diff)
        if result.get("rolled_back"):
            from .._remains import told as remaining

            result = remaining(work, result)
    else:
        result = _isolate(work, params, session, processes, sockets, check_mode, diff)
    return told_damage(work, result, params["state"] == "released")


def plan_of(params: Mapping[str, object], session: Session, transport: str) -> Plan:
    """The plan that the module's options ask for; `transport`: of the connection. Raises PolicyError, OptionError, HostError."""
    seconds = params["confirm_within"]
    if not isinstance(seconds, int) or not 5 <= seconds <= 3600:
        raise OptionError("confirm_within", seconds, "must be from 5 to 3600 seconds")
    mode = str(params["mode"])
    if mode == OBSERVE and params["layer2"] == "required":
        raise OptionError("layer2", "required", "must not be required with mode: observe, which holds nothing back")
    return make_plan(
        session, strings(params["allow"]), strings(params["management"]), strings(params["management_networks"]), transport, mode, leases())


def leases() -> list[Network]:
    """Where servers may answer from that this host has addresses of for a time only."""
    try:
        return networks(dump("addresses"))
    except OSError:
        return []


def _isolate(
    work: Workdir, params: Mapping[str, object], session: Session, processes: dict[int, Process],
    sockets: list[Socket], check_mode: bool, diff: bool,
) -> dict[str, object]:
    isolation = Isolation(work, plan_of(params, session, str(params["_transport"])), str(params["backend"]), layer2=str(params["layer2"]))
    isolation.inspect()
    risks = preflight(isolation, params, session, processes)
    if check_mode:
        return predicted(isolation, params, sockets, processes, diff, risks)
    if not isolation.changed:
        flows = isolation.remaining()
        described = describe(flows, processes)
        isolation.destroy(flows)
        hold(isolation, params)
        return {**judged(isolation, described, diff), **told(risks)}
    arm(isolation, params)
    isolation.cut()
    isolation.settle()
    isolation.frames()
    after = read_sockets()
    flows = sorted({*isolation.flows(sockets), *isolation.flows(after)})
    described = describe(flows, processes)
    isolation.destroy(flows)
    isolation.lower()
    what = "observed with {0}; {1} connections would be cut" if isolation.observes else "isolated with {0}; {1} connections cut"
    tell(work.case, what.format(isolation.backend, len(flows)) + "; not yet confirmed")
    return {**judged(isolation, described, diff, sockets=None if flows else after), **told(risks)}


def preflight(
    isolation: Isolation, params: Mapping[str, object], session: Session, processes: Mapping[int, Process],
) -> list[Risk]:
    """What the cut would break, to be asked after `inspect`. Raises RefusedError where the operator has not accepted it.

    A host that is isolated already is not refused: what would break has broken, and a refusal would only keep its rules old.
    """
    from ._preflight import look, refuse  # not in the second run, which has no use for it

    risks = look(session, processes, isolation.required)
    if not (isolation.cuts_already or isolation.observes):
        refuse(risks, strings(params["accept_risks"]))
    isolation.choose_interfaces(bool(params.get("interfaces_down")) and not isolation.observes)
    isolation.moves_deadline(params.get("ttl"))  # a host that cannot end it by itself is refused now
    return risks


def told(risks: list[Risk]) -> dict[str, object]:
    """The risks for the result; the second run has none, and what the first one says stands."""
    return {"preflight": [risk.as_dict() for risk in risks]}


def predicted(
    isolation: Isolation, params: Mapping[str, object], sockets: list[Socket], processes: Mapping[int, Process], diff: bool, risks: list[Risk],
) -> dict[str, object]:
    """Check mode: the rules that would be loaded and the flows that they would cut."""
    flows = isolation.flows(sockets) if isolation.changed else []
    verdict, reasons = way_in(isolation.plan, params, isolation.changed)
    if not isolation.changed:
        hold(isolation, params, check_mode=True)
    result = result_of(isolation, "would_be " + verdict, reasons, describe(flows, processes), diff, listing=isolation.after)
    mode = isolation.plan.mode if isolation.plan is not None else ""
    result["not_covered"] = not_covered(isolation.backend, {"mode": mode})
    result.update(isolation.foreseen(params.get("ttl")))
    return {**_observed(isolation, result), **told(risks)}


def _observed(isolation: Isolation, result: dict[str, object]) -> dict[str, object]:
    """The result, with the flows under the name that is true of them."""
    if isolation.observes:
        result.update(flows_cut=[], flows_observed=result["flows_cut"])
    return result


def arm(isolation: Isolation, params: Mapping[str, object], **more: object) -> None:
    """Arm the way back as the options say; `more`: what else the work folder is to hold."""
    lost, then = str(params["on_management_lost"]), str(params["then"])
    if isolation.observes:  # nothing is cut, so there is nothing to widen or to keep
        lost = then = "release"
    isolation.arm(int(str(params["confirm_within"])), lost, then, **more)


def hold(isolation: Isolation, params: Mapping[str, object], check_mode: bool = False) -> None:
    """Have a confirmed isolation held as the options say; where nothing is cut, there is nothing to hold."""
    cuts = not isolation.observes
    act = isolation.foretell_hold if check_mode else isolation.hold
    act(cuts and bool(params["persist"]), cuts and bool(params["watch"]))
    if not check_mode:  # `foreseen` tells of it
        isolation.end_after(params.get("ttl"))


def finish(
    work: Workdir, params: Mapping[str, object], session: Session, sockets: list[Socket], diff: bool = False,
) -> dict[str, object]:
    """The second run, over a fresh connection: confirm, hold, prove, judge. `sockets`: of a reading of just now."""
    state = work.read().get("isolation")
    plan = state.get("plan") if isinstance(state, dict) else None
    if not isinstance(plan, dict):
        raise HostError("no isolation of this case is recorded on the host, so there is nothing to confirm")
    isolation = Isolation(work, from_dict(plan, session))
    isolation.inspect_again()
    confirmation = isolation.confirm(session)
    isolation.changed = False
    if confirmation["confirmed"]:
        isolation.mend()
    hold(isolation, params)
    if confirmation["confirmed"] and confirmation["how"] != "confirmed before":
        tell(work.case, "isolation confirmed, " + str(confirmation["how"]))
    return judged(isolation, [], diff, confirmation, sockets)


def judged(
    isolation: Isolation, flows: list[dict[str, object]], diff: bool, confirmation: dict[str, object] | None = None,
    sockets: list[Socket] | None = None,
) -> dict[str, object]:
    """The result with its proof; the verdict is what `judge` makes of it."""
    proof = isolation.proof(sockets)
    if confirmation is not None:
        proof["confirmed"] = confirmation["confirmed"]
        proof["confirmation"] = confirmation["how"]
    rolled_back = bool((confirmation or {}).get("rolled_back"))
    verdict, reasons = judge(proof, rolled_back)
    result = result_of(isolation, verdict, reasons, flows, diff, proof, isolation.after)
    if rolled_back:
        result["rolled_back"] = True
        if isolation.before and isinstance(isolation.state.get("previous"), dict):
            result["reasons"] = ["the rollback has fired: the isolation before this one is in force again"]
        failed = isolation.state.get("rollback_failed")
        if failed:
            result["reasons"] = ["the rollback has fired, and {0} of its commands failed: look what is in force, or release".format(
                printable(str(failed), 20))]
    if isolation.observes:
        result["packets_observed"] = isolation.counted()
    return result if confirmation is not None else _observed(isolation, result)


def judge(proof: Mapping[str, object], rolled_back: bool) -> tuple[str, list[str]]:
    """Verdict and reasons. `contained` needs every proof; what is not confirmed yet is `unknown`; who only observes has `reported`."""
    if rolled_back:
        return "failed", ["the rollback has fired: the host is not isolated any more"]
    if not proof["ruleset"]:
        return "failed", ["the rules in the kernel are not the rules that were meant"]
    reasons = []
    if proof["flows_remaining"]:
        reasons.append("{0} forbidden connections could not be ended; they are blocked".format(proof["flows_remaining"]))
    probe = proof["probe"]
    if isinstance(probe, dict) and not probe["holds"]:
        reasons.append("the probe of a forbidden address did not fail at once")
    frames = proof["layer2"]
    late = [one for one in frames["open"] if one["why"] == LATE] if isinstance(frames, dict) else []
    if late:
        reasons.append("{0} interfaces came after the isolation, and their frames are not held back; run again".format(len(late)))
    if isinstance(frames, dict) and frames["programs"]:
        reasons.append("XDP or tc programs are at {0} places, which can send frames past the rules; proof.layer2.programs names them".format(
            len(frames["programs"])))
    if isinstance(frames, dict) and frames["elsewhere"]:
        reasons.append("{0} interfaces in other network namespaces, AF_XDP sockets or tcx programs can send past the rules;"
                       " proof.layer2.elsewhere names them".format(len(frames["elsewhere"])))
    interfaces = proof.get("interfaces")
    if isinstance(interfaces, dict) and interfaces["up"]:
        reasons.append("{0} interfaces are up that should be down; run again".format(len(interfaces["up"])))
    if proof.get("no_end"):
        reasons.append("the isolation does not end by itself as was asked for: {0}".format(proof["no_end"]))
    if proof["widened"]:
        reasons.append("management does not hold the address by which the controller reaches the host, so SSH was opened to that one too: "
                       "correct the list and run again")
    held = proof["hold"]
    if isinstance(held, dict) and held["why"] not in ("", NO_SYSTEMD):
        reasons.append("{0}, so the isolation is not held as it was asked for".format(held["why"]))
    if not proof["confirmed"]:
        why = proof.get("confirmation")
        return "unknown", [*reasons, "not confirmed: {0}".format(why) if why else "not yet confirmed over a fresh connection"]
    return ("partial" if reasons else "reported" if proof.get("mode") == OBSERVE else "contained"), reasons


def describe(
    flows: list[Socket], processes: Mapping[int, Process], known: Mapping[int, list[int]] | None = None,
) -> list[dict[str, object]]:
    """Flows for the result: escaped, with owners and their programs, at most 1000.

    `known`: who held which socket (inode -> pids) before the cut; only for others everybody's descriptors are looked at.
    """
    held = dict(known or {})
    held.update(owners([flow.inode for flow in flows if flow.inode not in held]))
    names = _users() if flows else {}
    described: list[dict[str, object]] = []
    for flow in flows[:_FLOWS_SHOWN]:
        pids = held.get(flow.inode, [])
        process = processes.get(pids[0]) if pids else None
        described.append({
            "protocol": flow.protocol,
            "local": _endpoint(flow.local_address, flow.local_port),
            "remote": _endpoint(flow.remote_address, flow.remote_port),
            "state": flow.state,
            "pids": pids,
            "user": printable(names.get(flow.uid, str(flow.uid)), 64),
            "name": printable(process.name, 64) if process is not None else "",
            "exe": printable(process.exe or "") if process is not None else "",
        })
    return described


def _endpoint(address: str, port: int) -> str:
    return "[{0}]:{1}".format(address, port) if ":" in address else "{0}:{1}".format(address, port)


def _users(path: str = "/etc/passwd") -> dict[int, str]:
    """User names from the file alone: a directory service would be asked over the network."""
    names: dict[int, str] = {}
    try:
        lines = read_regular(path, 4194304).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return names
    for line in lines:
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():
            names.setdefault(int(fields[2]), fields[0])
    return names


def result_of(
    isolation: Isolation, verdict: str, reasons: list[str], flows: list[dict[str, object]], diff: bool,
    proof: dict[str, object] | None = None, listing: str = "",
) -> dict[str, object]:
    """The module's documented result; `listing`: our part of the firewall as it should be, for the diff."""
    result: dict[str, object] = {
        "changed": isolation.changed,
        "verdict": verdict,
        "reasons": reasons,
        "proof": proof or {},
        "flows_cut": flows,
        "backend": isolation.backend,
        "backend_reason": isolation.backend_reason,
        "not_covered": not_covered(isolation.backend, proof or {}),
    }
    if isolation.plan is not None and proof is not None:
        result["drift"] = isolation.drift()
    if diff:
        result["diff"] = difference(isolation, listing)
    return result


def difference(isolation: Isolation, listing: str) -> dict[str, str]:
    """Our part of the firewall before and after, for diff mode, or the unit that holds it, where nothing else is changed; and when it ends."""
    unit = isolation.unit_change
    header = "firewall rules of Firebreak ({0})".format(isolation.backend)
    before, after = isolation.interfaces.difference() if isolation.interfaces is not None else ("", "")
    before, after = isolation.before + before, listing + after
    if unit is not None and isolation.before == listing:
        header, before, after = unit["unit"], unit["before"], unit["after"]
    was, will_be = isolation.end_change
    return {
        "before": _lines(before) + was, "after": _lines(after) + will_be, "before_header": header, "after_header": header,
    }


def _lines(text: str) -> str:
    """Escaped line by line: a table of this name could be of somebody else's making."""
    return "".join(printable(line.replace("\t", "    "), 65536) + "\n" for line in text.splitlines())
