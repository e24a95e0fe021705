# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names become addresses on the controller, and bad entries are named."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.firebreak.response.plugins.plugin_utils import _resolve as resolve
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import PolicyError


@pytest.fixture(autouse=True)
def names(monkeypatch):
    known = {
        "siem.example.com": ["10.0.0.9", "2001:db8::9", "10.0.0.5", "10.0.0.5", "fe80::1%eth0"],
        "self.example.com": ["127.0.1.1"],
        "none.example.com": [],
    }
    asked = []

    def getaddrinfo(name, port, **options):
        asked.append(name)
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in known[name]]

    monkeypatch.setattr(resolve.socket, "getaddrinfo", getaddrinfo)
    resolve.addresses.cache_clear()
    yield asked
    resolve.addresses.cache_clear()


def test_addresses_stay_as_they_are():
    entries = ["10.0.0.5 514/udp", "2001:DB8::/64  9100/tcp in", "10.0.0.0/24 icmp"]
    assert resolve.resolve("allow", entries) == ["10.0.0.5 514/udp", "2001:db8::/64 9100/tcp in", "10.0.0.0/24 icmp"]


def test_a_name_becomes_all_its_addresses_in_order_and_is_asked_once(names):
    assert resolve.resolve("allow", ["siem.example.com 6514/tcp", "siem.example.com 22/tcp in"]) == [
        "10.0.0.5 6514/tcp",
        "10.0.0.9 6514/tcp",
        "2001:db8::9 6514/tcp",
        "10.0.0.5 22/tcp in",
        "10.0.0.9 22/tcp in",
        "2001:db8::9 22/tcp in",
    ]
    assert names == ["siem.example.com"]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "10.0.0.5",
        "10.0.0.5 514",
        "10.0.0.5 514/sctp",
        "10.0.0.5 0/tcp",
        "10.0.0.5 65536/tcp",
        "10.0.0.5 514/udp out",
        "10.0.0.300 514/udp",
        "10.0.0.1/24 514/udp",
        "bad_.. 1/tcp",
        "missing.example.com 1/tcp",
        "none.example.com 1/tcp",
        "self.example.com 1/tcp",
        "fe80::1%eth0/64 1/tcp",
        "a" * 70 + ".com 1/tcp",
        "siem.example.com/24 1/tcp",
        "10.0.0.5 514/udp; drop",
        "ü.example 1/tcp",
        "10.0.0.5 ５１/tcp",
    ],
)
def test_a_bad_entry_is_named_with_its_option(entry):
    with pytest.raises(PolicyError) as error:
        resolve.resolve("firebreak_monitoring_systems", [entry])
    assert "firebreak_monitoring_systems" in str(error.value) and repr(entry)[:100] in str(error.value)


def test_a_network_with_host_bits_is_told_what_would_be_right():
    with pytest.raises(PolicyError, match=r"write 10\.0\.0\.0/24"):
        resolve.check_networks("management", ["10.0.0.9/24"])
    assert resolve.check_networks("management", ["10.0.0.9", "10.0.0.0/24", "2001:db8::/64"])
