#!/usr/bin/python3 -B
"""All or nothing, the other side: the keeper and init fail, crash or hang at one system call each.

The keeper is replaced by a script that runs the real one under strace, which reads what to inject from
the directory of the caller. Init is attached to while the keeper is stopped just before its BUILD.
"""

import dataclasses
import os
import re
import signal

from common import ABORT, LIMIT, SLACK, SUCCESS, SYSTEM_ERR, Report, argv_of, opened, setup
import faults
import host
import observe
from observe import wait_until
from tap import contains, diagnose, lacks, main, test

REAL = host.PREFIX + "/libexec/real/nsbox-keeper"
HANGERS = tuple(f"hang{i}" for i in range(14))
USERS = ("alice", "bob")

WRAPPER = f"""\
#!/bin/sh
test -e ./inject || exec {REAL}
exec strace -q -o "$PWD/keeper.trace" $(cat ./inject) {REAL}
"""

bases = {}      # the first id of a block: the uid whose box it was


def prepare(h):
    setup(h, HANGERS)
    global elsewhere
    elsewhere = faults.cgroup_elsewhere()
    os.makedirs(os.path.dirname(REAL))
    os.rename(host.KEEPER, REAL)
    h.write(host.KEEPER, WRAPPER, 0o755)
    for user in (*USERS, *HANGERS):
        os.makedirs(f"/root/{user}")


@dataclasses.dataclass
class Run:
    call: object
    what: str
    report: object
    hit: str
    problems: list

    def __str__(self):
        return f"{self.what} at {self.hit or self.call}"


def call_under(h, user, inject, while_open=None):
    """One caller of this user, whose keeper runs under strace with these words."""
    where = f"/root/{user}"
    for name in ("keeper.trace", "init.trace"):
        if os.path.exists(f"{where}/{name}"):
            os.unlink(f"{where}/{name}")
    h.write(where + "/inject", inject)
    argv = [*elsewhere, *argv_of(user, "--fd0=pty", "--child")]
    try:
        if while_open:
            p = h.start(argv, cwd=where, stdout=-1)
            while_open(p)
            out = p.communicate(timeout=20)[0].decode(errors="replace")
        else:
            out = h.run(argv, cwd=where, timeout=20).out
    finally:
        os.unlink(where + "/inject")
    report = Report(out)
    if report.end is None:
        raise AssertionError(f"the caller did not get to the end with {inject}: {out}")
    return report


def plain(h, user):
    """The same user's next login, whose keeper runs alone."""
    r = h.run([*elsewhere, *argv_of(user, "--fd0=pty")], cwd=f"/root/{user}", timeout=20)
    return Report(r.out)


def processes_of(h, user):
    """Keepers and boxes of one user, by what only they have: the cgroup's name, the block of ids, the trace."""
    uid = h.users[user].uid
    bases.update({int(base): int(owner) for base in os.listdir("/run/nsbox/ids")
                  for owner in observe.read("/run/nsbox/ids/" + base, "0").split()[:1]} if os.path.isdir("/run/nsbox/ids") else {})
    mine = []
    for p in observe.processes():
        if p.zombie:
            continue
        if any(f"/nsbox/{uid}-" in path for path in observe.cgroups_of(p.pid).values()):
            mine.append(p)
        elif any(owner == uid and 0 <= p.uids[1] - base < 65536 + 1024 for base, owner in bases.items()):
            mine.append(p)
        elif p.cmdline.startswith("strace ") and f"/root/{user}/" in p.cmdline:
            mine.append(p)
    return mine


def helpers():
    """What any keeper clones for a moment; one that stays is left over."""
    return [p for p in observe.boxed() if p.name == "nsbox-keeper"]


def files_of(h, user):
    uid = h.users[user].uid
    return ([c for c in observe.box_cgroups() if f"/{uid}-" in c] +
            [f for f in observe.state_files() if f"/run/nsbox/{uid}" in f])


