#!/usr/bin/python3 -B
"""Binds: a source or a place that the user swaps for a symlink while the box is built leads nowhere else; devices.

NSBOX_TEST_ROUNDS   boxes in each race (150; of 10000, each race takes about two minutes: name one test at a time)
"""

import os
import shutil
import stat
import subprocess

from common import SECRET, STUDENTS, as_root, both, compile_probe, policy, prepare
from tap import eq, main, test
import userfs

ROUNDS = int(os.environ.get("NSBOX_TEST_ROUNDS", "150"))
LAB = "/srv/lab"                # root's, and the group students may write it
PLANTED = "root:x:0:0:planted:/:/bin/sh\n"
HIDDEN = "/root/hidden/alice"   # her own directory, where she cannot go


def setup(h):
    prepare("symlink", "place", "device")(h)
    os.makedirs(HIDDEN)
    h.write(f"{HIDDEN}/marker", "hidden\n")
    os.chown(HIDDEN, 1001, 1001)
    os.chmod("/root/hidden", 0o700)


def before_each(h):
    h.policy(policy())
    shutil.rmtree(LAB, ignore_errors=True)
    os.makedirs(LAB)
    os.chown(LAB, 0, STUDENTS)
    os.chmod(LAB, 0o2775)
    h.write(f"{LAB}/marker", "lab\n")
    h.write(f"{LAB}/passwd", PLANTED)
    for name in ("lab", "other"):
        path = f"/home/alice/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


def use(h, *lines):
    h.policy(policy(defaults="".join(line + "\n" for line in lines)))


def of_alice(make, path):
    make(path)
    os.lchown(path, 1001, 1001)
    return path


def run(h, *argv):
    return h.run(["nsbox", "run", "alice", "--", *argv], timeout=15)


