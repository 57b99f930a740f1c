#!/usr/bin/python3 -B
"""When a box ends, and that nothing is left of it: processes, mounts, cgroups, files, links."""

import os
import signal
import time

from common import LOOK, NAMESPACES, all_differ, eq, get_in, in_box, only_init, policy, restore, setup
import observe
from observe import wait_until
from tap import main, test

GONE = 1.0      # "gone within a second of the end of linger"


def begin(h, user="alice", **how):
    """A session that is in a box for certain."""
    s = h.session(user, **how)
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))
    assert observe.keepers() and observe.box_cgroups(), "no keeper or no cgroup"
    return s


def ends(h, session, within=GONE, code=None):
    """The box goes in time, the client ends, and the next login gets a fresh box."""
    start = time.monotonic()
    h.wait_gone(within)
    took = time.monotonic() - start
    wait_until(lambda: session.popen.poll() is not None, 5, "the client has ended")
    if code is not None:
        eq(session.popen.returncode, code, "exit code of the client")
    get_in(h)
    h.wait_gone(within)
    return took


# ------------------------------------------------------------ the last session ends

@test
def a_logout_ends_the_box(h):
    s = begin(h)
    eq(s.close(), 0, "exit code")
    ends(h, s)


@test
def the_box_stays_until_the_last_session_ends(h):
    a, b, c = begin(h), begin(h), h.hold(lambda command: ["su", "-", "alice", "-c", command])
    inside = observe.nsinos(a.pid)
    a.close()
    eq(observe.nsinos(b.pid), inside, "namespaces of the second session")
    b.close()
    eq(observe.nsinos(c.pid), inside, "namespaces of the third session")
    os.kill(c.pid, 0)
    c.close()
    ends(h, c)


@test
def a_dropped_connection_ends_the_box(h):
    s = begin(h)
    s.drop()
    ends(h, s)


@test
def a_client_that_no_longer_answers_ends_the_box(h):
    h.sshd(2222, ClientAliveInterval=1, ClientAliveCountMax=1)
    s = begin(h, port=2222)
    s.popen.send_signal(signal.SIGSTOP)
    h.wait_gone(6)
    s.drop()
    get_in(h)


@test
def sigkill_to_the_monitor_ends_the_box(h):
    s = begin(h)
    os.kill(s.caller.pid, signal.SIGKILL)
    ends(h, s)


@test
def sigkill_to_every_sshd_of_the_session_ends_the_box(h):
    s = begin(h)
    for p in observe.ancestors(s.pid):
        if p.boxed:
            os.kill(p.pid, signal.SIGKILL)
    ends(h, s)


@test
def sigkill_to_su_ends_the_box(h):
    s = h.hold(lambda command: ["su", "-", "alice", "-c", command])
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))
    os.kill(s.caller.pid, signal.SIGKILL)
    ends(h, s)


@test
def stopping_sshd_does_not_end_a_session(h):
    sshd = h.sshd(2222)
    s = begin(h, port=2222)
    sshd.stop()
    os.kill(s.pid, 0)
    eq(s.popen.poll(), None, "exit code of the client")
    s.close()
    ends(h, s)


@test
def programs_left_running_are_killed_with_the_box(h):
    h.ssh("alice", "setsid sh -c 'trap \"\" HUP TERM INT; echo $$ > pid; while :; do sleep 1; done' > /dev/null 2>&1 < /dev/null & "
                   "while ! test -s pid; do sleep 0.02; done").check()
    h.wait_gone(GONE)
    eq([p for p in observe.processes() if p.uids[0] >= 1000 and "trap" in p.cmdline], [], "programs left")
    in_box(h.ssh("alice", LOOK).out)


@test
def stopped_programs_are_killed_with_the_box(h):
    s = begin(h)
    h.ssh("alice", "sleep 1000 > /dev/null 2>&1 & sleep 0.1; kill -STOP $!; setsid sleep 1000 > /dev/null 2>&1 < /dev/null & true").check()
    s.close()
    ends(h, s)


@test
def two_hundred_programs_are_killed_with_the_box(h):
    s = begin(h)
    h.ssh("alice", "i=0; while [ $i -lt 200 ]; do setsid sleep 1000 > /dev/null 2>&1 < /dev/null & i=$((i+1)); done").check()
    s.close()
    ends(h, s)


# ------------------------------------------------------------ linger

@test
def a_lingering_box_is_joined_by_the_next_login_and_then_ends(h):
    h.policy(policy(defaults="linger = 2s\n"))
    s = begin(h)
    first = observe.nsinos(s.pid)
    s.close()
    time.sleep(0.5)     # some of linger passes: the thing that is measured
    init = only_init(h)
    eq(in_box(h.ssh("alice", LOOK).out), first, "namespaces of the next login")
    ended = time.monotonic()
    h.wait_gone(2 + GONE)
    took = time.monotonic() - ended
    assert took > 1.7, f"gone {took:.2f} s after the last session, not after linger"
    assert not os.path.exists(f"/proc/{init.pid}"), "init"


@test
def programs_live_on_while_the_box_lingers(h):
    h.policy(policy(defaults="linger = 1s\n"))
    h.ssh("alice", "rm -f tick; setsid sh -c 'while :; do echo >> tick; sleep 0.1; done' > /dev/null 2>&1 < /dev/null &").check()
    ticks = lambda: len(observe.read("/home/alice/tick"))
    size = ticks()
    wait_until(lambda: ticks() > size + 2, 0.9, "the program still runs")
    h.wait_gone(1 + GONE)
    in_box(h.ssh("alice", LOOK).out)


