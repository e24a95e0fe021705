# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What iptables was loaded with while nft was gone is taken away again, and so are the tables that it made. Needs root.

This file is also the program that runs in a network namespace of its own: `test_stand_in_kernel.py OTHERS`, OTHERS as JSON.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

TREE = next(str(parent.parent) for parent in pathlib.Path(__file__).resolve().parents if parent.name == "ansible_collections")
# As with many management networks: a chain that the first one goes on to.
MINE = """*filter
:FIREBREAK-INPUT - [0:0]
:FIREBREAK-INPUT-1 - [0:0]
-A FIREBREAK-INPUT -g FIREBREAK-INPUT-1
-A FIREBREAK-INPUT-1 -j DROP
-I INPUT 1 -j FIREBREAK-INPUT
COMMIT
"""


def taken_away(others: object, before: str = "", root: str = "/") -> dict[str, object]:
    """What is left in a namespace of its own where our chains were loaded after `before`: {"left", "ruleset"}."""
    if os.geteuid() != 0:
        pytest.fail("needs root for network namespaces")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, __file__, json.dumps([others, before, root])], check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_nothing_is_left_where_nobody_had_tables():
    assert taken_away({}) == {"left": [], "ruleset": ""}


def test_a_table_that_somebody_had_before_stays():
    answer = taken_away({"nftables ip filter": "its hash"}, "*filter\n-A INPUT -s 192.0.2.7 -j DROP\nCOMMIT\n")
    assert "192.0.2.7" in answer["ruleset"] and "FIREBREAK" not in answer["ruleset"] and "ip6 filter" not in answer["ruleset"]
    assert answer["left"] == []


def test_a_table_with_rules_that_came_later_stays_and_is_named():
    answer = taken_away({}, "*filter\n-A INPUT -s 192.0.2.7 -j DROP\nCOMMIT\n")
    assert "192.0.2.7" in answer["ruleset"] and answer["left"] == ["nftables table ip filter"]


def test_tables_that_cannot_be_removed_without_nft_are_named(tmp_path):
    (tmp_path / "usr/sbin").mkdir(parents=True)
    for name in ("iptables", "ip6tables"):
        for program in (name, name + "-save", name + "-restore"):
            (tmp_path / "usr/sbin" / program).symlink_to("/usr/sbin/" + program)
    assert taken_away({}, root=str(tmp_path))["left"] == ["nftables table ip filter", "nftables table ip6 filter"]


def main() -> None:
    sys.path.insert(0, TREE)
    from ansible_collections.firebreak.response.plugins.module_utils._isolation._stand_in import take_away

    others, before, root = json.loads(sys.argv[1])
    for text, programs in ((before, ["iptables"]), (MINE, ["iptables", "ip6tables"])):
        for program in programs if text else ():
            subprocess.run([program + "-restore", "--noflush"], input=text, text=True, check=True)
    left = take_away(others, root)
    print(json.dumps({"left": left, "ruleset": subprocess.run(["nft", "list", "ruleset"], stdout=subprocess.PIPE, text=True, check=True).stdout}))


if __name__ == "__main__":
    main()
