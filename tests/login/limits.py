#!/usr/bin/python3 -B
"""cgroup v1: the limits of a box hold, nobody else feels it, and its user gets in to end it."""

import os
import time

from common import LOOK, all_differ, contains, eq, get_in, in_box, policy, restore, setup
import observe
from observe import wait_until
from tap import lacks, main, test

TWENTY = "[user alice]\npids_max = 20\n"

BOMB = """\
import os, signal
for s in (signal.SIGHUP, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def base(controller):
    """The directory of the one box in a v1 hierarchy, or None."""
    top = f"/sys/fs/cgroup/{controller}/nsbox"
    boxes = [d for d in os.listdir(top) if d[0].isdigit()] if os.path.isdir(top) else []
    if len(boxes) > 1:
        raise AssertionError(f"more than one box in {top}: {boxes}")
    return f"{top}/{boxes[0]}" if boxes else None


def number(path):
    text = observe.read(path, None)
    if text is None:
        raise AssertionError(f"{path} is missing")
    return int(text) if text.strip() != "max" else None


def full(h, limit=20):
    """alice's box, main filled by a fork bomb."""
    h.policy(policy(f"[user alice]\npids_max = {limit}\n"))
    s = h.session("alice")
    eq(number(f"{base('pids')}/main/pids.max"), limit, "pids.max before the bomb")   # or it would hit us all
    contains(observe.cgroups_of(s.pid)["pids"], "/nsbox/", "cgroup of a session")
    s.close()
    h.home_file("alice", "bomb.py", BOMB)
    bomb = h.start(h.ssh_argv("alice", "exec python3 bomb.py"))
    wait_until(lambda: (top := base("pids")) and int(observe.read(top + "/main/pids.current", "0")) >= limit - 1, 15,
               "main is full")
    return bomb


# ------------------------------------------------------------ layout

@test
def a_session_that_is_not_in_the_cgroups_when_it_has_joined_is_ended(h):
    mark = h.log_mark()
    h.session("alice")
    # Held between its move and its join, and moved away by somebody else.
    held = h.start(["strace", "-q", "-o", "/dev/null", "-e", "inject=setns:delay_enter=2000000:when=1",
                    "nsbox", "run", "alice", "--", "sleep", "100"])
    caller = wait_until(lambda: [p for p in observe.processes() if p.cmdline.startswith("nsbox run") and
                                 "/nsbox/" in observe.cgroups_of(p.pid)["pids"]], 10, "it has moved")[0]
    with open("/sys/fs/cgroup/pids/cgroup.procs", "w") as procs:
        procs.write(str(caller.pid))
    h.wait_for_log(rf"alice: a session is ended: process {caller.pid} is in cgroup ", since=mark, timeout=10)
    wait_until(lambda: held.poll() is not None, 5, "it has ended")
    wait_until(lambda: not [p for p in observe.boxed() if p.cmdline == "sleep 100"], 5, "and what it had begun")


@test
def a_box_has_main_and_rescue_in_the_pids_hierarchy(h):
    h.policy(policy("[user alice]\npids_max = 100\n"))
    s = h.session("alice")
    top = base("pids")
    main_max, rescue_max = number(top + "/main/pids.max"), number(top + "/rescue/pids.max")
    eq(main_max, 100, "main")
    assert 16 <= rescue_max <= 32, f"rescue: {rescue_max}"
    eq(number(top + "/pids.max"), main_max + rescue_max, "the box")
    eq(observe.cgroups_of(s.pid)["pids"], top.removeprefix("/sys/fs/cgroup/pids") + "/main", "cgroup of the session")


@test
def the_default_limit_is_512(h):
    h.session("alice")
    eq(number(base("pids") + "/main/pids.max"), 512, "main")


@test
def everything_of_the_box_is_in_its_cgroup_and_the_keeper_is_not(h):
    h.session("alice")
    h.hold(lambda command: ["su", "-", "alice", "-c", command])
    assert len(observe.boxed()) >= 6, observe.boxed()
    for p in observe.boxed():
        for controller in ("pids", "cpu"):
            contains(observe.cgroups_of(p.pid)[controller], "/nsbox/", f"{controller} cgroup of {p}")
    for p in observe.keepers():
        box = base("pids").removeprefix("/sys/fs/cgroup/pids")
        lacks(observe.cgroups_of(p.pid)["pids"], box + "/main", f"cgroup of {p}")


