#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Measures nsbox against its floor and prints the table.

Everything runs in one throwaway host (tests/lib/host.py), in rounds, so that
what is compared was measured in the same minute. All times are the p50.

"warm": the kernel's lock on cgroup moves is in the state that the mount option
favordynmods gives it. Where the option is not on, floor warm keeps it so by
moving a process every 2 ms; nothing on the machine is changed. "cold": it is
not, and every first move after a pause waits for an RCU grace period.

    tests/bench/run.py [--rounds N] [--count N] [--check]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import host
import observe

POLICY = """\
[defaults]
linger = 0
net = none
rootfs = host
[user alice]
action = box
"""

BWRAP = ["bwrap", "--unshare-all", "--uid", "1000", "--gid", "1000", "--hostname", "alice",
         "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
         "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/sbin", "/sbin",
         "--ro-bind", "/etc", "/etc", "--bind", "/home/alice", "/home/alice",
         "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run",
         "--chdir", "/", "true"]

PROGRAMS = {
    "floor": ["floor.c", "floor-cgroup.c"],
    "opentime": ["opentime.c", "-lpam"],
    "spawntime": ["spawntime.c"],
}

# A first cgroup move that takes less than this (in ms) did not wait for a grace period.
COLD_MOVE_MS = 1.5


class Bench:
    def __init__(self, args):
        self.args = args
        self.h = host.Host()
        self.bin = tempfile.mkdtemp(prefix="nsbox-bench-")
        self.samples = {}
        self.row = []
        for name, sources in PROGRAMS.items():
            cc = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", "-o", self.program(name)]
            sources = [s if s.startswith("-") else os.path.join(HERE, s) for s in sources]
            self.h.run(cc + sources, timeout=120).check()
        for user in ("alice", "carol"):
            self.h.add_user(user)
        self.h.install()
        self.h.policy(POLICY)
        self.h.enable("sshd")
        self.h.sshd()

    def program(self, name):
        return os.path.join(self.bin, name)

    def time(self, what, *argv):
        """One round of a timing program, added to the samples of `what`."""
        argv = [self.program(argv[0]), "-n", str(self.args.count), *argv[1:]]
        out = self.h.run(argv, timeout=60 + self.args.count * 2).check().out
        self.samples.setdefault(what, []).extend(float(line) / 1000 for line in out.split())

    def p50(self, what):
        return statistics.median(self.samples[what])

    def round(self, state):
        """Every measurement of one state of the lock once, next to each other."""
        opentime = ("opentime", "-u", "alice", "-m", host.MODULE)
        self.time(state + " floor new", "floor", "-c", self.content, "new")
        self.time(state + " new", *opentime, "-w")
        self.time(state + " floor move", "floor", "move")
        self.time(state + " joined", *opentime, "-k")
        self.time(state + " bwrap", "spawntime", *BWRAP)

    def write_content(self):
        """What is in alice's box, seen from the host, for the floor program to make again."""
        held = self.h.session("alice")
        self.content = os.path.join(self.bin, "content")
        with open(self.content, "w") as f:
            f.writelines(line + "\n" for line in content_of(observe.inits()[0].pid))
        held.close()
        self.wait_no_box()

    def rounds(self):
        self.write_content()
        self.time("first move", "floor", "move")
        self.always_warm = self.p50("first move") < COLD_MOVE_MS
        for _ in range(self.args.rounds):
            if not self.always_warm:
                self.round("cold")
            mover = None if self.always_warm else self.h.start([self.program("floor"), "warm"])
            time.sleep(0.3)
            self.round("warm")
            if mover:
                mover.kill()
                mover.wait()
                time.sleep(0.3)

    def wait_no_box(self):
        observe.wait_until(lambda: not observe.inits() and not observe.keepers(), 10, "no box is left")

    def one_login(self, what, user):
        start = time.monotonic()
        self.h.ssh(user, "true").check()
        self.samples.setdefault(what, []).append((time.monotonic() - start) * 1000)

    def logins(self):
        """Whole logins, alternating; first into new boxes, then into one that exists."""
        for _ in range(self.args.rounds * self.args.count):
            self.one_login("ssh passed", "carol")
            self.one_login("ssh boxed, new box", "alice")
            self.wait_no_box()
        held = self.h.session("alice")
        for _ in range(self.args.rounds * self.args.count):
            self.one_login("ssh passed, later", "carol")
            self.one_login("ssh boxed, box exists", "alice")
        held.close()
        self.wait_no_box()

    def memory(self):
        """PSS of an idle box in MiB: {process name: size}."""
        held = self.h.session("alice")
        time.sleep(1)
        found = {}
        for role, processes in (("keeper", observe.keepers()), ("init", observe.inits())):
            sizes = [observe.field(observe.read(f"/proc/{p.pid}/smaps_rollup"), r"^Pss: +(\d+)")
                     for p in processes]
            found[role] = sum(int(size) for size in sizes) / 1024
        held.close()
        return found

    # ------------------------------------------------------------ the table

    def add(self, what, value, against, ratio, must, aim, unit=""):
        verdict = "aim" if ratio <= aim else "ok" if ratio <= must else "MISSED"
        self.row.append((what, value, against, f"{ratio:.2f}{unit}", f"≤ {must}{unit}", f"≤ {aim}{unit}",
                         verdict))

    def compare(self, what, value, against, name, must, aim):
        self.add(what, f"{self.p50(value):.2f} ms", f"{name} {self.p50(against):.2f} ms",
                 self.p50(value) / self.p50(against), must, aim)

    def table(self, memory):
        self.compare("new box, warm", "warm new", "warm floor new", "floor", 2.0, 1.4)
        self.compare("new box, warm", "warm new", "warm bwrap", "bubblewrap", 1.0, 1.0)
        if not self.always_warm:
            self.compare("new box, cold", "cold new", "cold floor new", "floor", 1.2, 1.0)
        for state in ("warm",) if self.always_warm else ("warm", "cold"):
            opened, move = self.p50(state + " joined"), self.p50(state + " floor move")
            self.add("box exists, " + state, f"{opened:.2f} ms", f"one move {move:.2f} ms", opened - move,
                     1.0, 0.3, " ms more")
        self.compare("ssh, new box", "ssh boxed, new box", "ssh passed", "unboxed", 1.08, 1.03)
        self.compare("ssh, box exists", "ssh boxed, box exists", "ssh passed, later", "unboxed", 1.08, 1.03)
        total = sum(memory.values())
        self.add("memory of an idle box", f"{total:.2f} MiB",
                 ", ".join(f"{role} {size:.2f}" for role, size in memory.items()), total, 1.5, 0.7, " MiB")

    def print_table(self):
        head = ("what", "nsbox", "against", "result", "must", "aim", "")
        widths = [max(len(r[i]) for r in [head, *self.row]) for i in range(len(head))]
        for cells in (head, ["-" * w for w in widths], *self.row):
            print("| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |")

    def print_samples(self):
        for what, values in self.samples.items():
            tenths = statistics.quantiles(values, n=10, method="inclusive")
            print(f"  {what}: p10 {tenths[0]:.2f}, p50 {self.p50(what):.2f}, p90 {tenths[8]:.2f} ms, "
                  f"n = {len(values)}")


