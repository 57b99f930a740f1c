#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""What nsbox has to do on a plain cgroup v2 system; runs inside the machine of tests/vm/run.py.

The machine takes the place of the throwaway host of the other suites: it is
thrown away anyhow, and its cgroups are the real ones.
"""

import os
import re
import shutil
import socket
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import observe
import tap
import throwaway
from observe import cgroups_of, read, wait_until
from tap import contains, eq, lacks, test

BASE = "/sys/fs/cgroup/nsbox"
POLICY = """\
[defaults]
linger = 0
[user alice]
action = box
[user bob]
action = box
pids_max = 20
memory_max = 256M
cpu_weight = 250
"""

# Forks whenever it can and never lets go: what bash's fork bomb does once its retries are over.
BOMB = """exec python3 -c '
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
' </dev/null >/dev/null 2>&1"""

# Starts sleeps until a fork fails, says how many, and keeps them.
SLEEPS = """exec python3 -c '
import subprocess
n = 0
try:
    for n in range(100):
        subprocess.Popen(["sleep", "1000"])
    n = 100
except BlockingIOError:
    pass
print("started", n, flush=True)
input()
'"""


def write_syslog():
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind("/dev/log")
    os.chmod("/dev/log", 0o666)
    out = os.open(throwaway.SYSLOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def pump():
        while True:
            line = log.recv(65536).rstrip(b"\0\n")
            os.write(out, re.sub(rb"^<\d+>", b"", line) + b"\n")
    threading.Thread(target=pump, daemon=True).start()


def boot_here(keep=()):
    """In the place of throwaway.boot(): this machine is the throwaway host."""
    shutil.rmtree("/root/.ssh", ignore_errors=True)
    for name in os.listdir("/etc/ssh"):
        if name.startswith("ssh_host_"):
            os.unlink("/etc/ssh/" + name)
    write_syslog()
    os.chdir("/")


def setup(h):
    for name in ("alice", "bob", "carol"):
        h.add_user(name)
    # An emulated machine is slow, and the default key exchange alone takes it seconds.
    config = read("/root/.ssh/config").replace("ConnectTimeout 10", "ConnectTimeout 60")
    h.write("/root/.ssh/config", config + " KexAlgorithms curve25519-sha256\n", 0o600)
    if os.path.exists(throwaway_module()):
        h.policy(POLICY)
        h.enable("sshd")
    h.sshd()


def throwaway_module():
    import host
    return host.MODULE


def boxed_test(function):
    """A test that needs the product; without it, the machine's own are all there is to see."""
    def run(h):
        if not os.path.exists(throwaway_module()):
            tap.skip("nsbox is not built")
        function(h)
    run.__name__ = function.__name__
    return test(run, timeout=150)


def box_of(pid):
    """The box's directory, from where the kernel says the process is."""
    path = cgroups_of(pid)[""]
    found = re.match(r"/nsbox/([^/]+)/(main|rescue|init)$", path)
    if not found:
        raise AssertionError(f"process {pid} is in {path}, not in a box's cgroup")
    return os.path.join(BASE, found[1])


def session(h, user, **how):
    return h.session(user, timeout=60, **how)


def pythons():
    return [p for p in observe.boxed() if p.name == "python3"]


def number(path):
    return int(read(path).strip())


def event(path, key):
    return int(dict(line.split() for line in read(path).splitlines())[key])


@test
def a_user_who_is_not_boxed_logs_in_as_before(h):
    out = h.ssh("carol", "cat /proc/self/cgroup; readlink /proc/self/ns/user; hostname").check().out
    eq(out.splitlines(), ["0::/", f"user:[{h.nsinos()['user']}]", os.uname().nodename])


@boxed_test
def a_login_lands_in_a_box_with_seven_namespaces_of_its_own(h):
    first, second = session(h, "alice"), session(h, "alice")
    for name, inode in h.nsinos(first.pid).items():
        assert inode != h.nsinos()[name], f"the {name} namespace is the host's"
    eq(h.nsinos(second.pid), h.nsinos(first.pid), "namespaces of the second session")
    eq(h.ssh("alice", "hostname; id -u").check().out.split(), ["alice", str(h.users["alice"].uid)])
    eq(len(observe.inits()), 1, "boxes")


@boxed_test
def the_caller_its_session_and_init_are_in_the_cgroup_of_the_box(h):
    s = session(h, "alice")
    box = box_of(s.pid)
    inside = box[len("/sys/fs/cgroup"):]
    eq(cgroups_of(s.pid)[""], inside + "/main", "cgroup of the session")
    eq(cgroups_of(s.caller.pid)[""], inside + "/main", "cgroup of the caller")
    eq([box_of(p.pid) for p in observe.inits()], [box], "the box whose cgroup init is in")
    lacks(h.ssh("alice", "cat /proc/self/cgroup").check().out, "nsbox", "the box's view")


@boxed_test
def the_limits_of_the_policy_are_set(h):
    box = box_of(session(h, "bob").pid)
    eq(number(box + "/main/pids.max"), 20, "main/pids.max")
    rescue = number(box + "/rescue/pids.max")
    assert 16 <= rescue <= 32, f"rescue/pids.max is {rescue}"
    assert number(box + "/pids.max") >= 20 + rescue, "the box's pids.max is below main and rescue"
    eq(number(box + "/memory.max"), 256 << 20, "memory.max")
    eq(number(box + "/cpu.weight"), 250, "cpu.weight")


@boxed_test
def limits_have_defaults(h):
    box = box_of(session(h, "alice").pid)
    eq(number(box + "/main/pids.max"), 512, "main/pids.max")
    eq(number(box + "/cpu.weight"), 100, "cpu.weight")
    ram = int(observe.field(read("/proc/meminfo"), r"MemTotal: +(\d+)")) * 1024
    assert abs(number(box + "/memory.max") - ram / 2) < ram / 50, "memory.max is not half of RAM"


@boxed_test
def a_hundred_sleeps_stop_at_pids_max(h):
    p = h.start(h.ssh_argv("bob", SLEEPS), stdin=-1, stdout=-1)
    started = int(observe.field(p.stdout.readline().decode(), r"started (\d+)"))
    session = next(q for q in observe.boxed() if q.name == "sleep")
    main = box_of(session.pid) + "/main"
    eq(number(main + "/pids.current"), 20, "main/pids.current")
    assert 10 <= started < 20, f"{started} sleeps were started"
    assert event(main + "/pids.events", "max") > 0, "the limit was not met"


@boxed_test
def a_fork_bomb_is_contained_and_its_user_ends_it_through_rescue(h):
    h.start(h.ssh_argv("bob", BOMB))
    bomb = wait_until(pythons, 60, "the bomb")[0]
    main = box_of(bomb.pid) + "/main"
    wait_until(lambda: number(main + "/pids.current") >= 20, 20, "main is full")
    h.ssh("carol", "true", timeout=60).check()
    h.ssh("alice", "true", timeout=60).check()
    rescuer = h.start(h.ssh_argv("bob", "echo in; exec cat"), stdin=-1, stdout=-1)
    eq(rescuer.stdout.readline(), b"in\n", "what the rescuing session says")
    rescue = read(box_of(bomb.pid) + "/rescue/cgroup.procs").split()
    contains([read(f"/proc/{pid}/comm") for pid in rescue], "sshd\n", "who is in rescue")
    eq(number(main + "/pids.current"), 20, "main/pids.current")
    h.ssh("bob", "kill -KILL -1", timeout=60)
    wait_until(lambda: not pythons(), 10, "the bomb is dead")
    h.ssh("bob", "true").check()


@boxed_test
def memory_max_kills_inside_the_box_only(h):
    s = session(h, "bob")
    box = box_of(s.pid)
    result = h.ssh("bob", "python3 -c 'b\"x\" * (600 << 20)'; echo $?", timeout=100)
    eq(result.out.split(), ["137"], "how the greedy process ended")
    assert event(box + "/memory.events", "oom_kill") > 0, "no oom_kill in memory.events"
    eq(h.ssh("bob", "echo alive").check().out, "alive\n")
    eq(s.popen.poll(), None, "the other session of the box")


@boxed_test
def ids_in_the_home_are_natural(h):
    u = h.users["alice"]
    h.home_file("alice", "from-host", "secret", 0o600)
    h.write(u.home + "/of-root", "root's", 0o600)
    out = h.ssh("alice", "cat from-host; stat -c ' %u %g %U' from-host; stat -c %u of-root; "
                "mkdir d; echo x > d/from-box; cat of-root").out
    eq(out.split(), ["secret", str(u.uid), str(u.gid), "alice", "65534"])
    for name in ("d", "d/from-box"):
        st = os.stat(f"{u.home}/{name}")
        eq((st.st_uid, st.st_gid), (u.uid, u.gid), name + " on the disk")


@boxed_test
def the_root_of_the_box_makes_nothing_of_the_host_s_root(h):
    u = h.users["alice"]
    s = session(h, "alice")
    h.ssh("alice", "cp /bin/true mine").check()
    for command in (["chown", "0:0"], ["chown", "0:6"], ["setcap", "cap_setuid+ep"]):
        assert h.enter(s.pid, *command, u.home + "/mine").code != 0, f"box root may {command}"
    assert h.enter(s.pid, "touch", u.home + "/new").code != 0, "box root makes a file in the home"
    st = os.stat(u.home + "/mine")
    eq((st.st_uid, st.st_gid), (u.uid, u.gid), "the file on the disk")


@boxed_test
def many_logins_at_once_make_one_box(h):
    sessions = [session(h, "alice", wait=False) for _ in range(8)]
    eq(len({h.nsinos(s.ready().pid)["user"] for s in sessions}), 1, "user namespaces")
    eq(len(observe.inits()), 1, "boxes")
    eq(len([n for n in os.listdir(BASE) if os.path.isdir(f"{BASE}/{n}/main")]), 1, "cgroups of boxes")


@boxed_test
def a_frozen_box_is_not_joined(h):
    box = box_of(session(h, "alice").pid)
    with open(box + "/cgroup.freeze", "w") as f:
        f.write("1")
    wait_until(lambda: event(box + "/cgroup.events", "frozen") == 1, 5, "the box is frozen")
    mark = h.log_mark()
    try:
        refused = h.ssh("alice", "true")
    finally:
        with open(box + "/cgroup.freeze", "w") as f:
            f.write("0")
    eq(refused.code, 254, "exit code of the refused login")
    contains(h.log_since(mark), "frozen", "the log")
    h.ssh("alice", "true").check()


@boxed_test
def without_user_namespaces_the_login_is_refused_and_the_sysctl_named(h):
    # It counts for the whole machine, so this can be tried on a machine of our own only.
    limit = "/proc/sys/user/max_user_namespaces"
    before = read(limit)
    mark = h.log_mark()
    observe.wait_until(lambda: not observe.boxed() and not observe.keepers(), 30, "no box is there")
    with open(limit, "w") as f:
        f.write("0")
    try:
        eq(h.ssh("alice", "echo boxed", timeout=90).code, 254, "exit code of ssh")
        h.wait_for_log(r"no box for alice: .*user\.max_user_namespaces", 10, since=mark)
    finally:
        with open(limit, "w") as f:
            f.write(before)
    eq(h.ssh("alice", "echo boxed", timeout=90).out.strip().splitlines()[-1:], ["boxed"], "after")


@boxed_test
def after_the_last_logout_nothing_is_left(h):
    sessions = [session(h, "alice"), session(h, "bob"), session(h, "alice")]
    assert observe.box_cgroups() and os.listdir("/run/nsbox")
    for s in sessions:
        eq(s.close(), 0, "exit code")
    h.wait_gone(5)


@boxed_test
def a_killed_keeper_leaves_nothing_in_the_way_of_the_next_login(h):
    s = session(h, "alice")
    for p in observe.keepers():
        os.kill(p.pid, 9)
    wait_until(lambda: s.popen.poll() is not None, 10, "the session has ended")
    wait_until(lambda: not observe.inits(), 5, "the box is gone")
    h.ssh("alice", "true").check()
    h.wait_gone(5)


def image_policy(h, rootfs, mode="ro", more=""):
    h.policy(POLICY + f"rootfs = {rootfs}\nrootfs_mode = {mode}\n{more}")


def loops():
    return [n for n in os.listdir("/sys/block") if n.startswith("loop") and os.path.exists(f"/sys/block/{n}/loop")]


def images():
    """The payload's disk is read-only and belongs to whoever built it: /srv has root's copy."""
    if not os.path.exists("/srv/busybox"):
        shutil.copytree("/payload/busybox", "/srv/busybox", symlinks=True)
        for name in ("busybox.erofs", "busybox.squashfs"):
            shutil.copy("/payload/" + name, "/srv/" + name)
        for where, dirs, files in os.walk("/srv"):
            for name in (*dirs, *files):
                os.lchown(os.path.join(where, name), 0, 0)


@boxed_test
def an_erofs_file_is_a_root_and_its_loop_device_goes_with_the_box(h):
    images()
    before = loops()
    image_policy(h, "/srv/busybox.erofs")
    s = session(h, "bob")
    eq(len(loops()), len(before) + 1, "loop devices")
    eq(os.stat(f"/proc/{s.pid}/root/image-file").st_uid, observe.to_host(s.pid, 0), "owner of root's files in the box")
    s.close()
    h.wait_gone(10)
    wait_until(lambda: loops() == before, 10, "the loop device is gone")


@boxed_test
def a_squashfs_file_is_refused_with_what_to_make_instead(h):
    images()
    before = loops()
    image_policy(h, "/srv/busybox.squashfs")
    r = h.run(["nsbox", "run", "bob", "--", "true"], timeout=60)
    eq(r.code, 254, "exit code")
    contains(r.err, "no idmapped mounts of squashfs (Linux 6.2 has): make the image an erofs file or a directory")
    wait_until(lambda: loops() == before, 10, "the loop device is gone")


CHANGES = "echo made > /made && rm -rf /usr/dir && mkdir /usr/dir && echo again > /usr/dir/again && rm /image-file"
SEEN = "cat /made; ls /usr/dir; ls /image-file"


@boxed_test
def a_root_can_be_written_over_a_directory_and_over_erofs(h):
    images()
    for rootfs in ("/srv/busybox", "/srv/busybox.erofs"):
        for mode, after in (("persistent", "made\nagain\n"), ("ephemeral", "deep\n/image-file\n")):
            image_policy(h, rootfs, mode)
            s = h.hold(lambda command: ["nsbox", "run", "bob", "--", "sh", "-c", command])
            h.enter(s.pid, "/bin/sh", "-c", CHANGES, timeout=60).check()
            eq(h.enter(s.pid, "/bin/sh", "-c", SEEN, timeout=60).out, "made\nagain\n", f"{mode} in {rootfs}")
            s.close()
            h.wait_gone(10)
            eq(h.run(["nsbox", "run", "bob", "--", "sh", "-c", SEEN], timeout=60).out, after, f"{mode} in {rootfs}, next")
            h.wait_gone(10)
    uid = h.users["bob"].uid
    eq([n for n in os.listdir(f"/var/lib/nsbox/{uid}") if n.endswith(".tmp")], [], "ephemeral layers left")


def disk_max(h, mkfs, size):
    """disk_max on a file system of its own, with project quotas of the kind that mkfs makes."""
    images()
    uid = h.users["bob"].uid
    shutil.rmtree("/var/lib/nsbox", ignore_errors=True)
    os.mkdir("/var/lib/nsbox", 0o700)
    image_policy(h, "/srv/busybox", "persistent", "disk_max = 8M\n")
    r = h.run(["nsbox", "run", "bob", "--", "true"], timeout=60)
    contains(r.err, "disk_max needs project quotas", "on a file system without")
    with open("/srv/disk", "w") as f:
        f.truncate(size)
    h.run([*mkfs, "/srv/disk"], timeout=60).check()
    # ext4: accounting alone, which limits nothing. xfs: not even that.
    h.run("mount -o loop /srv/disk /var/lib/nsbox", timeout=60).check()
    os.chmod("/var/lib/nsbox", 0o700)
    h.idle()
    r = h.run(["nsbox", "run", "bob", "--", "true"], timeout=60)
    contains(r.err, "disk_max needs project quotas", "on one that does not enforce them")
    h.wait_gone(10)
    # xfs has no new words for a mount that is there: it looks at the quotas as it mounts.
    h.run("umount /var/lib/nsbox", timeout=60).check()
    h.run("mount -o loop,prjquota /srv/disk /var/lib/nsbox", timeout=60).check()
    h.idle()
    try:
        fill_up(h)
    finally:
        h.settle()
        h.run("umount /var/lib/nsbox", timeout=60).check()
        h.idle()
        os.unlink("/srv/disk")
    image_policy(h, "/srv/busybox", "persistent")
    h.run(["nsbox", "run", "bob", "--", "ls"], timeout=60).check()
    h.wait_gone(10)
    eq(sorted(os.listdir("/var/lib/nsbox")), [str(uid)], "layers")


def fill_up(h):
    s = h.hold(lambda command: ["nsbox", "run", "bob", "--", "sh", "-c", command])
    r = h.enter(s.pid, "/bin/sh", "-c", "dd if=/dev/zero of=/big bs=1M count=20", timeout=60)
    assert r.code != 0 and re.search("quota exceeded|no space left", r.err, re.I), r
    size = os.stat(f"/proc/{s.pid}/root/big").st_size
    assert 6 << 20 <= size <= 8 << 20, f"{size} bytes were written"
    r = h.enter(s.pid, "/bin/sh", "-c", "rm /big && i=0 && while [ $i -lt 3000 ]; do echo -n > /f$i || exit 3; i=$((i + 1)); done",
                timeout=100)
    eq(r.code, 3, "exit code of making 3000 files")
    s.close()
    h.wait_gone(10)
    s = h.hold(lambda command: ["nsbox", "run", "bob", "--", "sh", "-c", command])
    h.enter(s.pid, "/bin/sh", "-c", "rm /f1*", timeout=60).check()      # a full root is not a locked one
    s.close()
    h.wait_gone(10)
    image_policy(h, "/srv/busybox", "persistent", "disk_max = 24M\n")
    s = h.hold(lambda command: ["nsbox", "run", "bob", "--", "sh", "-c", command])
    h.enter(s.pid, "/bin/sh", "-c", "dd if=/dev/zero of=/big bs=1M count=12", timeout=60).check()
    s.close()
    h.wait_gone(10)


@boxed_test
def disk_max_limits_a_root_where_the_file_system_has_project_quotas(h):
    h.run("modprobe quota_v2")
    disk_max(h, ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"], 64 << 20)


@boxed_test
def disk_max_limits_a_root_on_xfs(h):
    disk_max(h, ["mkfs.xfs", "-q"], 320 << 20)


@boxed_test
def the_command_lists_the_boxes(h):
    session(h, "alice")
    contains(h.run(["nsbox", "list"]).check().out, "alice")
    h.run(["nsbox", "stop", "alice"]).check()
    h.wait_gone(5)


def before_each(h):
    if os.path.exists(throwaway_module()):
        h.policy(POLICY)


if __name__ == "__main__":
    throwaway.boot = boot_here
    tap.main(setup, before_each=before_each)
