#!/usr/bin/python3 -B
"""Roots that box root can write: whatever is left in their layers, the next login and the clear-up follow nothing."""

import os
import shutil
import subprocess

from common import both, box_base, observe, policy, prepare
import images
from tap import contains, eq, lacks, main, test

IMAGE = "/srv/busybox"
STATE = "/var/lib/nsbox/1001"
TRAP = "/srv/trap"      # everybody may write there, as in /tmp, and it begins empty


def setup(h):
    prepare("symlink")(h)
    images.busybox(IMAGE)
    os.rmdir(f"{IMAGE}/home")      # then it is in the upper layer alone, and can be renamed
    h.write("/home/bob/marker", "bob\n")
    h.write("/home/bob/sub/marker", "bob\n")


def before_each(h):
    for path in (STATE, TRAP):
        shutil.rmtree(path, ignore_errors=True)
    os.mkdir(TRAP)
    os.chmod(TRAP, 0o1777)


def mode(h, name):
    h.policy(policy(defaults=f"rootfs = {IMAGE}\nrootfs_mode = {name}\n"))


def hold(h):
    return h.hold(lambda command: ["nsbox", "run", "alice", "--", "sh", "-c", command])


def in_the_box(h, command):
    """As box root, in a box that ends after it."""
    s = hold(h)
    r = h.enter(s.pid, "/bin/sh", "-c", command)
    s.close()
    observe.wait_until(lambda: not observe.keepers(), 5, "the keeper has ended")
    return r.check()


def login(h):
    return h.run(["nsbox", "run", "alice", "--", "sh", "-c", "id -un; pwd; cat /etc/hostname"], timeout=10)


def works(h, what):
    r = login(h)
    assert r.code == 0 and r.out == "alice\n/home/alice\nalice\n", f"{what}: {r}"
    h.wait_gone()


# ------------------------------------------------------------ the next login

@test
def a_link_in_a_persistent_root_leads_a_login_nowhere_on_the_host(h):
    mode(h, "persistent")

    def attack(h):
        before_each(h)
        in_the_box(h, f"mv /home /home.real && ln -s {TRAP} /home")
        login(h)
        h.wait_gone()
        return os.listdir(TRAP) != []
    both(h, ("symlink", "place"), attack)
    before_each(h)
    in_the_box(h, f"mv /home /home.real && ln -s {TRAP} /home")
    works(h, "a login with a link in the place of /home")


@test(timeout=180)
def whatever_is_in_the_place_of_a_file_or_directory_the_user_comes_in(h):
    mode(h, "persistent")
    things = {"a link out": f"ln -s {TRAP} %s", "a link up": "ln -s ../../../../.. %s", "a loop": "ln -s %s %s",
              "a link to a secret": "ln -s /proc/1/root/etc/shadow %s", "a fifo": "mkfifo %s",
              "a directory": "mkdir %s && echo > %s/x", "nothing": ":", "a file": "echo rubbish > %s"}
    for place in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc", "/home", "/root"):
        for number, (what, how) in enumerate(things.items()):
            in_the_box(h, f"mv {place} /old{place.replace('/', '-')}{number}; {how.replace('%s', place)}")
            works(h, f"{what} in the place of {place}")
    eq(os.listdir(TRAP), [], "what came out")
    for name in ("/proc", "/dev", "/run", "/tmp", "/sys"):
        r = h.enter(hold(h).pid, "/bin/sh", "-c", f"mv {name} /old; rmdir {name}; ls -ld {name}")
        assert r.out.startswith("d"), f"{name}, on which something is mounted: {r}"
        h.settle()


@test
def a_passwd_of_any_size_is_moved_aside_and_takes_no_memory(h):
    """Nobody has the memory for it, and on cgroup v1 init is not in the box's cgroup yet."""
    mode(h, "persistent")
    for name in ("passwd", "group"):
        in_the_box(h, f"truncate -s 1000G /etc/{name}")
        works(h, f"a terabyte of /etc/{name}")


@test
def a_passwd_made_inside_does_not_change_who_the_user_is(h):
    mode(h, "persistent")
    in_the_box(h, "echo 'alice:x:0:0::/:/bin/sh' > /etc/passwd; echo 'root2:x:1001:0::/:/bin/sh' >> /etc/passwd; "
                  "echo 'evil:x:0:alice' > /etc/group; echo 'disk2:x:6:alice' >> /etc/group; echo 'adm:x:4:alice' >> /etc/group")
    s = h.session("alice")
    base = box_base(s.pid)
    for p in (observe.Process(s.pid), s.caller):
        assert all(base <= n < base + 66560 for n in p.uids + p.gids + p.groups), f"ids of {p}: {p.uids} {p.groups}"
    out = h.ssh("alice", "id; cat /etc/passwd /etc/group").check().out
    contains(out, "uid=1001(alice) gid=1001(alice)")
    for line in ("alice:x:0", "root2", "evil:x:0:alice", "adm:x:4:alice"):
        lacks(out, line)
    eq(observe.Process(s.pid).uids[0], base + 1001, "uid of the session")