@test
def a_box_that_lingers_for_ever_stays(h):
    h.policy(policy(defaults="linger = forever\n"))
    first = get_in(h)
    time.sleep(1.5)     # longer than any clean-up takes
    eq(get_in(h), first, "namespaces of the next login")


@test
def linger_of_zero_ends_the_box_at_once(h):
    s = begin(h)
    s.close()
    took = ends(h, s)
    assert took < 0.5, f"took {took:.2f} s"


# ------------------------------------------------------------ the box's own processes die

@test
def sigkill_to_the_keeper_ends_the_box(h):
    s = begin(h)
    os.kill(observe.keepers()[0].pid, signal.SIGKILL)
    wait_until(lambda: not observe.inits(), GONE, "init is gone")
    wait_until(lambda: s.popen.poll() is not None, 5, "the session has ended")
    fresh = get_in(h)
    assert fresh["user"] != 0
    h.wait_gone(GONE)


@test
def sigkill_to_init_ends_the_box(h):
    s = begin(h)
    os.kill(only_init(h).pid, signal.SIGKILL)
    ends(h, s)


@test
def sigkill_to_init_from_inside_does_nothing(h):
    s = begin(h)
    h.enter(s.pid, "sh", "-c", "kill -9 1")   # the kernel ignores it: nothing may happen
    only_init(h)
    s.close()
    ends(h, s)


@test
def sigterm_to_the_keeper_ends_the_box_cleanly(h):
    s = begin(h)
    os.kill(observe.keepers()[0].pid, signal.SIGTERM)
    ends(h, s)


@test
def a_killed_keeper_and_init_leave_nothing_after_the_next_login(h):
    s = begin(h)
    keeper, init = observe.keepers()[0], only_init(h)
    os.kill(keeper.pid, signal.SIGSTOP)
    os.kill(init.pid, signal.SIGKILL)
    os.kill(keeper.pid, signal.SIGKILL)
    wait_until(lambda: s.popen.poll() is not None, 5, "the session has ended")
    get_in(h)
    h.wait_gone(GONE)


@test
def the_next_login_right_after_a_kill_gets_in(h):
    for victim in ("keeper", "init", "both") * 3:
        s = begin(h)
        targets = {"keeper": observe.keepers(), "init": observe.inits(), "both": observe.keepers() + observe.inits()}[victim]
        for p in targets:
            os.kill(p.pid, signal.SIGKILL)
        r = h.ssh("alice", LOOK)
        eq(r.code, 0, f"exit code of the login after kill -9 of {victim}: {r}")
        in_box(r.out)
        wait_until(lambda: s.popen.poll() is not None, 5, "the old session has ended")
    h.wait_gone(GONE)


@test
def another_users_box_does_not_notice(h):
    a, b = begin(h, "alice"), begin(h, "bob")
    before = observe.nsinos(b.pid)
    init = [p for p in observe.inits() if p.userns == observe.ns_inode(a.pid, "user")][0]
    os.kill(init.pid, signal.SIGKILL)
    wait_until(lambda: a.popen.poll() is not None, 5, "alice's session has ended")
    get_in(h, "alice")
    eq(observe.nsinos(b.pid), before, "namespaces of bob's session")
    eq(get_in(h, "bob"), before, "bob's next session")


# ------------------------------------------------------------ nothing is left, whatever was done

@test
def the_kernel_has_no_namespace_of_a_box_that_ended(h):
    s = begin(h)
    inside = observe.nsinos(s.pid)
    s.close()
    h.wait_gone(GONE)
    listed = h.run("lsns -n -o NS").check().out.split()
    for name in NAMESPACES:
        assert str(inside[name]) not in listed, f"the {name} namespace is still listed"


@test
def nothing_accumulates_over_many_boxes(h):
    def counted():
        return {"files": len(observe.state_files()), "mounts": len(observe.mounts()),
                "cgroups": len(observe.box_cgroups()), "processes": len(observe.processes())}
    get_in(h)
    h.wait_gone(GONE)
    before = counted()
    for user in ("alice", "bob") * 5:
        h.ssh(user, LOOK).check()
        h.wait_gone(GONE)
    eq(counted(), before, "files in /run/nsbox, mounts, cgroups, processes")


@test
def files_in_tmp_and_run_do_not_outlive_the_box(h):
    h.ssh("alice", "touch /tmp/old /dev/shm/old $XDG_RUNTIME_DIR/old").check()
    h.wait_gone(GONE)
    r = h.ssh("alice", f"ls /tmp/old /dev/shm/old $XDG_RUNTIME_DIR/old; {LOOK}")
    eq(r.err.count("No such file"), 3, "files that are gone")
    in_box(r.out)


@test
def the_home_can_be_unmounted_after_the_box(h):
    h.run("mount -t tmpfs -o mode=755 separate /srv").check()
    h.idle()
    try:
        os.makedirs("/srv/home")
        h.add_user("eve", 1305, groups=["nsbox"], home="/srv/home/eve")
        get_in(h, "eve")
        h.wait_gone(GONE)
    finally:
        r = h.run("umount /srv")
    eq(r.code, 0, f"umount: {r.err}")


def before_each(h):
    restore(h)
    for name in ("pid", "tick"):
        if os.path.exists(f"/home/alice/{name}"):
            os.unlink(f"/home/alice/{name}")


main(setup, before_each=before_each)