def judge(h, user, report, killed, limit=2):
    """What is wrong after a run, as words; then the next login, which must be fine."""
    problems = []
    if report.code not in (SUCCESS, SYSTEM_ERR, ABORT):
        problems.append(f"code {report.code} {report.messages}")
    if report.took[0] > (LIMIT + SLACK) * 1e9:
        problems.append(f"took {report.took[0] / 1e9:.1f} s")
    try:
        boxed = report.boxed
    except AssertionError as error:
        boxed = None
        problems.append(str(error))
    if report.code == SUCCESS and not boxed:
        problems.append("success, and not in a box")
    if report.code == SYSTEM_ERR:
        changes = {k: v for k, v in report.changes().items() if k != "pamenv"}   # unchanged.py says that one
        if changes:
            problems.append(f"changed: {changes}")
    if report.code != SUCCESS and len(report.messages) != 1:
        problems.append(f"messages {report.messages}")
    for key in ("children", "sigchlds"):
        if report.before.get(key) != report.after.get(key):
            problems.append(f"{key}: {report.before.get(key)} -> {report.after.get(key)}")
    try:
        wait_until(lambda: not processes_of(h, user), limit, "")
    except observe.TimedOut:
        problems.append(f"alive after {limit} s: {processes_of(h, user)}")
    for p in helpers():
        try:
            wait_until(lambda: p.pid not in [q.pid for q in helpers()], 5, "")
        except observe.TimedOut:
            problems.append(f"a helper of a keeper is left: {p}")
            os.kill(p.pid, signal.SIGKILL)
    if not killed:
        try:
            wait_until(lambda: not files_of(h, user), 1, "")
        except observe.TimedOut:
            problems.append(f"left: {files_of(h, user)}")
    after = plain(h, user)
    if after.code != SUCCESS or not after.boxed:
        problems.append(f"the next login: {after.code} {after.messages}")
    try:
        wait_until(lambda: not files_of(h, user), 2, "")
    except observe.TimedOut:
        problems.append(f"left after the next login: {files_of(h, user)}")
    for p in processes_of(h, user):     # so that the next run begins as this one did
        os.kill(p.pid, signal.SIGKILL)
    return problems


def shoot(h, user, item):
    c, what = item
    report = call_under(h, user, f"-e inject={c.name}:{what}:when={c.when}")
    trace = f"/root/{user}/keeper.trace"
    killed = "KILL" in what
    hit = faults.injected(trace)[0]
    if killed and "+++ killed by SIGKILL" in observe.read(trace):
        hit = str(c)
    return Run(c, what, report, hit, judge(h, user, report, killed))


def learn(h):
    """(the keeper's calls up to JOIN, the index of the first after OPEN came)"""
    report = call_under(h, "alice", "-e trace=all")
    opened(report)
    h.wait_gone()
    calls = faults.read("/root/alice/keeper.trace")
    sends = [c for c in calls if c.name == "sendmsg" and c.text.startswith("3,")]
    assert len(sends) >= 2, "the keeper did not send CGROUP and JOIN"
    ready = [i for i, c in enumerate(calls) if c.name == "getsockopt"][0]   # main's check of the connection
    return calls[ready:calls.index(sends[1]) + 1]


def complain(problems):
    if problems:
        raise AssertionError(f"{len(problems)} runs:\n" + "\n".join(problems[:30]))


def tell(found):
    hit = [r for r in found if r.hit]
    diagnose(f"{len(found)} runs, {len(hit)} hit; codes " +
             ", ".join(f"{code}: {sum(r.report.code == code for r in hit)}" for code in (0, 4, 26)))
    harmless = {}
    for r in hit:
        if r.report.code == SUCCESS:
            harmless.setdefault(r.call.name, []).append(r)
    diagnose("harmless: " + ", ".join(f"{len(v)} x {k}" for k, v in sorted(harmless.items())))
    assert len(hit) > 0.8 * len(found), "too few calls were hit"
    complain([f"{r}: {'; '.join(r.problems)}" for r in found if r.problems])