# ------------------------------------------------------------ the end of an ephemeral root

@test
def the_end_of_an_ephemeral_root_removes_nothing_of_others(h):
    mode(h, "ephemeral")

    def attack(h):
        h.write("/home/bob/marker", "bob\n")
        h.write("/home/bob/sub/marker", "bob\n")
        shutil.rmtree(STATE, ignore_errors=True)
        in_the_box(h, "mkdir -p /a/b; ln -s /home/bob/sub /a/b/bob; ln -s /home/bob/sub /bob; ln -s ../../../../../../../home/bob /up")
        return not (os.path.exists("/home/bob/marker") and os.path.exists("/home/bob/sub/marker"))
    both(h, "symlink", attack)
    h.wait_gone()
    eq(os.listdir(STATE), [], "layers that are left")


@test
def nor_does_the_clearing_of_one_that_a_killed_keeper_left(h):
    mode(h, "ephemeral")
    s = hold(h)
    h.enter(s.pid, "/bin/sh", "-c", "mkdir -p /a/b; ln -s /home/bob /a/b/bob; ln -s /home/bob /bob").check()
    for p in observe.keepers():
        observe.kill(p.pid)
    observe.wait_until(lambda: not observe.inits(), 5, "the box is gone")
    eq(len(os.listdir(STATE)), 1, "layers that are left")
    s = hold(h)
    observe.wait_until(lambda: len(os.listdir(STATE)) == 1, 5, "one of the two is cleared")
    eq((observe.read("/home/bob/marker"), observe.read("/home/bob/sub/marker")), ("bob\n", "bob\n"), "bob's files")


@test
def a_mount_below_the_layers_is_not_entered_and_what_is_in_it_stays(h):
    mode(h, "ephemeral")
    s = hold(h)
    h.enter(s.pid, "/bin/sh", "-c", "mkdir -p /a/b/c; echo x > /a/b/file").check()
    point = f"{STATE}/{os.listdir(STATE)[0]}/upper/a/b/c"
    h.run(["mount", "--bind", "/home/bob", point]).check()
    try:
        mark = h.log_mark()
        s.close()
        h.wait_for_log(r"is not gone: remove .*\.tmp: ", since=mark)
        eq((observe.read("/home/bob/marker"), observe.read("/home/bob/sub/marker")), ("bob\n", "bob\n"), "bob's files")
    finally:
        for line in observe.read("/proc/self/mountinfo").splitlines():
            if line.split()[4].startswith(STATE):
                h.run(["umount", line.split()[4]]).check()


@test
def a_process_outside_that_holds_the_ended_root_changes_nothing(h):
    """A directory of the box, handed out to an accomplice, who renames in it while it is removed."""
    mode(h, "ephemeral")
    s = hold(h)
    h.enter(s.pid, "/bin/sh", "-c", "mkdir /open; chmod 777 /open; cd /open; i=0; while [ $i -lt 2000 ]; do mkdir -p d$i/e; "
            "ln -s /home/bob d$i/link; echo x > d$i/e/f; i=$((i + 1)); done; chmod -R 777 /open").check()
    fd = os.open(f"/proc/{s.pid}/root/open", os.O_PATH | os.O_DIRECTORY)
    swap = ("import ctypes, os, signal, sys\nn = 0\nos.fchdir(%d)\nrename = ctypes.CDLL(None).renameat2\n"
            "done = []\nsignal.signal(signal.SIGTERM, lambda *_: done.append(1))\nprint('go', flush=True)\n"
            "while not done:\n"
            "  for i in range(1999, 0, -1):\n"
            "    n += rename(-100, b'd%%d/e' %% i, -100, b'd%%d/link' %% i, 2) == 0\nprint(n)\n" % fd)
    p = h.start(["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", "/usr/bin/python3", "-c", swap],
                pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    eq(p.stdout.readline(), b"go\n", "the accomplice")
    s.close()
    observe.wait_until(lambda: not observe.keepers(), 20, "the keeper has ended")
    p.terminate()
    swaps = int(p.communicate(timeout=10)[0])
    assert swaps > 1000, f"{swaps} swaps"
    os.close(fd)
    eq((observe.read("/home/bob/marker"), observe.read("/home/bob/sub/marker")), ("bob\n", "bob\n"), "bob's files")
    eq(os.listdir(STATE), [], "layers that are left")


main(setup, before_each=before_each)
