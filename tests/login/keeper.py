#!/usr/bin/python3 -B
"""The keeper as a process of the host: whose it is, and what cannot stop it from doing its work."""

import os
import resource
import signal

from common import LOOK, PROMPT, contains, eq, in_box, only_init, policy, restore, setup
import host
import observe
from observe import wait_until
from tap import main, test

FREEZER = "/sys/fs/cgroup/freezer"


# ------------------------------------------------------------ whose it is

@test
def a_user_who_called_su_has_no_power_over_the_keeper(h):
    """su's real uid is the user's own, and whoever has the real uid of a process may signal it."""
    t = h.pty(["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", "su", "-", "alice"], cwd="/")
    t.expect("Password:")
    t.line("alice-secret")
    t.expect(PROMPT)
    keeper = observe.keepers()[0]
    eq(keeper.uids, [0] * 4, "uids of the keeper")
    eq(keeper.status["Gid"].split(), ["0"] * 4, "gids of the keeper")
    eq(keeper.status["Groups"].split(), [], "groups of the keeper")
    for path in ("/run/nsbox/1001", *observe.state_files("/run/nsbox/1001")):
        eq(os.lstat(path).st_gid, 0, f"group of {path}")
    for uid, gid in ((1003, 1003), (1001, 1001)):
        r = h.run(["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "kill", "-0", str(keeper.pid)])
        contains(r.err, "not permitted", f"a signal by {uid}")
    in_box(t.ask(LOOK))


@test
def a_caller_without_standard_descriptors_gets_a_whole_keeper(h):
    """runuser is not set-uid, so nobody opens 0 to 2 for it: the keeper must not have its own there."""
    for closed in ("<&- >&- 2>&-", "<&- >&-", "<&-", "<&- 2>&-", ">&-"):
        h.home_file("alice", "go", f"#!/bin/sh\n{LOOK} > /home/alice/look; exec sleep 1000\n", 0o755)
        p = h.start(["sh", "-c", f"exec runuser -u alice -- /home/alice/go {closed}"], cwd="/home/alice")
        wait_until(lambda: len(observe.read("/home/alice/look").splitlines()) > 6, 5, f"the session runs, {closed}")
        in_box(observe.read("/home/alice/look"))
        os.unlink("/home/alice/look")
        keeper, init = observe.keepers()[0], only_init(h)
        for who in (keeper, init):
            eq([os.readlink(f"/proc/{who.pid}/fd/{fd}") for fd in range(3)], ["/dev/null"] * 3,
               f"descriptors 0 to 2 of {who}, {closed}")
        os.kill(keeper.pid, signal.SIGKILL)
        wait_until(lambda: not observe.inits(), 1, f"init is gone, {closed}")
        p.wait(5)
        h.settle()


# ------------------------------------------------------------ terminals

def on_a_terminal(h):
    """A shell of alice's on a terminal of the host; its name in the box's /dev."""
    t = h.pty(["su", "-", "alice"])
    t.expect(r"\$ ")
    return t


@test
def a_terminal_is_taken_out_of_the_box_also_when_init_does_not_answer(h):
    """Terminals have few numbers: who logs in on the same one later must find room for it."""
    h.session("alice")
    init = only_init(h)
    t = on_a_terminal(h)
    name = os.path.basename(t.ask("tty"))
    assert os.path.exists(f"/proc/{init.pid}/root/dev/{name}"), "the terminal in the box"
    os.kill(init.pid, signal.SIGSTOP)
    try:
        h.run(["kill", "-9", str(t.pid)]).check()
        wait_until(lambda: not os.path.exists(f"/proc/{init.pid}/root/dev/{name}"), 2, "the terminal is out of the box")
    finally:
        os.kill(init.pid, signal.SIGCONT)
    eq(t.wait(), 137, "exit code of su")
    h.run(["su", "-", "alice", "-c", "true"]).check()
    again = on_a_terminal(h)
    in_box(again.ask(LOOK))


@test
def a_frozen_box_says_so_on_a_terminal_too(h):
    s = h.session("alice")
    own = FREEZER + observe.cgroups_of(s.pid)["freezer"]
    h.write(own + "/freezer.state", "FROZEN")
    try:
        mark = h.log_mark()
        t = h.pty(["su", "-", "alice"])
        t.expect("frozen", 2)
        assert t.drain() != 0
        h.wait_for_log("nsbox.*frozen", since=mark)
    finally:
        h.write(own + "/freezer.state", "THAWED")
    again = on_a_terminal(h)
    in_box(again.ask(LOOK))


@test
def an_answer_that_comes_too_late_is_not_that_to_the_next_question(h):
    s = h.session("alice")
    init = only_init(h)
    os.kill(init.pid, signal.SIGSTOP)
    try:
        t = h.pty(["su", "-", "alice"])
        t.expect("the box's init: no answer in time")
        assert t.drain() != 0
    finally:
        os.kill(init.pid, signal.SIGCONT)
    for _ in range(3):
        t = on_a_terminal(h)
        eq(in_box(t.ask(LOOK)), observe.nsinos(s.pid), "the box")
        contains(t.ask("tty"), "/dev/pts-", "the terminal")
        t.line("exit")
        eq(t.drain(), 0, "exit code")


# ------------------------------------------------------------ descriptors

def watches(pid):
    """A keeper that has done all that a session need not wait for waits for events in directories too."""
    return any("inotify" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


def settled(keeper):
    wait_until(lambda: watches(keeper.pid), 3, "the keeper has settled")


def cpu(pid):
    return sum(int(n) for n in observe.read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[11:13])


@test
def a_keeper_without_descriptors_waits_for_one(h):
    """A box may have more sessions than the keeper descriptors: that is no reason to spin."""
    s = h.session("alice")
    keeper = observe.keepers()[0]
    settled(keeper)
    used = {int(fd) for fd in os.listdir(f"/proc/{keeper.pid}/fd")}
    first_free = next(fd for fd in range(len(used) + 1) if fd not in used)
    before = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (first_free, before[1]))
    start = cpu(keeper.pid)
    r = h.run(["su", "-", "alice", "-c", "true"])
    assert r.code != 0, r
    spent = cpu(keeper.pid) - start
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, before)
    assert spent < 50, f"the keeper worked for {spent} ticks"
    eq(in_box(h.run(["su", "-", "alice", "-c", LOOK]).check().out), observe.nsinos(s.pid), "the box")


# ------------------------------------------------------------ passwd

@test
def a_line_of_passwd_that_is_too_long_ends_no_box(h):
    s = h.session("alice")
    keeper = observe.keepers()[0]
    settled(keeper)
    text = observe.read("/etc/passwd")

    def replace(new):
        h.write("/etc/passwd.new", new)
        os.rename("/etc/passwd.new", "/etc/passwd")
    try:
        replace(f"long:x:4000:4000:{'x' * 8000}:/:/bin/sh\n" + text)
        # The next turn of the keeper comes after that event.
        h.run(["nsbox", "list"])
        h.run(["nsbox", "list"])
        os.kill(s.pid, 0)
        eq([k.pid for k in observe.keepers()], [keeper.pid], "keepers")
    finally:
        replace(text)


# ------------------------------------------------------------ the first session does not get in

@test
def a_session_that_the_box_cannot_have_is_told_and_lives(h):
    """What is refused after the move: the caller must be out of the cgroups before the box is killed."""
    h.policy(policy("[user alice]\nenv = " + " ".join(f"V{i}={'%h' * 100}" for i in range(18)) + "\n"))
    for _ in range(10):
        r = h.run(["su", "-", "alice", "-c", "true"])
        contains(r.err, "env is longer", f"what su says ({r})")
        h.wait_gone()


def strace(inject, *argv):
    return ["strace", "-q", "-o", "/root/trace", "-e", f"trace={inject.split(':')[0]}", "-e", "inject=" + inject, *argv]


@test
def a_keeper_settles_also_when_its_first_session_fails(h):
    """It would stay in the cgroup of that caller, and not watch passwd, as long as the box lingers."""
    h.policy(policy(defaults="linger = forever\n"))
    service = "/sys/fs/cgroup/pids/service"
    os.makedirs(service, exist_ok=True)
    try:
        r = h.run(["sh", "-c", f"echo $$ > {service}/cgroup.procs; exec \"$@\"", "sh",
                   *strace("setns:error=EPERM", "su", "-", "alice", "-c", "true")])
        contains(r.err, "setns into the box", f"what su says ({r})")
        keeper = observe.keepers()[0]
        settled(keeper)
        eq(observe.read(service + "/cgroup.procs"), "", "processes left in the caller's cgroup")
        in_box(h.run(["su", "-", "alice", "-c", LOOK]).check().out)
        eq([k.pid for k in observe.keepers()], [keeper.pid], "keepers")
    finally:
        h.settle()
        os.rmdir(service)


# ------------------------------------------------------------ clearing up after a keeper that was killed

def kill_box(h, t):
    """The keeper and init at once, and su; the terminal stays the box's, as nobody is there to give it back."""
    victims = [*observe.keepers(), *observe.inits()]
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for p in victims:
            os.kill(p.pid, sig)
    wait_until(lambda: not observe.keepers() and not observe.inits(), 3, "keeper and init are gone")


@test
def what_is_cleared_twice_is_not_taken_from_a_new_box(h):
    """One that has opened the record of a dead box just before another clears it; a new box has its ids by then."""
    t = h.pty(["bash", "--norc"], env={"PS1": "host# "})
    t.expect("host# ")
    t.line("tty; su - alice")
    tty = t.expect(r"(/dev/pts/\d+)\s")[1]
    t.expect(r"\$ ")
    kill_box(h, t)
    t.expect("host# ")
    gc = [host.KEEPER, "--gc"]
    late = h.start(strace("flock:delay_enter=3000000:when=1", *gc))
    box = observe.field(" ".join(os.listdir("/run/nsbox/1001")), r"(\S+)\.box")
    wait_until(lambda: any(box in os.readlink(f"/proc/{p.pid}/fd/{fd}") for p in observe.keepers()
                           for fd in os.listdir(f"/proc/{p.pid}/fd")), 3, "the late one has the record open")
    eq(h.run(gc).check().out, box + "\n", "what is cleared")
    eq(os.stat(tty).st_uid, 0, "owner of the terminal")
    t.line("su - alice")
    t.expect(r"\$ ")
    owner = os.stat(tty).st_uid
    assert owner > 1000, f"the terminal belongs to {owner}"
    late.wait(10)
    eq(os.stat(tty).st_uid, owner, "owner of the terminal")
    in_box(t.ask(LOOK))


@test
def gc_says_why_a_box_is_not_gone(h):
    t = on_a_terminal(h)
    t.ask("true")
    box = observe.field(" ".join(os.listdir("/run/nsbox/1001")), r"(\S+)\.box")
    kill_box(h, t)
    t.drain()
    more = [c + "/more" for c in observe.box_cgroups() if c.endswith(box) and "/pids/" in c]
    os.mkdir(more[0])
    try:
        r = h.run(["nsbox", "gc"])
        assert r.code != 0, r
        contains(r.err, f"nsbox: box {box} is not gone: rmdir ", "what gc says")
    finally:
        os.rmdir(more[0])
    eq(h.run(["nsbox", "gc"]).check().out, box + "\n", "what is cleared")
    eq(h.leftovers(), {}, "leftovers")


main(setup, before_each=restore)
