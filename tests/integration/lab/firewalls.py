# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firewalls and networks that a host may have of its own, and all that can be read of them by the host's own programs."""

from __future__ import annotations

import json

from tests.lab import hosts, network

POD_PORT = 8080

NFT = r"""nft -f - <<'END'
table inet site {
  set office { type ipv4_addr; flags interval; elements = { 10.66.0.0/24, 192.0.2.0/28 }; }
  set guessers { type ipv4_addr; flags timeout; timeout 1d; elements = { 198.51.100.9 }; }
  map answers { type inet_service : verdict; elements = { 23 : drop, 25 : accept }; }
  counter seen { packets 0 bytes 0; }
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport vmap @answers
    ip saddr @guessers drop
    ip saddr @office counter name "seen" accept
    iifname "tun*" meta mark set 0x17 comment "a comment with { and } in it"
  }
  chain output { type filter hook output priority -400; policy accept; meta skuid 65534 ct state new counter; }
}
table ip site { chain nat { type nat hook postrouting priority 100; policy accept; ip saddr 172.31.0.0/16 counter masquerade; }; }
table ip6 raw { chain PREROUTING { type filter hook prerouting priority -300; policy accept; ip6 nexthdr 132 notrack; }; }
table bridge site { chain forward { type filter hook forward priority 0; policy accept; ether type 0x88cc drop; }; }
table netdev site { chain wire { type filter hook ingress device "host0" priority -500; policy accept; ether type 0x88cc drop; }; }
END
"""

# {0}: the variant. In filter a policy and a chain of its own, in nat and raw a rule each; mangle is not touched.
IPTABLES = r"""
for t in iptables-{0} ip6tables-{0}; do
    $t -N site; $t -A site -p tcp --dport 23 -j DROP; $t -A site -m limit --limit 3/min -j LOG --log-prefix "site: "
    $t -A INPUT -i lo -j ACCEPT; $t -A INPUT -m comment --comment "office \"east\"" -p udp --dport 137:139 -j site
    $t -P FORWARD DROP; $t -t raw -A PREROUTING -p tcp --dport 9100 -j ACCEPT
done
iptables-{0} -t nat -A POSTROUTING -s 172.31.0.0/16 -j MASQUERADE
"""
LEGACY = "for t in iptables ip6tables; do update-alternatives --quiet --set $t /usr/sbin/$t-legacy; done"

FIREWALLD = r"""
systemctl start firewalld
firewall-cmd -q --zone=internal --add-interface=host0; firewall-cmd -q --zone=internal --add-port=9100/tcp
firewall-cmd -q --zone=internal --add-rich-rule='rule family=ipv4 source address=198.51.100.0/24 reject'
firewall-cmd -q --zone=public --add-masquerade; firewall-cmd -q --zone=public --add-forward-port=port=8081:proto=tcp:toport=80:toaddr=172.31.0.2
"""
UFW = r"""
ufw --force reset >/dev/null; ufw allow 22/tcp; ufw allow from 10.66.0.20 to any port 9100 proto tcp; ufw limit 2222/tcp
ufw deny out 25; ufw route allow in on host0 out on br9; ufw logging low; ufw --force enable
"""

# What docker makes for one network and one container with a published port: bridge, pair of devices, NAT and forward rules.
CONTAINER = f"""
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.default.accept_dad=0
ip link add br9 type bridge; ip address add 172.19.0.1/16 dev br9; ip link set br9 up
systemd-run -q --unit=lab-pod unshare --net python3 -m http.server --directory /usr/share/doc 80
for i in 1 2 3 4 5 6 7 8 9; do pod=$(systemctl show -P MainPID lab-pod 2>/dev/null || systemctl show -p MainPID --value lab-pod)
    [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/$pod/ns/net)" ] || [ "$(cat /proc/$pod/comm)" != python3 ] || break; sleep 0.1; done
ip link add pod0 type veth peer name eth0 netns $pod; ip link set pod0 master br9 up
nsenter -t $pod -n sh -c 'ip link set lo up; ip address add 172.19.0.2/16 dev eth0; ip link set eth0 up; ip route add default via 172.19.0.1'
for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2; do iptables -N $chain; done
iptables -P FORWARD DROP
iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A FORWARD -o br9 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A FORWARD -o br9 -j DOCKER
iptables -A FORWARD -i br9 ! -o br9 -j ACCEPT; iptables -A FORWARD -i br9 -o br9 -j ACCEPT
iptables -A DOCKER-ISOLATION-STAGE-1 -i br9 ! -o br9 -j DOCKER-ISOLATION-STAGE-2; iptables -A DOCKER-ISOLATION-STAGE-2 -o br9 -j DROP
iptables -A DOCKER -d 172.19.0.2/32 ! -i br9 -o br9 -p tcp --dport 80 -j ACCEPT
iptables -t nat -N DOCKER; iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.19.0.0/16 ! -o br9 -j MASQUERADE
iptables -t nat -A DOCKER ! -i br9 -p tcp --dport {POD_PORT} -j DNAT --to-destination 172.19.0.2:80
"""
# Beside any firewall: what `ip` knows.
ROUTES = """
sysctl -qw net.ipv6.conf.default.accept_dad=0
ip link add tun9 type veth peer name tun8; ip address add 10.77.0.1/24 dev tun9; ip link set tun9 up mtu 1400; ip link set tun8 up
ip neighbour replace 10.66.0.77 lladdr 02:66:00:00:00:77 dev host0 nud permanent
ip rule add from 10.77.0.0/24 lookup 77 priority 7700; ip route add 10.78.0.0/24 via 10.77.0.9 table 77
ip -6 route add fd78::/64 via fd66::77 metric 512; sysctl -qw net.ipv4.conf.host0.rp_filter=2 net.ipv4.tcp_loose=0 2>/dev/null || true
"""
WIPE = """
systemctl stop firewalld lab-pod 2>/dev/null; ufw --force disable >/dev/null 2>&1; rm -rf /etc/firewalld/zones/*
for f in '' 6; do for t in $(cat /proc/net/ip${f}_tables_names); do c=ip${f}tables-legacy; $c -t $t -F; $c -t $t -X
    $c -t $t -S | while read -r word chain policy; do if [ "$word" = -P ]; then $c -t $t -P $chain ACCEPT; fi; done; done
    update-alternatives --quiet --auto ip${f}tables; done
nft flush ruleset; ip link delete br9 2>/dev/null; ip link delete pod0 2>/dev/null; ip link delete tun9 2>/dev/null
ip neighbour delete 10.66.0.77 dev host0 2>/dev/null; ip rule delete priority 7700 2>/dev/null
ip -6 route delete fd78::/64 2>/dev/null
sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.host0.rp_filter=0 net.ipv{4,6}.conf.{all,default}.accept_redirects=1 net.ipv6.conf.default.accept_dad=1; true
"""

