# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random policies: every rendering is accepted, lets pass what the policy says and nothing else, by the kernel's own decision.

Needs root; everything happens in a private network.
"""

from __future__ import annotations

import random
import shutil
import struct

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _layer2, _nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._commands import run
from ansible_collections.firebreak.response.tests.integration.kernel import policies as made
from ansible_collections.firebreak.response.tests.integration.kernel.policies import Packet, Policy
from ansible_collections.firebreak.response.tests.integration.kernel.wire import Wire, build

NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") or "nft"
DEVICES = _layer2.Devices(["tap0"], ["tun0"], {})
# The same policies in every run, so that a failure is the code's; no clock of its own, for machines differ.
SETTINGS = settings(derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow],
                    phases=[Phase.explicit, Phase.generate, Phase.shrink])
PACKETS = 250


def variants() -> dict[str, dict[int, str]]:
    """The iptables-restore programs of this machine: variant -> family -> path."""
    found = {}
    for variant in ("nft", "legacy"):
        programs = {family: shutil.which(f"{name}-{variant}-restore", path="/usr/sbin:/sbin") for family, name in ((4, "iptables"), (6, "ip6tables"))}
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


def differences(wire: Wire, policy: Policy, packets: list[Packet], frames: bool = False) -> tuple[list[str], int]:
    """What passes though it must not, or the other way round, in any rendering; and how many packets passed as they must.

    Only packets that pass without rules tell something.
    """
    packets = [packet for packet, passed in zip(packets, wire.call(lambda: wire.through(packets))) if passed]
    expected = [made.permits(policy, packet) for packet in packets]
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
                accepted([NFT, "-f", "-"], _layer2.REMOVE)

        for packet, wanted, passed in zip(packets, expected, wire.call(measure)):
            if wanted != passed:
                found.append(f"{rendering} {'passes' if passed else 'cuts'} {packet}")
    return found, sum(expected)


@settings(SETTINGS, max_examples=60)
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


@settings(SETTINGS, max_examples=30)
@given(policy=made.policies(), seed=st.integers(0, 2**32 - 1))
def test_what_the_policy_says_passes_and_nothing_else(wire, policy, seed):
    packets = made.packets(policy, random.Random(seed), PACKETS)
    found, _passing = differences(wire, policy, packets)
    assert not found, f"{policy}: {len(found)}, such as {found[:3]}"
