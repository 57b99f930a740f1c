# SPDX-License-Identifier: MIT
"""A part of systemd.py: a box's network beside what else on the machine has to do with networks.

systemd-networkd and NetworkManager with a configuration that takes every link, firewalld, and ufw, each
as Debian has it. The outside is a namespace behind the link "uplink".
"""

import contextlib
import json
import os
import re
import subprocess
import time

import internet
from observe import read, wait_until
from suite import test_on
from tap import contains, eq

PATIENCE = 60
HOST, OUTSIDE = "198.51.100.2", "192.0.2.80"
NAME = "203.0.113.9"
POLICY = f"""\
[defaults]
linger = 0
[user alice]
action = box
net = bridge
dns = {OUTSIDE}
publish = 2222:22
[network default]
subnet6 = fd00:88::/64
"""
# Whatever it is asked, the answer is one address.
RESOLVER = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("{OUTSIDE}", 53))
print("ready", flush=True)
while True:
    q, a = s.recvfrom(512)
    head = q[:2] + b"\\x81\\x80\\0\\1" + (b"\\0\\1" if q[-3] == 1 else b"\\0\\0") + b"\\0\\0\\0\\0" + q[12:q.index(b"\\0", 12) + 5]
    s.sendto(head + (b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4" + socket.inet_aton("{NAME}") if q[-3] == 1 else b""), a)
"""


def ip(h, words):
    return h.run("ip " + words).check().out


def outside(h, *words):
    return h.start(["ip", "netns", "exec", "outside", *words], stdout=subprocess.PIPE)


@contextlib.contextmanager
def internet_of(h):
    """The outside with its servers, and the policy; as it was after it."""
    before = read("/etc/nsbox/nsbox.conf")
    internet.install(h)
    for words in ("netns add outside", "link add uplink type veth peer name eth0 netns outside",
                  f"address add {HOST}/24 dev uplink", "link set uplink up",
                  "-n outside address add 198.51.100.1/24 dev eth0", f"-n outside address add {OUTSIDE}/32 dev lo",
                  "-n outside link set eth0 up", "-n outside link set lo up", "route add default via 198.51.100.1"):
        ip(h, words)
    for server in (outside(h, "/usr/local/bin/answer", "80"), outside(h, "python3", "-c", RESOLVER)):
        server.stdout.readline()
    h.policy(POLICY)
    try:
        # The first network loads the kernel's modules, which takes an emulated processor longer than a login waits.
        wait_until(lambda: h.run(["nsbox", "run", "alice", "--", "true"], timeout=3 * PATIENCE).code == 0, 3 * PATIENCE, "a box has a network")
        h.run("nsbox gc")
        h.wait_gone(PATIENCE)
        yield
    finally:
        h.policy(before)
        ip(h, "netns delete outside")
        h.run("ip link delete uplink")


def service(h, verb, *names):
    if verb == "start":
        h.run(["systemctl", "unmask", *names]).check()
    h.run(["systemctl", verb, *names], timeout=300).check()


def hold(h):
    return h.hold(lambda command: ["su", "alice", "-c", command])


def inside(h, s, *words):
    return h.run(["nsenter", "-t", str(s.pid), "-n", *words]).out


def ask(h, s, patience=PATIENCE // 2):
    return inside(h, s, "/usr/local/bin/ask", "tcp", OUTSIDE, "80", str(patience)).strip()


def is_shut(h, s):
    contains(ask(h, s, patience=5), "Error", "before it")


def addresses(show):
    """Of `ip -j address`: what is not link-local."""
    return sorted(a["local"] for a in json.loads(show)[0]["addr_info"] if a["scope"] == "global")


# ------------------------------------------------------------ who takes care of links

def networkd_says(link, since=0):
    """Its word for a link, when it has made up its mind; what it had said before @since is still there."""
    path = "/run/systemd/netif/links/" + read(f"/sys/class/net/{link}/ifindex").strip()

    def word():
        with contextlib.suppress(FileNotFoundError):
            found = re.search(r"^ADMIN_STATE=(\w+)", read(path), re.M) if os.stat(path).st_mtime >= since else None
            return found and found[1] not in ("pending", "initialized") and found[1]
        return None
    return wait_until(word, PATIENCE, f"networkd knows what {link} is to it")


def manager_says(h, link):
    """NetworkManager's word for a link. While it starts, all links are unmanaged."""
    def word():
        if h.run("nmcli -t -f STARTUP general").out.strip() != "started":
            return None
        rows = h.run("nmcli -t -f DEVICE,STATE device").out.splitlines()
        return dict(row.split(":", 1) for row in rows).get(link)
    return wait_until(word, PATIENCE, f"NetworkManager knows {link}")


def make_bridge(h, name, *more):
    for words in (f"link add {name} type bridge", *more, f"link set {name} up"):
        ip(h, words)


def only_port():
    """The host's end of the only box's network; that of an earlier one may still be on its way out."""
    def ports():
        return [n for n in os.listdir("/sys/class/net") if n.startswith("nsb-")]
    return wait_until(lambda: len(ports()) == 1 and ports(), PATIENCE, "there is one port")[0]


@test_on("bookworm", timeout=600)
def networkd_and_networkmanager_take_every_link_but_ours(h):
    h.write("/etc/systemd/network/50-uplink.network", "[Match]\nName=uplink plain1\n[Link]\nUnmanaged=yes\n")
    h.write("/etc/systemd/network/60-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n")
    try:
        with internet_of(h):
            # Bridges that are nobody's: networkd is to take the one, NetworkManager the other. They have their
            # addresses before networkd runs: it takes away what is there when it first sees a link, and nothing later.
            for number in (0, 1):
                make_bridge(h, f"plain{number}", f"address add 10.77.{number}.1/24 dev plain{number}")
            service(h, "start", "systemd-networkd", "NetworkManager")
            s = hold(h)
            port = only_port()

            def check(when, since=0):
                eq({n: networkd_says(n, since) for n in ("nsbox0", port)}, {"nsbox0": "unmanaged", port: "unmanaged"}, f"to networkd {when}")
                eq({n: manager_says(h, n) for n in ("nsbox0", port)}, {"nsbox0": "unmanaged", port: "unmanaged"}, f"to NetworkManager {when}")
                eq(addresses(ip(h, "-j address show dev nsbox0")), ["10.88.0.1", "fd00:88::1"], f"addresses of the bridge {when}")
                eq(addresses(ip(h, f"-j address show dev {port}")), [], f"addresses of the port {when}")
                eq(addresses(inside(h, s, "ip", "-j", "address", "show", "dev", "eth0")), ["10.88.0.2", "fd00:88::2"], f"addresses of the box {when}")
                eq(ask(h, s), HOST, f"through it {when}")

            def took_the_others(since=0):
                eq(networkd_says("plain1", since), "unmanaged", "to networkd what 50-uplink.network names")
                for name in ("plain0", "plain2"):
                    assert networkd_says(name, since) != "unmanaged", f"{name} is unmanaged to networkd"
                wait_until(lambda: manager_says(h, "plain1") != "unmanaged", PATIENCE, "NetworkManager took its bridge")

            # One that comes after networkd has, as the port did.
            make_bridge(h, "plain2")
            check("while both run")
            took_the_others()
            wait_until(lambda: not addresses(ip(h, "-j address show dev plain0")), PATIENCE, "networkd took the bridge's address")
            h.run("networkctl reload").check()
            since = time.time()
            service(h, "restart", "systemd-networkd", "NetworkManager")
            took_the_others(since)
            check("after a restart of both", since)
            s.close(PATIENCE)
            h.wait_gone(PATIENCE)
            eq(addresses(ip(h, "-j address show dev nsbox0")), ["10.88.0.1", "fd00:88::1"], "addresses of the bridge after the last box")
    finally:
        service(h, "stop", "systemd-networkd.socket", "systemd-networkd", "NetworkManager")
        for name in ("plain0", "plain1", "plain2"):
            h.run(["ip", "link", "delete", name])
        for name in ("50-uplink", "60-all"):
            os.unlink(f"/etc/systemd/network/{name}.network")


# ------------------------------------------------------------ who guards the machine

def doctor(h):
    """What it says of other firewalls: (severity, line to write)."""
    found = json.loads(h.run("nsbox doctor --json", timeout=120).out)["findings"]
    return [(f["severity"], f["fix"]) for f in found if f["check"] == "network.firewall"]


def published(h):
    return h.run(f"ip netns exec outside /usr/local/bin/ask tcp {HOST} 2222 {PATIENCE // 2}").out.strip()


def all_flows(h, s, when):
    eq(ask(h, s), HOST, f"to the outside {when}")
    name = h.run(["nsenter", "-t", str(s.pid), "-a", "getent", "ahostsv4", "box.test"], env={"RES_OPTIONS": "timeout:20"})
    eq(name.out.split()[:1], [NAME], f"a name {when}")
    eq(published(h), "198.51.100.1", f"to the published port {when}")


def doctors_lines_open_it(h, s, reload):
    for severity, line in doctor(h):
        eq(severity, "warning", line)
        for part in line.split(" && "):
            h.run(part, timeout=120).check()
    all_flows(h, s, "after doctor's line")
    rules = h.run("nft list table inet nsbox").check().out
    h.run(reload, timeout=120).check()
    eq([severity for severity, _ in doctor(h)], ["ok"] * len(doctor(h)), "doctor after a reload")
    all_flows(h, s, "after a reload")
    left = lambda text: re.sub(r"set conns\d \{.*?\n\t\}", "", text, flags=re.S)
    eq(left(h.run("nft list table inet nsbox").check().out), left(rules), "our table after a reload")


def serve_in(h, s):
    server = h.start(["nsenter", "-t", str(s.pid), "-n", "/usr/local/bin/answer", "22"], stdout=subprocess.PIPE)
    server.stdout.readline()


@test_on("trixie", timeout=600)
def firewalld_lets_boxes_through_by_the_line_that_doctor_says(h):
    with internet_of(h):
        # The zone that Debian has as the default lets through what stays in it, and all links are in it.
        conf = read("/etc/firewalld/firewalld.conf")
        h.write("/etc/firewalld/firewalld.conf", re.sub(r"^DefaultZone=.*", "DefaultZone=block", conf, flags=re.M))
        service(h, "start", "firewalld")
        try:
            s = hold(h)
            serve_in(h, s)
            is_shut(h, s)
            doctors_lines_open_it(h, s, "firewall-cmd --reload")
        finally:
            service(h, "stop", "firewalld")
            h.write("/etc/firewalld/firewalld.conf", conf)


# What firewalld's shows, once more: ufw is so slow on an emulated processor that it comes by its name only.
@test_on("trixie", when_asked=True, timeout=600)
def ufw_lets_boxes_through_by_the_lines_that_doctor_says(h):
    with internet_of(h):
        h.run("ufw --force enable", timeout=120).check()
        try:
            s = hold(h)
            serve_in(h, s)
            is_shut(h, s)
            doctors_lines_open_it(h, s, "ufw reload")
        finally:
            h.run("ufw --force disable", timeout=120).check()