# Runs on the host. Legacy programs are asked only for tables that are there, as a question makes a table.
READ = r"""
import json, os, re, subprocess
said = {}
def ask(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, check=True).stdout
def rules(text):
    return "\n".join(re.sub(r"\[\d+:\d+\]$", "", line) for line in text.splitlines() if not line.startswith("#"))
for four in ("", "6"):
    names = sorted(open("/proc/net/ip%s_tables_names" % four).read().split())
    said["legacy tables of ip" + four] = names
    for name in names:
        said["ip%stables-legacy %s" % (four, name)] = rules(ask("ip%stables-legacy-save" % four, "-t", name))
    said["ip%stables-nft" % four] = rules(ask("ip%stables-nft-save" % four))
    family = "-6" if four else "-4"
    said["routes " + family] = ask("ip", family, "route", "show", "table", "all")
    said["rules " + family] = ask("ip", family, "rule")
    said["neighbours " + family] = ask("ip", family, "neighbour", "show", "nud", "permanent")
    said["proxies " + family] = ask("ip", family, "neighbour", "show", "proxy")
said["nft"] = ask("nft", "-s", "list", "ruleset")
said["links"] = re.sub(r"(_timer|fdb_n_learned) +[0-9.]+", "", ask("ip", "-d", "link"))
said["addresses"] = re.sub(r"(valid|preferred)_lft \d+sec ?", "", ask("ip", "address"))
said["routes -6"] = re.sub(r" expires \S+", "", said["routes -6"])
said["queues"] = ask("tc", "qdisc")
said["sets"] = ask("ipset", "save")
sysctls = {}
for folder, _folders, files in os.walk("/proc/sys/net"):
    for name in files:
        path = os.path.join(folder, name)
        if os.stat(path).st_mode & 0o444 and not name.endswith(("_count", "tcp_fastopen_key")):
            try:
                sysctls[path] = open(path).read()
            except OSError as error:
                sysctls[path] = error.strerror
said["sysctls"] = "\n".join("%s = %s" % item for item in sorted(sysctls.items()))
print(json.dumps(said))
"""


def do(host: str, script: str) -> str:
    """Run a shell script on the host, past its network."""
    return hosts.execute(host, ["bash", "-c", script]).stdout


def read(host: str) -> dict[str, object]:
    """Everything of the host's network that a release must give back: what it is -> its text, without counters and lifetimes."""
    state: dict[str, object] = json.loads(hosts.execute(host, ["python3", "-c", READ]).stdout)
    return state


def difference(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """What is not the same, with the first line that is not."""
    found = []
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            old, new = str(before.get(name, "")).splitlines(), str(after.get(name, "")).splitlines()
            lost, more = [line for line in old if line not in new], [line for line in new if line not in old]
            found.append(f"{name}: {(lost[:1] or ['nothing'])[0].strip()} -> {(more[:1] or ['nothing'])[0].strip()}")
    return found


def pod_gets_out(host: str) -> bool:
    """Whether the container reaches the internet."""
    code = f"import socket; socket.create_connection(('{network.C2}', 4444), 1)"
    pod = "$(systemctl show -p MainPID --value lab-pod)"
    return hosts.execute(host, ["sh", "-c", f'nsenter -t {pod} -n python3 -c "{code}"'], check=False).returncode == 0


def pod_is_reached(host: str) -> bool:
    """Whether a neighbour reaches the container's published port."""
    return hosts.answers("neighbour", network.address(host), POD_PORT, 1)