@test
def cpu_weight_and_memory_max_are_set(h):
    h.policy(policy("[user alice]\nmemory_max = 256M\ncpu_weight = 50\n[user bob]\n"))
    s = h.session("alice")
    memory, cpu = base("memory"), base("cpu")
    assert memory and cpu, f"no memory or no cpu cgroup: {memory} {cpu}"
    eq(number(memory + "/memory.limit_in_bytes"), 256 << 20, "memory.limit_in_bytes")
    eq(number(cpu + "/cpu.shares"), 512, "cpu.shares for half of the default weight")
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))


@test
def memory_max_is_half_of_the_machine_by_default(h):
    h.session("alice")
    total = int(observe.field(observe.read("/proc/meminfo"), r"MemTotal:\s+(\d+)")) * 1024
    got = number(base("memory") + "/memory.limit_in_bytes")
    assert abs(got - total / 2) < total * 0.02, f"{got} of {total}"


@test
def limits_cannot_be_changed_from_inside(h):
    s = h.session("alice")
    for who in (None, 1001):
        r = h.enter(s.pid, "sh", "-c", "find / -xdev -name pids.max 2>/dev/null; "
                    "for f in /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/*/memory.limit_in_bytes; do "
                    "test -e $f && dd if=/dev/null of=$f conv=notrunc 2>/dev/null && echo writable $f; done", uid=who)
        lacks(r.out, "writable", "limits")


# ------------------------------------------------------------ pids

@test(timeout=120)
def a_fork_bomb_stops_at_the_limit(h):
    full(h)
    top = base("pids")
    for _ in range(200):
        current = number(top + "/main/pids.current")
        assert current <= 20, f"{current} processes"
    in_box_now = [p for p in observe.boxed() if "bomb.py" in p.cmdline]
    assert 10 <= len(in_box_now) <= 20, f"{len(in_box_now)} processes of the bomb"


@test(timeout=120)
def a_hundred_sleeps_stop_at_the_limit_and_the_next_login_ends_them(h):
    h.policy(policy(TWENTY))
    s = h.session("alice")      # keeps the box when the shell of the loop gives up, which dash does at once
    h.start(h.ssh_argv("alice", "i=0; while [ $i -lt 100 ]; do sleep 300 & i=$((i+1)); done; wait"))
    wait_until(lambda: (top := base("pids")) and int(observe.read(top + "/main/pids.current", "0")) >= 19, 15, "main is full")
    sleeps = lambda: [p for p in observe.boxed() if p.cmdline == "sleep 300"]
    wait_until(lambda: len(sleeps()) >= 10, 10, "what was forked has become sleeps")
    assert len(sleeps()) <= 20, f"{len(sleeps())} sleeps"
    h.ssh("alice", "kill -9 -1")
    wait_until(lambda: not sleeps(), 10, "the sleeps are dead")
    s.close()
    h.wait_gone(5)


@test(timeout=120)
def the_user_gets_in_through_rescue_and_ends_the_bomb(h):
    full(h)
    for n in range(10):
        r = h.ssh("alice", "cat /proc/self/cgroup | grep pids; id -un; echo chain | cat | cat")
        eq(r.code, 0, f"login {n} beside the bomb: {r}")
        contains(r.out, "alice\nchain\n")
    s = h.session("alice")
    contains(observe.cgroups_of(s.pid)["pids"], "/rescue", "cgroup of the session")
    s.close()

    def bomb_gone():
        h.ssh("alice", "kill -9 -1")
        return not [p for p in observe.boxed() if "bomb.py" in p.cmdline]
    wait_until(bomb_gone, 30, "the bomb is dead")
    h.wait_gone(3)
    in_box(h.ssh("alice", LOOK).out)


@test(timeout=120)
def su_sudo_and_a_terminal_get_in_through_rescue_too(h):
    full(h)
    for argv in (["su", "-", "alice", "-c", "echo in"], ["sudo", "-u", "alice", "-i", "echo", "in"],
                 h.ssh_argv("alice", "echo in", tty=True)):
        contains(h.run(argv).check().out, "in")