# ------------------------------------------------------------ the keeper

@test(timeout=60)
def no_failure_of_a_look_up_or_of_the_policy_lets_a_boxed_user_out(h):
    """All calls from OPEN to the first thing that is made."""
    calls = learn(h)
    first = next(i for i, c in enumerate(calls) if c.name == "recvmsg")
    last = next(i for i, c in enumerate(calls) if c.name == "mkdir")
    calls = [c for c in calls[first + 1:last] if c.name not in faults.CANNOT_FAIL]

    def one(user, c):
        report = call_under(h, user, f"-e inject={c.name}:error={faults.error_for(c)}:when={c.when}")
        hit = faults.injected(f"/root/{user}/keeper.trace")[0]
        wait_until(lambda: not processes_of(h, user) and not files_of(h, user), 3, f"all is gone after {c}")
        return f"{hit or c}: code 0, not in a box" if report.code == SUCCESS and not report.boxed else None
    found = faults.in_jobs(USERS, calls, one)
    diagnose(f"{len(calls)} calls")
    complain([f for f in found if f])


@test(timeout=150)
def the_keepers_calls_fail(h):
    calls = [c for c in learn(h) if c.name not in faults.CANNOT_FAIL]
    diagnose(f"the keeper makes {len(calls)} calls before JOIN")
    items = [(c, f"error={('EIO', 'ENOMEM')[i % 2] if c.name != 'clone3' else 'EAGAIN'}")
             for i, c in enumerate(faults.spread(calls, 150))]
    found = faults.in_jobs(USERS, items, lambda user, item: shoot(h, user, item))
    tell(found)
    h.wait_gone()


@test(timeout=150)
def the_keeper_crashes(h):
    calls = learn(h)
    talk = [c for c in calls if c.name in ("sendmsg", "recvmsg", "poll", "clone3", "clone", "flock", "bind", "listen")]
    others = [c for c in calls if c not in talk]
    # A helper of a moment old is the easiest to forget: it is not ready to die yet.
    young = [c for before, c in zip(calls, calls[1:]) if before.name == "clone"] * 6
    items = [(c, "signal=KILL") for c in talk + young + faults.spread(others, 70)]
    found = faults.in_jobs(USERS, items, lambda user, item: shoot(h, user, item))
    tell(found)
    h.wait_gone()


@test(timeout=60)
def the_keeper_hangs(h):
    calls = learn(h)
    talk = [c for c in calls if c.name in ("sendmsg", "recvmsg", "poll", "clone3", "clone", "flock")]
    items = faults.spread(talk, len(HANGERS))
    users = list(HANGERS)[:len(items)]

    def hang(user, c):
        report = call_under(h, user, f"-e inject={c.name}:delay_enter=10000000:when={c.when}")
        return Run(c, "10 s", report, faults.injected(f"/root/{user}/keeper.trace")[0] or str(c),
                   judge(h, user, report, False, 22))     # it may have waited for the lock of another that hangs
    # Each user hangs once: as many jobs as items.
    pairs = dict(zip(users, items))
    found = faults.in_jobs(users, users, lambda _, user: hang(user, pairs[user]))
    h.wait_gone(12)
    for r in found:
        diagnose(f"{r}: code {r.report.code} after {r.report.took[0] / 1e9:.1f} s {r.report.messages}")
    complain([f"{r}: {'; '.join(r.problems)}" for r in found if r.problems])


# ------------------------------------------------------------ init

def with_init(h, user, build, strace):
    """An open whose init is attached to before it begins to build."""
    where = f"/root/{user}"
    tracers = []

    def attach(p):
        def stopped():
            assert p.poll() is None, "the caller ended before its keeper was stopped"
            return "--- stopped by SIGSTOP ---" in observe.read(where + "/keeper.trace")
        wait_until(stopped, 5, f"the keeper of {user} is stopped")
        k = next(k for k in observe.keepers() if trace_of(k) == where)
        init = wait_until(lambda: [q for q in observe.inits() if q.ppid == k.pid], 3, "there is an init")[0]
        tracers.append(h.start(["strace", "-q", "-p", str(init.pid), "-o", where + "/init.trace", *strace]))
        wait_until(lambda: attached_to(init.pid), 3, "strace has init")
        os.kill(k.pid, signal.SIGCONT)
    report = call_under(h, user, f"-e inject={build.name}:signal=STOP:when={build.when}", attach)
    for t in tracers:   # ends with init, and reaps it
        t.wait(15)
    return report


