#!/usr/bin/python3 -B
"""What box root tries on its bridge with raw frames: another's address, another's card, lies to
the neighbours, scans, and as many connections as the host can count.

The frames are sent by a root that has every capability in the box and no filter on it: more than
any policy gives.
"""

import json
import ipaddress
import socket
import struct
import subprocess

from common import both, policy, prepare
import observe
from tap import eq, main, test

BRIDGE = "[user alice]\nnet = bridge\n[user bob]\nnet = bridge\n[network default]\nsubnet6 = fd00:88::/64\n"

# frame.py FRAME-AS-HEX [COUNT]
SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3): s.send(bytes.fromhex(sys.argv[1]))
"""

# Prints the frames of SECONDS that eth0 shows in promiscuous mode, as hex.
SNIFF = """
import socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 0))
s.setsockopt(263, 1, struct.pack("IHH8s", socket.if_nametoindex("eth0"), 1, 0, b""))
print("ready", flush=True)
end = time.time() + float(sys.argv[1])
while time.time() < end:
    s.settimeout(max(0.01, end - time.time()))
    try: print(s.recv(2000).hex(), flush=True)
    except OSError: pass
"""


def two_boxes(h, extra=BRIDGE):
    h.policy(policy(extra))
    return h.session("alice"), h.session("bob")


def card(h, pid):
    link, = json.loads(h.enter(pid, "ip", "-j", "address", "show", "dev", "eth0").out)
    return (link["address"].replace(":", ""),
            *(next(a["local"] for a in link["addr_info"] if a["family"] == f) for f in ("inet", "inet6")))


def bridge_card():
    return observe.read("/sys/class/net/nsbox0/address").strip().replace(":", "")


def packed(address):
    return ipaddress.ip_address(address).packed.hex()


def send(h, pid, frame, count=3):
    h.enter(pid, "python3", "-c", SEND, frame, str(count)).check()


def arp(to, sender, sender_card, target, op=2, from_card=None):
    return (to + (from_card or sender_card) + "0806" + "000108000604" + f"{op:04x}" + sender_card + packed(sender)
            + "0" * 12 + packed(target))


def datagram(to, source_card, source, target, port):
    """UDP over IPv4 with the right checksum of the header."""
    head = bytes.fromhex("4500001d000040004011" + "0000" + packed(source) + packed(target))
    total = sum(int.from_bytes(head[i:i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xffff) + (total >> 16)
    head = head[:10] + (0xffff - total).to_bytes(2, "big") + head[12:]
    return to + source_card + "0800" + head.hex() + f"{4000:04x}{port:04x}0009000078"


def heard(h, address, port, act):
    """Does a UDP socket of the host hear anything while act() runs?"""
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    s.settimeout(0.5)
    act()
    try:
        return s.recvfrom(10)[1][0]
    except OSError:
        return None
    finally:
        s.close()


@test
def a_box_cannot_send_with_the_address_of_another(h):
    def attack(h):
        a, b = two_boxes(h, BRIDGE.replace("net = bridge\n", "net = bridge\negress = 10.88.0.1:udp/4000\n"))
        mine, theirs = card(h, a.pid), card(h, b.pid)
        got = heard(h, "10.88.0.1", 4000, lambda: send(h, a.pid, datagram(bridge_card(), mine[0], theirs[1], "10.88.0.1", 4000)))
        return got == theirs[1]
    both(h, "spoof", attack)


@test
def a_box_cannot_send_with_the_card_of_another(h):
    def attack(h):
        a, b = two_boxes(h, BRIDGE.replace("net = bridge\n", "net = bridge\negress = 10.88.0.1:udp/4000\n"))
        mine, theirs = card(h, a.pid), card(h, b.pid)
        return bool(heard(h, "10.88.0.1", 4000,
                          lambda: send(h, a.pid, datagram(bridge_card(), theirs[0], mine[1], "10.88.0.1", 4000))))
    both(h, "spoof", attack)


@test
def arp_cannot_make_the_host_take_one_box_for_another(h):
    def attack(h):
        a, b = two_boxes(h)
        mine, theirs = card(h, a.pid), card(h, b.pid)
        h.run(["ping", "-c1", "-W1", theirs[1]])
        send(h, a.pid, arp(bridge_card(), theirs[1], mine[0], "10.88.0.1"))
        send(h, a.pid, arp(bridge_card(), theirs[1], mine[0], "10.88.0.1", op=1))
        return mine[0] in h.run(["ip", "-4", "neighbour", "show", theirs[1], "dev", "nsbox0"]).out.replace(":", "")
    both(h, ("spoof", "neighbour"), attack)


@test
def lies_about_a_neighbour_do_not_reach_another_box(h):
    def attack(h):
        a, b = two_boxes(h)
        mine, theirs = card(h, a.pid), card(h, b.pid)
        h.enter(b.pid, "ping", "-c1", "-W1", "10.88.0.1")
        send(h, a.pid, arp(theirs[0], "10.88.0.1", mine[0], theirs[1]))
        send(h, a.pid, arp(theirs[0], "10.88.0.1", mine[0], theirs[1], op=1))
        return mine[0] in h.enter(b.pid, "ip", "neighbour", "show", "10.88.0.1").out.replace(":", "")
    both(h, ("spoof", "isolate"), attack)


@test
def frames_to_another_box_do_not_reach_it(h):
    def attack(h):
        a, b = two_boxes(h)
        mine, theirs = card(h, a.pid), card(h, b.pid)
        sniff = h.start(["nsenter", "-t", str(b.pid), "-n", "python3", "-c", SNIFF, "1.5"], stdout=subprocess.PIPE)
        sniff.stdout.readline()
        frame = arp(theirs[0], mine[1], mine[0], theirs[1], op=1)
        send(h, a.pid, frame)
        return frame in sniff.stdout.read().decode()
    both(h, "isolate", attack)


@test
def a_promiscuous_box_sees_nothing_of_another(h):
    def attack(h):
        a, b = two_boxes(h)
        mine, theirs = card(h, a.pid), card(h, b.pid)
        sniff = h.start(["nsenter", "-t", str(a.pid), "-n", "python3", "-c", SNIFF, "2"], stdout=subprocess.PIPE)
        sniff.stdout.readline()
        send(h, b.pid, arp("f" * 12, theirs[1], theirs[0], "10.88.0.99", op=1))
        h.enter(b.pid, "ping", "-c1", "-W1", "10.88.0.1")
        return theirs[0] in sniff.stdout.read().decode()
    both(h, "isolate", attack)


@test
def a_scan_of_the_host_and_of_the_bridge_finds_nothing(h):
    scan = "import socket\nfor a in {targets!r}:\n for p in (22, 2049):\n  s = socket.socket(10 if ':' in a else 2)\n" \
           "  s.settimeout(0.3)\n  try: s.connect((a, p)); print('open', a, p)\n  except OSError: pass\n"

    def attack(h):
        a, b = two_boxes(h)
        servers = [socket.create_server(("::", 2049), family=socket.AF_INET6, dualstack_ipv6=True)]
        try:
            out = h.enter(a.pid, "python3", "-c", scan.format(targets=["10.88.0.1", "fd00:88::1", *card(h, b.pid)[1:]])).check().out
        finally:
            for s in servers:
                s.close()
        return "open" in out
    both(h, "boundary", attack)


@test
def a_tag_does_not_lead_to_a_vlan_of_the_bridge(h):
    """Seen where a VLAN on the bridge would take it: not every kernel has VLANs."""
    a, b = two_boxes(h)
    mine = card(h, a.pid)
    plain, other = (datagram(bridge_card(), mine[0], mine[1], "10.88.0.1", port) for port in (4001, 4002))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.bind(("nsbox0", 0))
        tap.settimeout(5)
        for kind in ("8100", "88a8"):
            send(h, a.pid, other[:24] + kind + "0005" + other[24:], 1)
        send(h, a.pid, plain, 1)
        while (port := struct.unpack("!H", tap.recv(2000)[-7:-5])[0]) not in (4001, 4002):
            pass
    eq(port, 4001, "port of the first that comes through")


@test
def a_box_cannot_fill_the_hosts_table_of_neighbours(h):
    a, b = two_boxes(h)
    mine = card(h, a.pid)
    for n in range(1, 40):
        send(h, a.pid, datagram(bridge_card(), mine[0], mine[1], f"10.88.200.{n}", 4000), 1)
    eq(h.run("ip neighbour show dev nsbox0 to 10.88.200.0/24").out, "", "neighbours that the host looks for")


def forget_connections():
    """Empties the table of connections; left to itself, the kernel sweeps it when it has time."""
    ctnetlink, delete, request_and_ack = 1, 2, 0x5
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:
        s.send(struct.pack("=IHHIIBBH", 20, ctnetlink << 8 | delete, request_and_ack, 1, 0, 0, 0, 0))
        error, = struct.unpack_from("=i", s.recv(4096), 16)
        assert error == 0, f"the kernel does not empty its table of connections: {error}"


@test(timeout=180)
def a_box_cannot_fill_the_hosts_table_of_connections(h):
    flood = "import socket\ns=[]\nfor p in range(1, 4001):\n u=socket.socket(2,2); u.bind(('',0)); u.connect(('192.0.2.80', p)); u.send(b'x'); u.close()\n"

    def attack(h):
        a, _ = two_boxes(h)
        h.run("ip route replace 192.0.2.0/24 dev nsbox1")
        count = lambda: int(h.run("sysctl -n net.netfilter.nf_conntrack_count").out)
        forget_connections()
        h.enter(a.pid, "python3", "-c", flood, timeout=60).check()
        return count() > 3000
    h.run("ip link add nsbox1 type veth peer name nsbox2")
    for name in ("nsbox1", "nsbox2"):
        h.run(f"ip link set {name} up").check()
    h.run("ip address add 192.0.2.1/24 dev nsbox1").check()
    h.run("ip neighbour replace 192.0.2.80 lladdr 02:00:00:00:00:09 dev nsbox1").check()
    try:
        both(h, "ctlimit", attack)
    finally:
        h.run("ip link delete nsbox1")


def forget(h):
    for table in ("inet nsbox", "bridge nsbox"):
        h.run(f"nft delete table {table}")
    h.run("ip link delete nsbox0")
    h.policy(policy())


main(prepare("spoof", "neighbour", "isolate", "boundary", "ctlimit", ("spoof", "neighbour"), ("spoof", "isolate")), before_each=forget)