@test(timeout=120)
def rescue_works_with_nproc_of_pam_limits(h):
    h.write("/etc/security/limits.d/alice.conf", f"alice {'-' if observe.may_raise_limits() else 'soft'} nproc 20\n")
    try:
        full(h, 19)
        eq(h.ssh("alice", "echo in").out, "in\n", "login beside the bomb")
    finally:
        os.unlink("/etc/security/limits.d/alice.conf")


@test(timeout=120)
def a_bomb_in_rescue_too_is_ended_by_nsbox_stop(h):
    full(h)
    h.start(h.ssh_argv("alice", "exec python3 bomb.py"))
    top = base("pids")
    wait_until(lambda: number(top + "/rescue/pids.current") >= number(top + "/rescue/pids.max") - 1, 15, "rescue is full")
    h.run(["nsbox", "stop", "alice"], timeout=20).check()
    h.wait_gone(3)
    get_in(h)


@test(timeout=120)
def a_bomb_ends_with_its_box(h):
    bomb = full(h)
    bomb.kill()
    for p in observe.processes():
        if p.name == "sshd" and p.boxed and len(p.nspid) == 1:
            observe.kill(p.pid)
    h.wait_gone(5)


@test(timeout=120)
def other_users_get_in_beside_a_bomb(h):
    full(h)
    for user in ("bob", "carol", "root"):
        eq(h.ssh(user, "echo in").out, "in\n", f"login of {user}")
    eq(number(base_of(h, "bob") + "/main/pids.max"), 512, "bob's limit")


def base_of(h, user):
    s = h.session(user)
    return os.path.dirname("/sys/fs/cgroup/pids" + observe.cgroups_of(s.pid)["pids"])


# ------------------------------------------------------------ cpu and memory

def chain_of_forks(h):
    """Seconds for 60 forks with exec, outside any box: what a login is made of."""
    start = time.monotonic()
    for _ in range(60):
        h.run(["true"])
    return time.monotonic() - start


@test(timeout=120)
def spinning_programs_do_not_slow_the_host_much(h):
    quiet = min(chain_of_forks(h) for _ in range(3))
    h.home_file("alice", "spin.sh", "i=0; while [ $i -lt 100 ]; do (while :; do :; done) & i=$((i+1)); done; touch spinning; wait\n")
    h.start(h.ssh_argv("alice", "exec sh spin.sh"))
    wait_until(lambda: os.path.exists("/home/alice/spinning"), 20, "100 programs spin")
    assert [p for p in observe.boxed() if "spin.sh" in p.cmdline], "they are not in a box"
    loaded = min(chain_of_forks(h) for _ in range(3))
    assert loaded < quiet * 6, f"{quiet:.3f} s alone, {loaded:.3f} s beside 100 spinning programs"


@test(timeout=120)
def a_program_that_takes_too_much_memory_is_killed_and_only_it(h):
    h.policy(policy("[user alice]\nmemory_max = 100M\n"))
    s = h.session("alice")
    r = h.ssh("alice", "python3 -c 'b = bytearray(400 << 20); print(\"had it\")'")
    lacks(r.out, "had it", "output")
    assert r.code != 0, r
    os.kill(s.pid, 0)
    eq(h.ssh("alice", "echo in").out, "in\n", "the next login")


@test(timeout=120)
def tmpfs_counts_as_the_boxs_memory(h):
    h.policy(policy("[user alice]\nmemory_max = 100M\n"))
    h.session("alice")
    available = lambda: int(observe.field(observe.read("/proc/meminfo"), r"MemAvailable:\s+(\d+)")) >> 10
    before = available()
    r = h.ssh("alice", "dd if=/dev/zero of=/tmp/large bs=1M count=400")
    assert r.code != 0, "400 MB went into /tmp"
    assert before - available() < 200, f"the host lost {before - available()} MB"


@test
def inodes_of_tmp_are_limited(h):
    h.session("alice")
    r = h.ssh("alice", "python3 -c 'import os; os.makedirs(\"/tmp/d\"); n = 0\n"
                       "try:\n while n < 1000000: open(f\"/tmp/d/{n}\", \"w\").close(); n += 1\n"
                       "except OSError: pass\nprint(n)'", timeout=50)
    assert int(r.out) < 500000, f"{r.out.strip()} files in /tmp"


def before_each(h):
    restore(h)
    for name in ("spinning",):
        if os.path.exists(f"/home/alice/{name}"):
            os.unlink(f"/home/alice/{name}")


main(setup, before_each=before_each)
