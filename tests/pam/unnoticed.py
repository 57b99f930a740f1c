#!/usr/bin/python3 -B
"""Callers that are let alone notice nothing, and no caller finds a child or a signal that was not its own.

NSBOX_TEST_BREAKDOWN=1 prints where the time of a pass goes.
"""

import os
import statistics
import subprocess

from common import CONFDIR, SUCCESS, argv_of, call, opened, our_lines, restore, setup, unchanged
import observe
from tap import contains, diagnose, eq, main, test

SIGCHLD_ACTIONS = ("default", "ignore", "count", "reap")
ALONE = ("root", "dave", "carol")
MS = 1e6


def prepare(h):
    setup(h)
    # The same stack without us: what libpam itself costs, and does.
    h.write(f"{CONFDIR}/plain", "session required pam_permit.so\n")


# ------------------------------------------------------------ let alone

@test
def nothing_of_the_caller_changes(h):
    for user in ALONE:
        for action in SIGCHLD_ACTIONS:
            for fd0 in ((), ("--fd0=pty",)):
                r = call(h, user, f"--sigchld={action}", "--child", *fd0)
                eq(r.code, SUCCESS, f"{user}, SIGCHLD {action}: code ({r.messages})")
                unchanged(r)
                eq(r.messages, [], "messages")
                eq((r.after["sigchlds"], r.after["reaped"]), (["0"], ["0"]), "SIGCHLDs and children reaped")


@test
def root_and_exempt_users_cost_no_process(h):
    """No fork, no exec, no socket of ours, seen by strace -f."""
    for user in ("root", "dave"):
        trace = "/root/trace"
        eq(call(h, user, prefix=["strace", "-f", "-o", trace]).code, SUCCESS, "code")
        text = observe.read(trace)
        part = text[text.index("/caller-begins"):text.index("/caller-ends")]
        for word in ("clone", "fork", "execve", "nsbox", "kill("):
            assert word not in part, f"{user}: {word} in {[line for line in part.splitlines() if word in line]}"


def times(h, user, *options, n=40, service="only"):
    """p50 in ms of the first open of a process, and of further ones in it."""
    first, rest = [], []
    for _ in range(n):
        r = call(h, user, "--times=8", *options, service=service)
        eq(r.code, SUCCESS, f"code for {user} ({r.messages})")
        first.append(r.took[0])
        rest += r.took[1:]
    return statistics.median(first) / MS, statistics.median(rest) / MS


def in_a_millisecond(h, user):
    """In a caller that knows its user already; the others are told, their time is the name service's."""
    warm, again = times(h, user, "--warm")
    cold, _ = times(h, user)
    diagnose(f"p50 of {user}: {warm:.3f} ms, again {again:.3f} ms, in a process that asked no name service before {cold:.3f} ms")
    assert warm < 1.0, f"p50 of {user}: {warm:.3f} ms"


@test
def root_and_exempt_users_wait_less_than_a_millisecond(h):
    diagnose("p50 of pam_permit alone: %.3f ms, again %.3f ms" % times(h, "root", "--warm", service="plain"))
    for user in ("root", "dave"):
        in_a_millisecond(h, user)


@test
def a_passed_user_waits_less_than_a_millisecond(h):
    in_a_millisecond(h, "carol")
    if os.environ.get("NSBOX_TEST_BREAKDOWN"):
        breakdown(h)


def breakdown(h):
    """With strace's own 20 us or so in each call."""
    call(h, "carol", prefix=["strace", "-f", "-r", "-o", "/root/trace"])
    text = observe.read("/root/trace")
    for line in text[text.index("/caller-begins"):text.index("/caller-ends")].splitlines():
        print("# " + line[:140])


@test
def a_passed_user_leaves_nothing(h):
    for _ in range(50):
        eq(call(h, "carol").code, SUCCESS, "code")
    h.wait_gone(2)
    eq([p for p in observe.processes() if p.zombie], [], "zombies")
    eq(our_lines(h, 0), [], "lines in the log")


# ------------------------------------------------------------ a box, and no child

@test
def wait_finds_no_child(h):
    """shadow's login does one wait(NULL); util-linux' waits until there is no child."""
    for user in (*ALONE, "alice", "mallory"):
        for action in SIGCHLD_ACTIONS:
            r = call(h, user, f"--sigchld={action}", "--wait")
            eq(r.wait, "-1 No child processes", f"wait() of {user}, SIGCHLD {action}")
            eq((r.after.get("children"), r.after["sigchlds"]), (r.before.get("children"), ["0"]), "children, SIGCHLDs")
            h.wait_gone()


@test
def a_box_is_opened_whatever_is_done_with_sigchld(h):
    for action in SIGCHLD_ACTIONS:
        for child in ((), ("--child",)):
            r = call(h, "alice", f"--sigchld={action}", *child, "--run=exit 3")
            opened(r)
            eq(r.ran, 3, "exit code of the session's program")
            h.wait_gone()


@test
def the_child_of_the_caller_stays_the_callers(h):
    """It is neither reaped nor signalled, with a box as without."""
    for user in ("carol", "alice", "mallory"):
        for action in ("default", "count", "reap"):
            r = call(h, user, f"--sigchld={action}", "--child", "--wait")
            eq(len(r.after["children"][0].split()), 1, "children after the open")
            eq(r.after["children"], r.before["children"], "the child")
            if action != "reap":
                contains(r.wait, "a child", f"wait() of {user}, SIGCHLD {action}")
            h.wait_gone()


@test
def a_boxed_caller_keeps_its_signals_limits_and_descriptors(h):
    """What the join does not speak of."""
    for action in SIGCHLD_ACTIONS:
        r = call(h, "alice", f"--sigchld={action}", "--child", "--nproc=5000")
        opened(r)
        for key in sorted({*r.before, *r.after}):
            if key.startswith(("sig", "rlimit", "fd.", "env", "nice", "children", "reaped", "status.Umask", "status.Threads",
                               "status.NSpid")):
                eq(r.after.get(key), r.before.get(key), f"{key}, SIGCHLD {action}")
        h.wait_gone()


@test
def the_keeper_is_nobodys_child(h):
    p = h.start(argv_of("alice", "--hold"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    while (line := p.stdout.readline()) != b"holding\n":
        assert line, "the caller ended"
    k = observe.keepers()
    eq(len(k), 1, f"keepers in {k}")
    eq(k[0].ppid, 1, "the keeper's parent")
    eq([q for q in observe.processes() if q.ppid == p.pid], [], "children of the caller")
    p.stdin.close()
    p.wait(5)
    p.stdout.close()
    h.wait_gone()


main(prepare, before_each=restore)
