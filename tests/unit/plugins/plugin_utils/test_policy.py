# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables become options, and brakes hold."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleError
from ansible_collections.firebreak.response.plugins.module_utils import _arguments
from ansible_collections.firebreak.response.plugins.plugin_utils import _policy as policy
from ansible_collections.firebreak.response.plugins.plugin_utils import _request as request
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import BrakeError, PolicyError

SPEC = {
    "case": {"type": "str", "required": True},
    "allow": {"type": "list", "elements": "str", "default": []},
    "management": {"type": "list", "elements": "str", "default": []},
    "accept_risks": {"type": "list", "elements": "str", "choices": ["network-root", "directory-logins"], "default": []},
    "confirm_within": {"type": "int", "default": 60},
    "autonomy": {"type": "str", "choices": ["report", "freeze", "terminate"], "default": "freeze"},
}


def make(arguments, variables):
    return request.make("web07", arguments, SPEC, variables, lambda raw: raw)


def test_the_policy_fills_in_and_the_task_wins():
    found = make(
        {"confirm_within": 30},
        {"firebreak_case": "INC-1", "firebreak_confirm_within": 90, "firebreak_autonomy": "report"},
    )
    assert found.sent == {"case": "INC-1", "confirm_within": 30, "autonomy": "report"}
    assert found.full["allow"] == []


def test_a_variable_has_the_choices_of_its_option():
    options = _arguments.merge(_arguments.NETWORK, _arguments.AUTONOMY)
    chosen = {one.option: list(one.choices) for one in policy.VARIABLES if one.choices}
    assert chosen == {name: option["choices"] for name, option in options.items() if "choices" in option}


def test_variables_of_other_modules_are_not_sent():
    assert make({"case": "X"}, {"firebreak_critical_services": ["nginx"]}).sent == {"case": "X"}


def test_the_monitoring_systems_are_the_allow_list():
    found = make({"case": "X"}, {"firebreak_monitoring_systems": ["10.0.0.5 514/udp"]})
    assert found.sent["allow"] == ["10.0.0.5 514/udp"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("firebreak_max_hosts", "many"),
        ("firebreak_max_hosts", 0),
        ("firebreak_max_hosts", True),
        ("firebreak_confirm_within", -1),
        ("firebreak_confirm_within", 1.5),
        ("firebreak_autonomy", "kill"),
        ("firebreak_protected_hosts", {"a": 1}),
        ("firebreak_protected_hosts", [1]),
        ("firebreak_monitoring_systems", [""]),
        ("firebreak_cases_dir", []),
        ("firebreak_case", "a/b"),
        ("firebreak_case", ".."),
        ("firebreak_monitoring_systems", ["nonsense"]),
        ("firebreak_management", ["10.0.0.300"]),
        ("firebreak_management", ["10.0.0.1/24"]),
        ("firebreak_accept_risks", ["network_root"]),
        ("firebreak_accept_risks", "directory-logins,all"),
    ],
)
def test_a_bad_value_names_its_variable(name, value):
    with pytest.raises(PolicyError, match=name):
        make({}, {"firebreak_case": "INC-1", **{name: value}})


def isolation(arguments, variables):
    spec = _arguments.merge(_arguments.CASE, _arguments.ISOLATION_STATE, _arguments.NETWORK)
    return request.make("web07", {"case": "X", **arguments}, spec, variables, lambda raw: raw)


@pytest.mark.parametrize(("option", "value"), [
    ("ttl", "5"), ("ttl", 2592001), ("ttl", "banana"), ("ttl", "-60"), ("ttl", True), ("ttl", "60.5"), ("ttl", ""), ("interfaces_down", "maybe"),
    ("interfaces_down", 7), ("confirm_within", "soon"), ("confirm_within", 3601)])
def test_a_number_or_a_choice_that_cannot_be_is_named_with_what_would_be_right(option, value):
    right = {"ttl": "a whole number from 60 to 2592000, or 0 for no end", "interfaces_down": "true or false",
             "confirm_within": "a whole number from 5 to 3600"}[option]
    for given, variables in (({option: value}, {}), ({}, {f"firebreak_{option}": value})):
        with pytest.raises(PolicyError) as caught:
            isolation(given, variables)
        said = str(caught.value)
        assert said.endswith(right) and str(value) in said, said
        assert said.startswith(option) or f"firebreak_{option}" in said, said


def test_what_comes_from_the_command_line_as_a_string_is_taken_for_what_it_means():
    texts = isolation({}, {"firebreak_ttl": "3600", "firebreak_interfaces_down": "true"})
    assert (texts.sent["ttl"], texts.sent["interfaces_down"]) == (3600, True)
    given = isolation({"ttl": "3600", "interfaces_down": "no"}, {"firebreak_ttl": 60, "firebreak_interfaces_down": True})
    assert (given.sent["ttl"], given.sent["interfaces_down"]) == (3600, False)


@pytest.mark.parametrize("none", [0, "0"])
def test_no_end_can_be_told_over_an_inventory_that_has_one(none):
    assert isolation({"ttl": none}, {"firebreak_ttl": 3600}).sent["ttl"] == 0
    assert isolation({}, {"firebreak_ttl": none}).sent["ttl"] == 0
    assert "ttl" not in isolation({}, {}).sent


