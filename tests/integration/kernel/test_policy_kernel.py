# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random policies: every rendering is accepted, lets pass what the policy says and nothing else, by the kernel's own decision.

Needs root; everything happens in a private network.
"""

from __future__ import annotations

import ipaddress
import random
import shutil

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _iptables_tree, _layer2, _nftables, _tc_backend
from ansible_collections.firebreak.response.plugins.module_utils._isolation._commands import run
from ansible_collections.firebreak.response.tests.integration.kernel import policies as made
from ansible_collections.firebreak.response.tests.integration.kernel.policies import Packet, Policy
from ansible_collections.firebreak.response.tests.integration.kernel.wire import TYPES, Wire, build, frame

NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") or "nft"
DEVICES = _layer2.Devices(["tap0"], ["tun0"], {})
# The same policies in every run, so that a failure is the code's; no clock of its own, for machines differ.
SETTINGS = settings(derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow],
                    phases=[Phase.explicit, Phase.generate, Phase.shrink])
PACKETS = 120


def variants() -> dict[str, dict[int, str]]:
    """The iptables-restore programs of this machine: variant -> family -> path."""
    found = {}
    for variant in ("nft", "legacy"):
        programs = {family: shutil.which(f"{name}-{variant}-restore", path="/usr/sbin:/sbin")
                    for family, name in ((4, "iptables"), (6, "ip6tables"))}
        if all(programs.values()):
            found[variant] = programs
    return found


VARIANTS = variants()
RENDERINGS = ("nftables", *(f"iptables-{variant}" for variant in VARIANTS))


@pytest.fixture(scope="module")
def wire():
    private = Wire()
    yield private
    private.close()


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def accepted(argv: list[str], text: str) -> None:
    status, _output, error = run(argv, text)
    assert status == 0, f"{argv}: {error}\n{text}"


def load(rendering: str, policy: Policy) -> None:
    """Put a policy in force in the network of this thread."""
    plan = policy.plan()
    if rendering == "nftables":
        accepted([NFT, "-f", "-"], _nftables.render(plan, policy.case))
        return
    for family, program in VARIANTS[rendering.removeprefix("iptables-")].items():
        accepted([program, "--noflush", "-w", "5"], _iptables.render(plan, policy.case, family, ""))


def clear(rendering: str) -> None:
    """No rules at all."""
    if rendering == "iptables-legacy":
        for program in VARIANTS["legacy"].values():
            accepted([program], "*filter\nCOMMIT\n*mangle\nCOMMIT\n")
    else:
        accepted([NFT, "flush", "ruleset"], "")


def outcomes(
    wire: Wire, policy: Policy, packets: list[Packet], expected: list[bool], frames: bool = False,
) -> list[tuple[str, Packet, bool, bool]]:
    """(rendering, packet, expected, passed) of each packet with each rendering in force; `frames`: the rules for frames too."""
    found = []
    for rendering in RENDERINGS:
        def measure(rendering: str = rendering) -> list[bool]:
            load(rendering, policy)
            try:
                if frames:
                    accepted([NFT, "-f", "-"], _layer2.render(policy.plan(), DEVICES))
                return wire.through(packets, expected)
            finally:
                clear(rendering)
                if frames:
                    accepted([NFT, "-f", "-"], _layer2.REMOVE)

        found += [(rendering, *one) for one in zip(packets, expected, wire.call(measure))]
    return found


def wrong(seen: list[tuple[str, Packet, bool, bool]]) -> list[str]:
    """What passes and must not, or the other way round."""
    return [f"{rendering} {'passes' if passed else 'cuts'} {packet}" for rendering, packet, expected, passed in seen
            if passed != expected]


@settings(SETTINGS, max_examples=30)
@given(policy=made.policies(most=80))
def test_every_program_accepts_every_policy(wire, policy):
    def check() -> None:
        plan = policy.plan()
        accepted([NFT, "-c", "-f", "-"], _nftables.render(plan, policy.case) + _layer2.render(plan, DEVICES))
        for programs in VARIANTS.values():
            for family, program in programs.items():
                accepted([program, "--test", "--noflush", "-w", "5"], _iptables.render(plan, policy.case, family, ""))

    wire.call(check)


def test_this_machine_has_iptables_to_try():
    assert VARIANTS


@settings(SETTINGS, max_examples=80)
@given(policy=st.one_of(made.policies(), made.crowded()), seed=st.integers(0, 2**32 - 1), row=st.sampled_from((1, 3, 8, _iptables_tree.MOST)))
def test_what_the_policy_says_passes_and_nothing_else(wire, monkeypatch_module, policy, seed, row):
    monkeypatch_module.setattr(_iptables_tree, "MOST", row)  # so that a few networks make a tree
    packets = made.packets(policy, random.Random(seed), PACKETS)
    # Only what passes without rules tells something of them.
    packets = [packet for packet, passed in zip(packets, wire.call(lambda: wire.through(packets))) if passed]
    assert len(packets) > PACKETS / 2
    found = wrong(outcomes(wire, policy, packets, [made.permits(policy, packet) for packet in packets]))
    assert not found, f"{policy}: {len(found)}, such as {found[:3]}"


@settings(SETTINGS, max_examples=30)
@given(policy=made.policies().filter(lambda policy: policy.responders()))
@example(policy=Policy("127.0.0.1", 22, [], ["0.0.0.0/1"], [], False, "jump"))  # merged with a network in which nobody sees it
def test_no_rendering_cuts_the_management_path(wire, policy):
    packets = made.of_management(policy)
    must = [True] * len(packets)
    assert wire.call(lambda: wire.through(packets, must)) == must, "not even without rules"
    found = wrong(outcomes(wire, policy, packets, must, frames=True))
    assert not found, f"{policy}: {len(found)}, such as {found[:3]}"


def frames_by_nft(policy: Policy) -> None:
    accepted([NFT, "-f", "-"], _layer2.render(policy.plan(), DEVICES))


def frames_by_tc(policy: Policy) -> None:
    assert _tc_backend.ByTc(policy.plan(), DEVICES, {}, []).load() == 0


FRAMES = {"nft": (frames_by_nft, lambda: accepted([NFT, "-f", "-"], _layer2.REMOVE)), "tc": (frames_by_tc, _tc_backend.clear_all)}


def permits_frame(policy: Policy, packet: Packet, by: str) -> bool:
    """The same for both, but that for tc nothing stands between IPv6 and ICMPv6."""
    return made.permits_frame(policy, packet._replace(later=packet.later or by == "tc" and packet.header and packet.version == 6))


@pytest.mark.parametrize("by", FRAMES)
@settings(SETTINGS, max_examples=30)
@given(policy=made.policies(), seed=st.integers(0, 2**32 - 1))
def test_frames_pass_for_those_who_are_named_and_for_nobody_else(wire, by, policy, seed):
    chance = random.Random(seed)
    load_frames, clear_frames = FRAMES[by]
    packets = [packet for packet in made.packets(policy, chance, PACKETS) if packet.way in ("in", "out")]
    entering = [packet for packet in packets if packet.way == "in"]
    entering = [packet for packet, passed in zip(entering, wire.call(lambda: wire.through(entering))) if passed]
    leaving = [one for number, packet in enumerate(packets) if packet.way == "out" for one in sent(policy, packet, number, chance, by)]
    leaving += [one for number, network in enumerate(policy.known()) for one in disguised(network, number)]

    def measure() -> tuple[list[bool], list[bool], list[bool]]:
        load_frames(policy)
        try:
            wanted = [permits_frame(policy, packet, by) for packet in entering]
            return (wire.through(entering, wanted), wire.through(entering, wanted, ethernet=True),
                    wire.frames([one[1:] for one in leaving], [one[0] for one in leaving]))
        finally:
            clear_frames()

    bare, framed, left = wire.call(measure)
    for packet, *passed in zip(entering, bare, framed):
        assert passed == [permits_frame(policy, packet, by)] * 2, f"{policy}: {packet}"
    for (wanted, device, data, told), passed in zip(leaving, left):
        assert passed == wanted, f"{policy}: {'passes' if passed else 'cuts'} {device} {told:#06x} {data.hex()}"


def sent(policy: Policy, packet: Packet, number: int, chance: random.Random, by: str) -> list[tuple[bool, str, bytes, int]]:
    """(wanted, device, bytes, told type) for a packet that a packet socket sends by both devices, and with a type that is not its own."""
    kind, wanted = TYPES[packet.version], permits_frame(policy, packet, by)
    odd = chance.choice((0x8100, 0x88B5, TYPES[10 - packet.version]))
    one = iter(build(packet, 8 * number + place) for place in range(8))  # no two are the same bytes
    return [(wanted, "tap0", frame(next(one), kind), kind), (wanted, "tun0", next(one), kind),
            (False, "tap0", frame(next(one), odd), kind), (False, "tap0", frame(next(one), odd), odd),
            (False, "tun0", next(one), odd), (True, "tap0", frame(next(one), 0x0806), 0x0806)]


def disguised(network: str, number: int) -> list[tuple[bool, str, bytes, int]]:
    """IPv6 packets to nobody that is named, in whose bytes an allowed IPv4 address stands where IPv4 has its target."""
    if ":" in network:
        return []
    source = ipaddress.IPv6Address((0x20010DB8 << 96) + (int(ipaddress.ip_network(network)[0]) << 32))
    packet = Packet("out", 6, str(source), made.STRANGERS[6][0], made.UDP, 40000, 53)
    data = build(packet, number)
    return [(False, "tun0", data, TYPES[4]), (False, "tap0", frame(data, TYPES[4]), TYPES[4])]
