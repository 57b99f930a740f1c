#!/usr/bin/python3 -B
"""All or nothing: each system call that the module makes in the caller fails once, in a run of its own.

Either the session is opened all the same, or the caller is exactly as it was. A failure after setns(),
which nothing can undo, is PAM_ABORT, and leaves the caller without a capability.
"""

import dataclasses
import os
import subprocess

from common import (ABORT, CALLER, CONFDIR, POLICY, SESSION_ERR, SUCCESS, SYSTEM_ERR, call, opened, restore, setup,
                    wait_log)
import faults
import observe
from observe import wait_until
from tap import diagnose, eq, main, test

OPTIONS = ("--fd0=pty", "--nproc=5000", "--child")
USERS = ("alice", "bob")    # a job each

# The marker lets pam_open_session's system calls be told from the rest.
BEGINS, ENDS = "/caller-begins", "/caller-ends"

new_box, second_session = [], []    # the runs of the two series


@dataclasses.dataclass
class Run:
    call: faults.Call
    error: str
    report: object
    hit: str            # strace's line of the failed call
    after_join: bool
    lines: list         # "no box for" in the log
    left: object        # what was left, or None
    seconds: float

    def __str__(self):
        return f"{self.error} from {self.hit or self.call}"


def prepare(h):
    setup(h)
    for user in USERS:
        os.makedirs(f"/root/{user}")
    global elsewhere
    elsewhere = faults.cgroup_elsewhere()


def traced(h, user, *strace, options=OPTIONS):
    trace = f"/root/{user}/trace"
    r = call(h, user, *options, prefix=[*elsewhere, "strace", "-o", trace, *strace])
    return r, trace


def learn(h, user="alice"):
    r, trace = traced(h, user)
    opened(r)
    if not second_holders:
        h.wait_gone()
    calls = faults.between(faults.read(trace), BEGINS, ENDS)
    # libpam writes its own audit record after the module is done.
    libpam = next((i for i, c in enumerate(calls) if "NETLINK_AUDIT" in c.text), len(calls))
    return [c for c in calls[:libpam] if c.name not in faults.CANNOT_FAIL]


def own_leftovers(h, user):
    """What one user's box leaves while another's may live."""
    uid = h.users[user].uid
    return ([c for c in observe.box_cgroups() if f"/{uid}-" in c] +
            [f for f in observe.state_files() if f"/run/nsbox/{uid}" in f])


second_holders = {}


def shoot(h, user, item):
    c, error = item
    mark = h.log_mark()
    r, trace = traced(h, user, "-e", f"inject={c.name}:error={error}:when={c.when}")
    hit, joined = faults.injected(trace)
    left = None
    if not second_holders:
        try:
            wait_until(lambda: not own_leftovers(h, user), 4, "")
        except observe.TimedOut:
            left = own_leftovers(h, user)
    wait_log(h, mark)
    lines = [line for line in h.log_since(mark).splitlines() if f"no box for {user}:" in line]
    return Run(c, error, r, hit, bool(joined), lines, left, r.took[0] / 1e9)


def series(h, calls):
    return faults.in_jobs(USERS, [(c, faults.error_for(c)) for c in calls], lambda user, item: shoot(h, user, item))


def complain(problems):
    if problems:
        raise AssertionError(f"{len(problems)} runs:\n" + "\n".join(problems[:40]))


def all_runs():
    return [r for r in new_box + second_session if r.hit]


# ------------------------------------------------------------ the runs

@test(timeout=200)
def every_call_of_an_open_that_makes_a_box_fails_once(h):
    calls = learn(h)
    new_box.extend(series(h, calls))
    h.wait_gone()
    hit = [r for r in new_box if r.hit]
    diagnose(f"{len(calls)} calls, {len(hit)} hit, {sum(r.after_join for r in hit)} of them after setns")
    assert len(hit) > 0.9 * len(calls) and len(calls) > 50, "too few calls were hit"
    assert any(r.after_join for r in hit), "no call after the join was hit"