def while_swapping(h, a, b, rounds, look):
    """What look() gives in each round while alice exchanges two of her names: {answer: how often}."""
    swap = shutil.copy(compile_probe("swap"), "/usr/local/bin/swap")
    seen = {}
    # The swapper ends by itself after 150 s: a new one for each hundred rounds.
    for first in range(0, rounds, 100):
        swapper = h.start(["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", swap, a, b],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(min(100, rounds - first)):
            answer = look()
            seen[answer] = seen.get(answer, 0) + 1
        swaps = int(swapper.communicate(b"x", 10)[0])
        assert swaps > 100, f"{swaps} swaps"
    return seen


# ------------------------------------------------------------ the source

def source(h):
    return run(h, "cat", "/data/marker").out.strip()


@test(timeout=120)
def a_source_that_is_a_symlink_of_a_users_is_not_followed(h):
    of_alice(lambda p: os.symlink(HIDDEN, p), "/home/alice/lab")
    use(h, "bind = /home/alice/lab:/data")
    both(h, "symlink", lambda h: source(h) == "hidden")
    r = run(h, "true")
    assert r.code and "symlink in a directory that others than root can write" in r.err, r


@test(timeout=60 + ROUNDS)
def a_source_swapped_while_the_box_is_built_is_the_one_or_refused(h):
    of_alice(os.mkdir, "/home/alice/lab")
    h.home_file("alice", "lab/marker", "mine\n")
    of_alice(lambda p: os.symlink(HIDDEN, p), "/home/alice/other")
    use(h, "bind = /home/alice/lab:/data")
    attack = lambda h: "hidden" in while_swapping(h, "/home/alice/lab", "/home/alice/other", 30, lambda: source(h))
    both(h, "symlink", attack)
    found = while_swapping(h, "/home/alice/lab", "/home/alice/other", ROUNDS, lambda: source(h))
    eq(set(found), {"mine", ""}, f"what was lent: {found}")


@test
def a_file_system_of_the_users_is_not_believed_that_a_symlink_is_roots(h):
    """FUSE with allow_other: a program of alice's says who has made what."""
    of_alice(os.mkdir, "/home/alice/lab")
    use(h, "bind = /home/alice/lab/up/hidden/alice:/data")
    with userfs.liar("/home/alice/lab", 1001, up="/root"):
        both(h, "symlink", lambda h: source(h) == "hidden")
        r = run(h, "true")
        assert r.code and "symlink in a directory that others than root can write" in r.err, r
        h.policy(policy(defaults="rootfs = /home/alice/lab\n"))
        r = run(h, "true")
        assert r.code and "can be written by others than root" in r.err, r
    with userfs.liar("/home/alice/lab", 0, up="/root"):     # root's own
        use(h, "bind = /home/alice/lab/up/hidden/alice:/data")
        eq(source(h), "hidden", "by a link in a file system of root's")


# ------------------------------------------------------------ the place

def place(h):
    """Where the bind went: its directory, and what box root's passwd says then."""
    return run(h, "sh", "-c", "cat /etc/passwd | head -1; cat ~/lab/marker").out


@test(timeout=120)
def a_place_that_is_a_symlink_in_the_home_is_not_followed(h):
    """Without the defence a group's directory lies over the box's /etc: whoever writes it is root of the box."""
    of_alice(lambda p: os.symlink("../../etc", p), "/home/alice/lab")
    use(h, f"bind = {LAB}:%h/lab")
    both(h, "place", lambda h: place(h).startswith(PLANTED))
    r = run(h, "true")
    assert r.code and "on the way there is a symlink" in r.err, r


@test(timeout=60 + ROUNDS)
def a_place_swapped_while_the_box_is_built_is_the_one_or_refused(h):
    of_alice(os.mkdir, "/home/alice/lab")
    of_alice(lambda p: os.symlink("../../etc", p), "/home/alice/other")
    use(h, f"bind = {LAB}:%h/lab")
    attack = lambda h: any(a.startswith(PLANTED) for a in
                           while_swapping(h, "/home/alice/lab", "/home/alice/other", 30, lambda: place(h)))
    both(h, "place", attack)
    found = while_swapping(h, "/home/alice/lab", "/home/alice/other", ROUNDS, lambda: place(h))
    bad = {a: n for a, n in found.items() if a and not (a.startswith("root:x:0:0:root:") and "planted" not in a)}
    eq(bad, {}, "where the bind went")
    assert any("lab\n" in a for a in found), f"the bind never was in its place: {found}"


@test(timeout=60 + ROUNDS)
def nothing_is_made_outside_the_home_for_a_place_that_is_missing(h):
    """The parent is swapped for a symlink to a directory of root's, on the host and in the box."""
    of_alice(os.mkdir, "/home/alice/lab")
    of_alice(lambda p: os.symlink("/usr/local/etc", p), "/home/alice/other")
    use(h, f"bind = {LAB}:%h/lab/new/deep")
    while_swapping(h, "/home/alice/lab", "/home/alice/other", max(50, ROUNDS // 4), lambda: run(h, "true").code)
    assert not os.path.exists("/usr/local/etc/new"), "made on the host"
    for where, dirs, files in os.walk("/home/alice"):
        for name in dirs + files:
            eq(os.lstat(os.path.join(where, name)).st_uid, 1001, f"owner of {where}/{name}")


@test
def a_mask_in_the_home_covers_nothing_else(h):
    of_alice(lambda p: os.symlink("../../etc/passwd", p), "/home/alice/lab")
    use(h, "mask = %h/lab")
    both(h, "place", lambda h: run(h, "true").code == 0)


# ------------------------------------------------------------ what is bound

@test
def box_root_reads_no_secret_of_a_bound_directory(h):
    h.write(f"{LAB}/secret", SECRET, 0o600)
    h.write(f"{LAB}/dir/secret", SECRET, 0o644)
    os.chmod(f"{LAB}/dir", 0o700)
    use(h, f"bind = {LAB}:/data")
    pid = h.hold(lambda command: ["su", "alice", "-c", command]).pid
    r = as_root(h, pid, "cat /data/secret /data/dir/secret; chmod 777 /data/dir; chown 0 /data/dir; cat /data/marker")
    eq(r.out, "lab\n", "what box root reads")


# ------------------------------------------------------------ devices

@test(timeout=120)
def a_device_that_alice_cannot_open_is_not_lent_for_box_root_to_open(h):
    """Its owner is box root, whose capabilities open it whatever its mode."""
    os.mknod("/dev/x-fuse", stat.S_IFCHR | 0o600, os.makedev(10, 229))
    os.chmod("/dev/x-fuse", 0o660)
    try:
        use(h, "device = /dev/x-fuse")

        def attack(h):
            pid = h.hold(lambda command: ["su", "alice", "-c", command]).pid
            r = as_root(h, pid, "exec 3<>/dev/x-fuse && echo open")
            h.settle()
            return r.out == "open\n"
        both(h, "device", attack)
    finally:
        os.unlink("/dev/x-fuse")


main(setup, before_each=before_each)