def attached_to(init):
    """A recvmsg that init waits in begins again under strace: a signal there ends it before anybody looks."""
    p = observe.Process(init)
    return p.zombie or p.status["TracerPid"].strip() != "0"


def trace_of(k):
    """The directory whose trace the parent of this keeper writes."""
    found = re.search(r"(/root/\w+)/keeper\.trace", observe.read(f"/proc/{k.ppid}/cmdline"))
    return found and found[1]


def before_build(calls):
    """The keeper's call before its first message to init: a signal there comes when init has heard nothing."""
    start = next(i for i, c in enumerate(calls) if c.name == "clone3")
    first = next(i for i, c in enumerate(calls) if i > start and c.name == "sendmsg" and not c.text.startswith("3,"))
    assert first - 1 > start, "init is told at once: there is no call to stop the keeper at"
    return calls[first - 1]


def learn_init(h, build):
    report = with_init(h, "alice", build, [])
    opened(report)
    h.wait_gone()
    calls = faults.read("/root/alice/init.trace")
    ready = [i for i, c in enumerate(calls) if c.name == "sendmsg"][0]
    return calls[:ready + 1]


def shoot_init(h, user, build, item):
    c, what = item
    report = with_init(h, user, build, ["-e", f"inject={c.name}:{what}:when={c.when}"])
    trace = f"/root/{user}/init.trace"
    hit = faults.injected(trace)[0]
    if "signal" in what and re.search("killed by SIGKILL|stopped by SIGSTOP", observe.read(trace)):
        hit = str(c)
    return Run(c, what, report, hit, judge(h, user, report, False, 6))


@test(timeout=150)
def inits_calls_fail(h):
    build = before_build(learn(h))
    calls = [c for c in learn_init(h, build) if c.name not in faults.CANNOT_FAIL]
    diagnose(f"init makes {len(calls)} calls from BUILD to READY")
    items = [(c, f"error={('EIO', 'ENOMEM', 'EPERM')[i % 3]}") for i, c in enumerate(faults.spread(calls, 80))]
    found = faults.in_jobs(USERS, items, lambda user, item: shoot_init(h, user, build, item))
    tell(found)
    h.wait_gone()


@test(timeout=100)
def init_crashes(h):
    build = before_build(learn(h))
    items = [(c, "signal=KILL") for c in faults.spread(learn_init(h, build), 20)]
    found = faults.in_jobs(USERS, items, lambda user, item: shoot_init(h, user, build, item))
    tell(found)
    h.wait_gone()


@test(timeout=60)
def init_hangs(h):
    build = before_build(learn(h))
    calls = [c for c in learn_init(h, build) if c.name not in faults.CANNOT_FAIL]
    pairs = dict(zip(HANGERS, faults.spread(calls, 8)))
    found = faults.in_jobs(list(pairs), list(pairs), lambda _, user: shoot_init(
        h, user, build, (pairs[user], "signal=STOP")))
    h.wait_gone(12)
    for r in found:
        diagnose(f"{r}: code {r.report.code} after {r.report.took[0] / 1e9:.1f} s {r.report.messages}")
    complain([f"{r}: {'; '.join(r.problems)}" for r in found if r.problems])


@test
def no_caller_of_all_these_was_taken_for_one_outside_the_cgroups(h):
    """Of those that end as soon as they have joined, by slow keepers; a process that exits leaves its cgroups first."""
    contains(h.log_since(), "ended")
    lacks(h.log_since(), "a session is ended")


main(prepare)
