#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Measures what a network costs: a box's opening, the 500th box, and throughput.

Everything runs in one throwaway host, what is compared in turn, so that it was measured in the same
second; the result is the median of the ratios of such pairs.

    tests/bench/network.py [--rounds N] [--boxes N] [--seconds N]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.realpath(os.path.join(HERE, "../.."))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../login")]
import host
import observe

POLICY = "[defaults]\nlinger = 0\n[user alice]\naction = box\nnet = bridge\n[network default]\nsubnet6 = fd00:88::/64\n"
OUTSIDE, UPLINK = "192.0.2.80", "198.51.100.2"


def build(h, into):
    """floor-net and nettime."""
    flags = h.run("pkg-config --cflags --libs libnl-3.0 libnl-route-3.0 libnftables").check().out.split()
    includes = ["-I" + os.path.join(REPO, d) for d in ("pam_nsbox", "helper/policy", "helper/lib", "helper/box", "helper/net")]
    for name in ("floor-net", "nettime", "opentime"):
        h.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o", f"{into}/{name}", f"{HERE}/{name}.c", *includes, *flags, "-lpam"],
              timeout=120).check()


def nettime(h, *words):
    out = h.run(["/tmp/nettime", host.PREFIX + "/libexec/nsbox-net", "/tmp/floor-net", *map(str, words)], timeout=900).check().out
    return [[float(word) / 1000 for word in line.split()] for line in out.splitlines()]


def print_row(what, value, against, result, must, ok):
    print(f"| {what} | {value} | {against} | {result:.2f} | {must} | {'ok' if ok else 'MISSED'} |", flush=True)


def opening(h, rounds):
    pairs = nettime(h, "pairs", rounds)
    ratio = statistics.median(a / b for a, b in pairs)
    print_row("nsbox-net, one box", f"{statistics.median(a for a, _ in pairs):.2f} ms",
              f"bare libnl and libnftables {statistics.median(b for _, b in pairs):.2f} ms", ratio, "≤ 1.5", ratio <= 1.5)


def growth(what, boxes, values, must):
    """The last 50 against the first 50."""
    first, last = statistics.median(values[:50]), statistics.median(values[-50:])
    print_row(f"{what}, box {boxes}", f"{last:.2f} ms", f"the first {first:.2f} ms", last / first,
              f"≤ {must}" if must else "-", not must or last / first <= must)
    return last


def many(h, boxes):
    net, net_cpu, bare, bare_cpu = zip(*nettime(h, "many", boxes))
    last = growth("nsbox-net", boxes, net, 1.2), growth("the bare program", boxes, bare, None)
    growth("nsbox-net, its processor time", boxes, net_cpu, 1.2)
    growth("the bare program, its processor time", boxes, bare_cpu, None)
    print_row(f"box {boxes} against the bare program", f"{last[0]:.2f} ms", f"{last[1]:.2f} ms", last[0] / last[1], "≤ 1.5",
              last[0] / last[1] <= 1.5)


def many_opened(h, boxes):
    """The whole of pam_open_session(), by as many users, whose sessions stay."""
    for n in range(boxes):
        h.append("/etc/passwd", f"user{n}:x:{3000 + n}:3000::/home/user{n}:/bin/sh\n")
        os.mkdir(f"/home/user{n}")
        os.chown(f"/home/user{n}", 3000 + n, 3000)
    h.append("/etc/group", "users-of-bench:x:3000:\n")
    h.policy(POLICY + "[group users-of-bench]\naction = box\nnet = bridge\n")
    out = h.run(["/tmp/opentime", "-n", str(boxes), "-g", "20", "-s", "-u", "user", "-m", host.MODULE], timeout=900).check().out
    took, cpu = zip(*([float(word) / 1000 for word in line.split()] for line in out.splitlines()))
    growth("the whole opening", boxes, took, 1.2)
    growth("the whole opening, its processor time", boxes, cpu, 1.2)


def make_path(h):
    """A server outside, behind the host, and a bare veth and bridge beside nsbox's."""
    for words in ("netns add outside", "netns add bare",
                  "link add uplink type veth peer name eth0 netns outside", f"address add {UPLINK}/24 dev uplink",
                  "link set uplink up", "-n outside address add 198.51.100.1/24 dev eth0",
                  f"-n outside address add {OUTSIDE}/32 dev lo", "-n outside link set eth0 up", "-n outside link set lo up",
                  f"route add default via 198.51.100.1",
                  "link add bare0 type bridge", "address add 10.99.0.1/16 dev bare0", "link set bare0 up",
                  "link add port type veth peer name eth0 netns bare", "link set port master bare0 up",
                  "-n bare address add 10.99.0.2/16 dev eth0", "-n bare link set eth0 up", "-n bare link set lo up",
                  "-n bare route add default via 10.99.0.1"):
        h.run("ip " + words).check()
    h.run(["nft", "table inet bare { chain c { type nat hook postrouting priority srcnat; "
           "ip saddr 10.99.0.0/16 oifname uplink masquerade; }; }"]).check()
    h.run("sysctl -qw net.ipv4.ip_forward=1").check()
    server = h.start(["ip", "netns", "exec", "outside", "iperf3", "-s", "--forceflush"], stdout=subprocess.PIPE)
    while b"listening" not in server.stdout.readline():
        pass


def rate(h, enter, seconds):
    """Gbit/s that arrive."""
    out = h.run([*enter, "iperf3", "-J", "-c", OUTSIDE, "-t", str(seconds)], timeout=seconds + 20).check().out
    return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e9


def throughput(h, rounds, seconds):
    make_path(h)
    box = h.session("alice")
    ways = {"box": ["nsenter", "-t", str(box.pid), "-n"], "bare": ["ip", "netns", "exec", "bare"]}
    pairs = []
    for n in range(rounds):
        order = ("box", "bare") if n % 2 else ("bare", "box")
        got = {name: rate(h, ways[name], seconds) for name in order}
        pairs.append((got["box"], got["bare"]))
    ratio = statistics.median(a / b for a, b in pairs)
    print_row("throughput, box to outside", f"{statistics.median(a for a, _ in pairs):.1f} Gbit/s",
              f"bare veth and bridge {statistics.median(b for _, b in pairs):.1f} Gbit/s", ratio, "≥ 0.95", ratio >= 0.95)
    quarters = statistics.quantiles((a / b for a, b in pairs), n=4)
    print(f"  (the middle half of the ratios: {quarters[0]:.2f} to {quarters[2]:.2f}, n = {rounds})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="pairs of openings; half as many of throughput (40)")
    parser.add_argument("--boxes", type=int, default=500, help="how many boxes are there at the end (500)")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement of throughput (2)")
    args = parser.parse_args()
    h = host.Host()
    os.makedirs("/run/netns", exist_ok=True)
    h.add_user("alice")
    h.install()
    h.policy(POLICY)
    h.enable("sshd")
    h.sshd()
    build(h, "/tmp")
    print("| what | nsbox | against | result | must | |\n| --- | --- | --- | --- | --- | --- |")
    opening(h, args.rounds)
    throughput(h, args.rounds // 2, args.seconds)
    many(h, args.boxes)
    many_opened(h, args.boxes)
    print(f"\nLinux {os.uname().release}, {os.cpu_count()} cpus, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
