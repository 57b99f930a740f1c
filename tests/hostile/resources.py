#!/usr/bin/python3 -B
"""What one box takes of inotify, pending signals, message queues, terminals and inodes is its own to lose.

The host's root is shared with the machine that the tests run on: every probe holds for the moment of one
measurement, and ends by itself if the test does not end it.
"""

import contextlib
import os
import re
import subprocess

from common import both, compile_probe, give_probe, init_of, prepare, restore, without
import observe
from tap import eq, main, test


class Taker:
    """probe/take at work until closed; .count is what it got."""

    def __init__(self, h, argv):
        self.popen = h.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        line = self.popen.stdout.readline().decode()
        found = re.match(r"took (\d+) (\w+)", line)
        assert found, f"{argv}: {line!r}"
        self.count, self.why = int(found[1]), found[2]

    def close(self):
        self.popen.stdin.close()
        self.popen.wait(10)


@contextlib.contextmanager
def taken(h, user, *args):
    path = give_probe(h, user, "take")
    t = Taker(h, h.ssh_argv(user, path, *args))
    try:
        yield t
    finally:
        t.close()


def root_gets(h, *args):
    """What is left for root of the host."""
    t = Taker(h, [compile_probe("take"), *args])
    t.close()
    return t.count


def left_by_alice(h, kind, enough):
    """(alice took, bob's box then gets, root of the host then gets), each at most enough."""
    bob = h.session("bob")
    path = give_probe(h, "bob", "take")
    with taken(h, "alice", kind) as alice:
        root = root_gets(h, kind, str(enough))
        r = h.enter(bob.pid, path, kind, str(enough), uid=1002)
    other = int(observe.field(r.out, r"took (\d+)"))
    bob.close()
    return alice.count, other, root


def takes_from_others(kind, enough):
    def attack(h):
        took, other, root = left_by_alice(h, kind, enough)
        assert took >= enough, f"alice took only {took}"
        return other < enough and root < enough
    return attack


@test
def inotify_instances(h):
    both(h, "owner", takes_from_others("inotify", 20))


@test
def pending_signals(h):
    both(h, "owner", takes_from_others("signals", 1000))


@test
def bytes_of_message_queues(h):
    both(h, "owner", takes_from_others("mqueue", 3))


@test
def terminals(h):
    """The pool is one for the machine, so without the limit this takes some, not all."""
    def attack(h):
        before = int(observe.read("/proc/sys/kernel/pty/nr"))
        with taken(h, "alice", "ptys", "300") as alice:
            now = int(observe.read("/proc/sys/kernel/pty/nr"))
            assert now - before >= alice.count - 30, f"{alice.count} taken, but the kernel counts {now - before} more"
            return alice.count > 64
    both(h, "ptymax", attack)
    with taken(h, "alice", "ptys", "300") as alice:
        eq(alice.count, 64, "ptys of one box")
        with taken(h, "bob", "ptys", "300") as bob:
            eq(bob.count, 64, "ptys of another box meanwhile")
        assert root_gets(h, "ptys", "100") == 100, "the host has too few left"


@test
def inodes_of_every_tmpfs(h):
    """Every tmpfs that the user can write to, with a few more files than it may hold."""
    def attack(h):
        s = h.session("alice")
        root = f"/proc/{init_of(s.pid).pid}/root"
        places = [p for p in ("/tmp", "/var/tmp", "/dev/shm", "/run/user/1001", "/run/lock") if os.path.isdir(root + p)]
        most = {p: os.statvfs(root + p).f_files for p in places}   # as the host sees it
        s.close()
        return [f"{p}: {n}" for p, n in most.items() if n > 100000 or n == 0]
    both(h, "inodes", attack)


@test
def inodes_taken_in_one_box_are_limited(h):
    """As seen by who takes them: /dev/shm, of 256M, holds 16,384, and without the limit many more."""
    def attack(h):
        with taken(h, "alice", "inodes", "20000", "/dev/shm") as alice:
            return alice.count > 16384
    both(h, "inodes", attack)
    with taken(h, "alice", "inodes", "20000", "/dev/shm") as alice:
        eq(alice.why, "ENOSPC", "the end of it")
        with taken(h, "bob", "inodes", "5000", "/dev/shm") as bob:
            eq(bob.count, 5000, "files of another box meanwhile")


main(prepare("owner", "ptymax", "inodes"), before_each=restore)
