# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hostile host may answer anything; none of it acts, and none of it gets out unescaped."""

from __future__ import annotations

import base64
import types

import pytest
from ansible_collections.firebreak.response.plugins.plugin_utils import _answer as answer
from ansible_collections.firebreak.response.plugins.plugin_utils import _text as text
from ansible_collections.firebreak.response.plugins.plugin_utils import _verdict as verdict
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import AnswerError

MOST = answer.largest(268435456)
GOOD = {
    "name": "20261124T042751.123Z-volatile.tar.gz",
    "sha256": "a" * 64,
    "size": 3,
    "inline": base64.b64encode(b"abc").decode(),
    "manifest": "20261124T042751.123Z-volatile.manifest.json",
    "manifest_sha256": "b" * 64,
    "manifest_size": 2,
    "manifest_inline": None,
}


@pytest.mark.parametrize(
    "raw",
    [
        "\x1b[2J",
        "a\u202egnp.exe",
        "zero\u200bwidth",
        "\ud800",
        "tag\U000e0041",
        "line\nfeed",
        "bell\x07",
        "\x9b31m",
        "sep\u2028x",
    ],
)
def test_nothing_that_steers_gets_out(raw):
    shown = text.printable(raw)
    assert shown.isprintable() and shown.encode("utf-8")
    assert text.printable(shown) == shown


def test_a_diff_keeps_its_lines_and_nothing_else():
    cleaned = text.Cleaner().clean({"diff": {"before": "a\nb\x1b", "after": "c\r\n"}, "x": "a\nb"})
    assert cleaned == {"diff": {"before": "a\nb\\x1b", "after": "c\\x0d\n"}, "x": "a\\x0ab"}


def test_what_is_too_deep_or_too_much_is_left_out_and_said():
    deep: object = "x"
    for _level in range(100):
        deep = [deep]
    for value in (deep, list(range(1000)), {str(number): number for number in range(1000)}):
        cleaner = text.Cleaner(500)
        cleaner.clean(value)
        assert cleaner.cut


def test_numbers_that_json_does_not_know_do_not_get_out():
    assert text.Cleaner().clean([float("nan"), float("inf"), 1.5, True, None]) == [None, None, 1.5, True, None]
    assert isinstance(text.Cleaner().clean(10**400), str)


def test_an_answer_cannot_steer_ansible():
    hostile = {
        "ansible_facts": {"ansible_connection": "local"},
        "add_host": {"host_name": "x"},
        "rc": 0,
        "failed": False,
        "unreachable": True,
        "msg": "\x1b",
        "_ansible_no_log": True,
        "skipped": True,
        "results": [],
        "warnings": ["w"],
        "ledger": {"count": 0},
        "verdict": "contained",
    }
    assert answer.plain(hostile)[0] == {"verdict": "contained"}


@pytest.mark.parametrize("raw", [None, [], "contained", 1])
def test_what_is_no_result_is_refused(raw):
    with pytest.raises(AnswerError):
        answer.plain(raw)
    assert answer.failed(raw)


@pytest.mark.parametrize(
    "error",
    [
        'Traceback (most recent call last):\n  File "x.py", line 3\nKeyError: \'inode\x1b[2J\'\n',
        types.SimpleNamespace(event=types.SimpleNamespace(msg="KeyError: 'inode\x1b[2J'")),
    ],
)
def test_an_error_that_no_module_caught_is_named_in_one_line(error):
    said = answer.host_message({"failed": True, "exception": error})
    assert "KeyError: 'inode" in said and said.isprintable() and "Traceback" not in said


@pytest.mark.parametrize(
    ("raw", "kept"), [("/usr/bin/python3.11", True), ("python; rm -rf /", False), ({"a": 1}, False)]
)
def test_only_a_plain_interpreter_path_is_a_fact(raw, kept):
    facts = answer.interpreter({"ansible_facts": {"discovered_interpreter_python": raw, "x": 1}})
    assert facts == ({"ansible_facts": {"discovered_interpreter_python": raw}} if kept else {})