@test(timeout=200)
def every_call_of_an_open_that_joins_a_box_fails_once(h):
    h.policy(observe.read("/etc/nsbox/nsbox.conf").replace("linger = 0", "linger = 10s"))
    for user in USERS:
        p = h.start([CALLER, "--hold", CONFDIR, "only", user], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while p.stdout.readline() != b"holding\n":
            assert p.poll() is None, f"no session of {user}"
        second_holders[user] = p
    keepers = {k.pid for k in observe.keepers()}
    inits = {i.pid for i in observe.inits()}
    eq(len(keepers), len(USERS), "keepers")
    calls = learn(h)
    second_session.extend(series(h, calls))
    # What befalls one caller is nothing to the others.
    eq({i.pid for i in observe.inits()}, inits, "the boxes that were there")
    eq({k.pid for k in observe.keepers()}, keepers, "their keepers")
    for user, p in second_holders.items():
        assert p.poll() is None, f"the first session of {user} has ended"
        opened(call(h, user))
        p.stdin.close()
        p.wait(10)
        p.stdout.close()
    second_holders.clear()
    restore(h)
    h.wait_gone(13)
    hit = [r for r in second_session if r.hit]
    diagnose(f"{len(calls)} calls, {len(hit)} hit, {sum(r.after_join for r in hit)} of them after setns")
    assert len(hit) > 0.9 * len(calls) and len(calls) > 50, "too few calls were hit"


# ------------------------------------------------------------ what they show

@test
def the_code_is_never_the_one_that_sudo_ignores(h):
    complain([f"{r}: {r.report.code}" for r in all_runs() if r.report.code == SESSION_ERR])


@test
def a_failure_before_the_join_is_a_system_error_or_harmless(h):
    complain([f"{r}: {r.report.code} {r.report.messages}" for r in all_runs()
              if not r.after_join and r.report.code not in (SUCCESS, SYSTEM_ERR)])
    harmless = {}
    for r in all_runs():
        if r.report.code == SUCCESS:
            where = r.hit.split(" = ")[0]
            harmless.setdefault(r.call.name + (" (after the join)" if r.after_join else ""), []).append(where[:60])
    for name, where in sorted(harmless.items()):
        diagnose(f"harmless: {len(where)} x {name}")


@test
def who_is_let_in_is_in_a_box(h):
    problems = []
    for r in all_runs():
        try:
            if r.report.code == SUCCESS and not r.report.boxed:
                problems.append(f"{r}: success, and not in a box")
        except AssertionError as error:
            problems.append(f"{r}: {error}")
    complain(problems)


@test
def who_is_refused_is_as_before(h):
    problems = []
    for r in all_runs():
        if r.after_join or r.report.code == SUCCESS:
            continue
        changes = {k: v for k, v in r.report.changes().items() if k not in ("pamenv", "rlimit.6")}
        if changes:
            problems.append(f"{r}: {changes}")
    complain(problems)


@test
def who_is_refused_has_the_pam_environment_of_before(h):
    complain([f"{r}: {r.report.changes()['pamenv']}" for r in all_runs()
              if not r.after_join and r.report.code != SUCCESS and "pamenv" in r.report.changes()])


@test
def who_is_refused_has_the_limits_of_before(h):
    complain([f"{r}: {r.report.changes()['rlimit.6']}" for r in all_runs()
              if not r.after_join and r.report.code != SUCCESS and "rlimit.6" in r.report.changes()])


@test
def a_failure_after_the_join_takes_every_capability_away(h):
    problems = []
    for r in all_runs():
        if not r.after_join or r.report.code == SUCCESS:
            continue
        caps = {key: r.report.after["status." + key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
        if r.report.code != ABORT or any(int(v[0], 16) for v in caps.values()):
            problems.append(f"{r}: code {r.report.code}, {caps}")
    complain(problems)


@test
def no_child_is_left_and_no_signal_is_seen(h):
    problems = []
    for r in all_runs():
        for key in ("children", "sigchlds", "reaped"):
            if r.report.before.get(key) != r.report.after.get(key):
                problems.append(f"{r}: {key} {r.report.before.get(key)} -> {r.report.after.get(key)}")
    complain(problems)


@test
def each_refusal_is_one_line_in_the_log_and_one_sentence(h):
    problems = []
    for r in all_runs():
        if r.report.code != SUCCESS and (len(r.lines) != 1 or len(r.report.messages) != 1):
            problems.append(f"{r}: {r.lines} {r.report.messages}")
        if r.report.code == SUCCESS and (r.lines or r.report.messages):
            problems.append(f"{r}: success, but {r.lines} {r.report.messages}")
    complain(problems)


@test
def nobody_waits_longer_than_five_seconds(h):
    complain([f"{r}: {r.seconds:.1f} s" for r in all_runs() if r.seconds > 5.5])
    slow = [r for r in all_runs() if r.seconds > 1]
    for r in slow:
        diagnose(f"slow: {r}: {r.seconds:.1f} s, code {r.report.code} {r.report.messages}")


@test
def nothing_is_left(h):
    complain([f"{r}: {r.left}" for r in new_box if r.left])


@test
def an_interrupted_call_is_made_again(h):
    """A signal that the caller handles without SA_RESTART."""
    problems = []
    calls = [c for c in learn(h) if c.name in ("poll", "recvmsg", "sendmsg", "connect", "recvfrom", "waitid")
             and "nscd" not in c.text]
    trace = faults.read("/root/alice/trace")
    calls += [c for c in faults.between(trace, BEGINS, ENDS) if c.name == "waitid"]
    for c in calls:
        r, trace = traced(h, "alice", "-e", f"inject={c.name}:error=EINTR:when={c.when}")
        if r.code != SUCCESS:
            problems.append(f"EINTR from {faults.injected(trace)[0]}: {r.code} {r.messages}")
        h.wait_gone()
    diagnose(f"{len(calls)} calls")
    complain(problems)


@test
def a_refusal_on_the_way_to_rescue_gives_the_limit_back(h):
    h.policy(POLICY + "[user alice]\npids_max = 10\n")
    options = ("--nproc=12",)
    p = h.start([CALLER, "--run=sleep 60 & sleep 60 & cat", CONFDIR, "only", "alice"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE)
    wait_until(lambda: len([q for q in observe.boxed() if q.name == "sleep"]) == 2, 5, "a session fills the box")
    r, _ = traced(h, "alice", options=options)
    eq(r.code, SUCCESS, f"code ({r.messages})")
    limits = [int(r.after["rlimit.6"][0].split()[0]), int(r.before["rlimit.6"][0].split()[0])]
    assert limits[0] > limits[1], f"RLIMIT_NPROC was not raised: this is not rescue ({limits})"
    r, _ = traced(h, "alice", "-e", "inject=setns:error=EPERM:when=1", options=options)
    eq(r.code, SYSTEM_ERR, f"code ({r.messages})")
    eq(r.after["rlimit.6"], r.before["rlimit.6"], "RLIMIT_NPROC")
    p.stdin.close()
    p.wait(5)
    p.stdout.close()


main(prepare)
