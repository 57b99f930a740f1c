"""What the host's side sees: processes, namespaces, cgroups. Reads /proc only, asks nsbox nothing."""

import os
import re
import time

NAMESPACES = ("user", "mnt", "pid", "uts", "ipc", "net", "cgroup")


class TimedOut(AssertionError):
    pass


def wait_until(predicate, timeout, what):
    """Poll until predicate() is true and return its value; 2 ms steps at first, 20 ms later."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimedOut(f"after {timeout} s still not: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def kill(pid, sig=9):
    """Send a signal; a process that is gone already is all right."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def read(path, default=""):
    try:
        with open(path, "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return default


def ns_inode(pid, name):
    return os.stat(f"/proc/{pid}/ns/{name}").st_ino


def nsinos(pid):
    """{name: inode} of the seven namespaces that the process itself is in."""
    return {name: ns_inode(pid, name) for name in NAMESPACES}


class Process:
    def __init__(self, pid):
        text = read(f"/proc/{pid}/status")
        if not text:
            raise ProcessLookupError(pid)
        self.pid = pid
        self.status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        self.name = self.status["Name"]
        self.ppid = int(self.status["PPid"])
        self.zombie = self.status["State"].startswith("Z")
        self.uids = [int(n) for n in self.status["Uid"].split()]
        self.gids = [int(n) for n in self.status["Gid"].split()]
        self.groups = [int(n) for n in self.status["Groups"].split()]
        self.nspid = [int(n) for n in self.status["NSpid"].split()]
        self.cmdline = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        try:
            self.userns = ns_inode(pid, "user")
        except OSError:
            self.userns = None

    @property
    def boxed(self):
        """In another user namespace than the host's (this includes callers that have joined)."""
        return self.userns not in (None, HOST_USERNS)

    @property
    def is_init(self):
        return len(self.nspid) > 1 and self.nspid[-1] == 1

    def __repr__(self):
        return f"{self.pid}:{self.name}({self.cmdline[:60]}) uid={self.uids[1]} nspid={self.nspid}"


HOST_USERNS = ns_inode("self", "user")


def processes():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.append(Process(int(entry)))
            except (ProcessLookupError, KeyError):
                pass
    return found


def boxed():
    return [p for p in processes() if p.boxed and not p.zombie]


def inits():
    return [p for p in boxed() if p.is_init]


def keepers():
    return [p for p in processes() if not p.zombie and
            (p.name == "nsbox-keeper" or p.cmdline.split(" ")[0].endswith("nsbox-keeper")) and not p.boxed]


def ancestors(pid):
    """The process's parents, nearest first, up to pid 1."""
    chain = []
    try:
        p = Process(pid)
        while p.ppid > 1:
            p = Process(p.ppid)
            chain.append(p)
    except ProcessLookupError:
        pass
    return chain


def with_environment(text):
    """Pids whose environment holds NAME=VALUE."""
    needle = text.encode() + b"\0"
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as f:
                    if needle in f.read():
                        found.append(int(entry))
            except OSError:
                pass
    return found


def cgroups_of(pid):
    """{controllers: path} from /proc/PID/cgroup; v2 has the key ''."""
    found = {}
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found[controllers] = path
    return found


def box_cgroups():
    """Every box's directory below .../nsbox in every hierarchy of the throwaway host.

    .../nsbox (nsbox.service under systemd) itself stays, with `keepers`, where keepers go, and `hold`,
    where the service's process is: they are no box's.
    """
    found = []
    for top, dirs, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(top) in ("nsbox", "nsbox.service"):
            found += [os.path.join(where, d) for where, below, _ in os.walk(top) for d in below
                      if d not in ("keepers", "hold")]
            dirs.clear()
    return sorted(found)


def may_raise_limits():
    """Root of some machines lacks CAP_SYS_RESOURCE: there a lowered hard limit stays."""
    return bool(int(Process("self").status["CapEff"], 16) >> 24 & 1)


def mounts(pid="self"):
    return read(f"/proc/{pid}/mounts").splitlines()


def state_files(top="/run/nsbox"):
    return sorted(os.path.join(where, name) for where, dirs, files in os.walk(top) for name in files + dirs)


def id_map(pid, which="uid"):
    """[(first inside, first outside, count)]"""
    return [tuple(int(n) for n in line.split()) for line in read(f"/proc/{pid}/{which}_map").splitlines()]


def to_host(pid, inside, which="uid"):
    """The host id of an id of the box that the process is in, or None."""
    for first, outside, count in id_map(pid, which):
        if first <= inside < first + count:
            return outside + inside - first
    return None


def field(text, pattern):
    """The first group of a regular expression in text, or an error that shows the text."""
    found = re.search(pattern, text, re.M)
    if not found:
        raise AssertionError(f"no {pattern!r} in:\n{text}")
    return found.group(1) if found.groups() else found.group(0)