@pytest.mark.parametrize(
    "raw", [{"x": 1}, ["contained"], None, 7, "CONTAINED", "contained\n", "would_be would_be contained"]
)
def test_a_verdict_that_is_no_known_word_is_unknown(raw):
    assert verdict.word(raw) == "unknown"


def test_a_good_offer_is_read():
    offer = answer.offer({"evidence": GOOD}, MOST)
    assert offer is not None and offer.bundle.inline == b"abc" and offer.manifest.inline is None
    assert answer.offer({"evidence": {}}, MOST) is None and answer.offer({}, MOST) is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../etc/cron.d/x"},
        {"name": "/etc/x"},
        {"name": ""},
        {"name": {"a": 1}},
        {"name": "a\nb"},
        {"name": "a" * 200},
        {"name": ".x"},
        {"sha256": "A" * 64},
        {"sha256": "a"},
        {"sha256": None},
        {"size": -1},
        {"size": True},
        {"size": "3"},
        {"size": 2**60},
        {"inline": "***"},
        {"inline": {}},
        {"inline": "A" * 9000000},
        {"manifest": "x/y"},
        {"manifest_size": 2**40},
        {"manifest_sha256": 1},
    ],
)
def test_a_hostile_offer_is_refused(change):
    with pytest.raises(AnswerError):
        answer.offer({"evidence": {**GOOD, **change}}, MOST)


@pytest.mark.parametrize("raw", ["x", 7, ["a"]])
def test_an_offer_that_is_no_mapping_is_refused(raw):
    with pytest.raises(AnswerError):
        answer.offer({"evidence": raw}, MOST)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"piece": 1},
        {"piece": {"offset": 1, "data": "YWJj"}},
        {"piece": {"offset": 0, "data": ""}},
        {"piece": {"offset": 0, "data": None}},
        {"piece": {"offset": 0, "data": "YWJjZA=="}},
        {"piece": {"offset": 0, "data": "YQ=="}},
        {"piece": {"offset": 0, "data": "A" * 9000000}},
    ],
)
def test_a_piece_that_was_not_asked_for_is_refused(raw):
    with pytest.raises(AnswerError):
        answer.piece(raw, 0, 3)


@pytest.mark.parametrize("max_bytes", [1, 268435456, 2**36])
@pytest.mark.parametrize("key", ["size", "manifest_size"])
def test_more_evidence_than_was_asked_for_is_refused_and_said(max_bytes, key):
    most = answer.largest(max_bytes)
    assert most <= max_bytes * 1.001 + 16777216
    assert answer.offer({"evidence": {**GOOD, "size": most}}, most) is not None
    with pytest.raises(AnswerError, match=f"{most + 1} bytes.*max_bytes.*stays there"):
        answer.offer({"evidence": {**GOOD, key: most + 1}}, most)


def test_a_manifest_has_a_limit_of_its_own():
    with pytest.raises(AnswerError, match="max_bytes"):
        answer.offer({"evidence": {**GOOD, "manifest_size": 2**29}}, answer.largest(2**36))


def test_a_piece_is_read():
    assert answer.piece({"piece": {"offset": 0, "data": "YWJj"}}, 0, 3) == b"abc"


def test_two_runs_become_one_result():
    first = {
        "changed": True,
        "reasons": ["a"],
        "timeline": [{"step": "cut", "at": 0.1}],
        "proof": {"ruleset": True, "confirmed": None},
        "diff": [1],
    }
    second = {
        "changed": False,
        "reasons": ["a", "b"],
        "timeline": [{"step": "look", "at": 3.0}],
        "proof": {"confirmed": True},
        "diff": [2],
    }
    assert verdict.merge(first, second) == {
        "changed": True,
        "reasons": ["a", "b"],
        "timeline": [{"step": "cut", "at": 0.1}, {"step": "look", "at": 3.0, "run": 2}],
        "proof": {"ruleset": True, "confirmed": True},
        "diff": [1],
    }


def test_the_worst_word_counts():
    assert verdict.worst("contained", "partial", "contained") == "partial"
    assert verdict.worst("partial", "unknown", "failed") == "failed"
    assert verdict.worst("contained", "contained") == "contained"