def files_of(root, top):
    """The files, directories and symlinks of one tmpfs of a box, as lines for the floor program."""
    here = os.stat(root + top).st_dev
    for directory, names, files in os.walk(root + top):
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            inside = path[len(root):]
            if os.path.islink(path):
                yield f"l {inside} {os.readlink(path)}"
            elif os.path.isdir(path):
                yield f"d {inside}"
            else:   # on another device: what a file is mounted on
                yield f"f {inside} {os.path.getsize(path) if os.lstat(path).st_dev == here else 0}"
        names[:] = [n for n in names if os.lstat(os.path.join(directory, n)).st_dev == here]


def content_of(init):
    """Every file and mount of a box, but for what the floor makes anyhow; mounts as in mountinfo (proc(5))."""
    root = f"/proc/{init}/root"
    yield from files_of(root, "/")
    for line in observe.read(f"/proc/{init}/mountinfo").splitlines():
        fields, fstype = line.split(" - ")[0].split(), line.split(" - ")[1].split()[0]
        origin, point = fields[3:5]
        if point in ("/", "/dev"):
            continue
        if point.startswith("/proc/"):
            yield f"p {point} {'/proc' + origin if fstype == 'proc' else '/dev/null'}"
        elif os.path.exists(point) and os.stat(point).st_dev == os.stat(root + point).st_dev:
            yield f"H {point}"
        elif fstype == "tmpfs":
            yield f"t {point}"
            yield from files_of(root, point)


def machine(always_warm):
    model = observe.field(observe.read("/proc/cpuinfo"), r"^model name\s*: (.*)$")
    layout = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"
    if any("favordynmods" in line for line in observe.mounts() if " cgroup" in line):
        warm = "favordynmods on"
    elif always_warm:
        warm = "favordynmods not among the mount options, but moves are as fast as with it"
    else:
        warm = "favordynmods off (warm: by floor warm)"
    return (f"as measured on Linux {os.uname().release}, {os.cpu_count()} cpus ({model}), "
            f"cgroup {layout}, {warm}, load {os.getloadavg()[0]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4, help="rounds of everything (4)")
    parser.add_argument("--count", type=int, default=15, help="measurements of each kind in a round (15)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must is missed")
    bench = Bench(parser.parse_args())
    bench.rounds()
    bench.logins()
    bench.table(bench.memory())
    bench.print_table()
    print()
    bench.print_samples()
    print(machine(bench.always_warm))
    missed = [row for row in bench.row if row[-1] == "MISSED"]
    sys.exit(1 if missed and bench.args.check else 0)


if __name__ == "__main__":
    main()