@pytest.mark.parametrize("text", ["db*, control", '["db*","control"]', ' ["db*", "control"]', "db*\ncontrol\n", "db*,control,"])
def test_a_list_may_come_from_the_command_line_or_a_survey_as_a_string(text):
    found = policy.read({"firebreak_protected_hosts": text}, lambda raw: raw, SPEC)
    assert found == {"firebreak_protected_hosts": ["db*", "control"]}
    for host in ("db07", "control"):
        with pytest.raises(BrakeError, match="is protected"):
            brakes(found, host=host)


@pytest.mark.parametrize("text", ["db* control", "'db*'", "[db*, control]", '["db*", 7]', '["db* control"]', ["db* control"]])
def test_a_list_that_was_not_split_as_it_was_meant_is_refused_and_names_its_variable(text):
    with pytest.raises(PolicyError, match="firebreak_protected_hosts"):
        policy.read({"firebreak_protected_hosts": text}, lambda raw: raw, SPEC)


def test_an_entry_that_has_blanks_by_its_nature_keeps_them():
    found = policy.read({"firebreak_monitoring_systems": "10.0.0.5 514/udp, 10.0.0.6 9100/tcp in"}, lambda raw: raw, SPEC)
    assert found == {"firebreak_monitoring_systems": ["10.0.0.5 514/udp", "10.0.0.6 9100/tcp in"]}


def test_a_template_that_cannot_be_rendered_names_its_variable():
    def template(raw):
        raise AnsibleError("'x' is undefined")

    with pytest.raises(PolicyError, match="firebreak_max_hosts.*template"):
        policy.read({"firebreak_max_hosts": "{{ x }}"}, template, SPEC)


def test_a_missing_case_names_option_and_variable():
    with pytest.raises(PolicyError, match="case.*firebreak_case"):
        make({}, {})


@pytest.mark.parametrize(
    "arguments",
    [{"_phase": "finish"}, {"alow": []}, {"confirm_within": "soon"}, {"confirm_within": 1}, {"autonomy": "kill"}],
)
def test_options_that_cannot_be_are_refused_by_name(arguments):
    with pytest.raises(PolicyError, match=next(iter(arguments))):
        make({"case": "X", **arguments}, {})


def brakes(variables, host="web07", groups=("web",), hosts=("web07",), protect=True, count=True):
    policy.check_brakes(variables, host, groups, hosts, protect=protect, count=count)


@pytest.mark.parametrize("entry", ["web07", "web*", "web", "all", "w?b07"])
def test_a_protected_host_is_refused_and_told_how_to_override(entry):
    with pytest.raises(BrakeError, match=r"web07 is protected.*-e '\{\"firebreak_protected_hosts\": \[\]\}'"):
        brakes({"firebreak_protected_hosts": [entry]})


@pytest.mark.parametrize("entry", ["db*", "web0", "eb07"])
def test_other_hosts_are_not_protected(entry):
    assert brakes({"firebreak_protected_hosts": [entry]}) is None  # it raises where it refuses


def test_too_many_hosts_are_refused_and_told_how_to_override():
    hosts = [f"web{number}" for number in range(11)]
    with pytest.raises(BrakeError, match="-e firebreak_max_hosts=11"):
        brakes({}, hosts=hosts)
    brakes({}, hosts=hosts[:10])
    brakes({"firebreak_max_hosts": 11}, hosts=hosts)
    brakes({}, hosts=hosts, count=False)


def test_a_misspelt_variable_is_noticed():
    assert policy.misspelt(["firebreak_montoring_systems", "firebreak_case", "other"]) == {
        "firebreak_montoring_systems": "firebreak_monitoring_systems"
    }


def test_a_variable_that_no_part_reads_is_noticed_too():
    assert list(policy.misspelt(["firebreak_rules", "firebreak_hosts"])) == ["firebreak_rules"]


@pytest.mark.parametrize(("raw", "case"), [(42, "42"), ("INC-1", "INC-1")])
def test_a_number_is_a_case_where_the_task_gives_it_and_where_the_policy_does(raw, case):
    assert make({"case": raw}, {}).case == case and make({}, {"firebreak_case": raw}).case == case


def test_true_is_no_case():
    with pytest.raises(PolicyError, match="case"):
        make({"case": True}, {})


@pytest.mark.parametrize("entries, expected", [
    (["db01", "db*", "all", "*", "databases", "[dw]b0?"], []), (["bd01", "db01", "dbs*"], ["bd01", "dbs*"]), ([], []), (["DB01"], ["DB01"])])
def test_an_entry_that_protects_nobody_is_found(entries, expected):
    groups = {"all": ["db01", "web07"], "databases": ["db01"], "ungrouped": []}
    assert policy.unmatched({"firebreak_protected_hosts": entries}, groups) == expected


def test_without_a_list_there_is_nothing_that_protects_nobody():
    assert policy.unmatched({}, {"all": ["web07"]}) == []
