#!/usr/bin/python3 -B
"""rootfs = a file, and roots that can be written: rootfs_mode = ephemeral and persistent, disk_max."""

import os
import re
import shutil
import stat

from common import LOOK, in_box, policy, setup as common_setup
import images
import observe
from tap import contains, eq, main, test

DEBIAN = images.debian()
BUSYBOX = "/srv/busybox"
FILES = {"erofs": "/srv/busybox.erofs", "squashfs": "/srv/busybox.squashfs"}
LOOPS = 32


def setup(h):
    common_setup(h)
    h.add_user("ash", 1201, groups=["nsbox"], shell="/bin/sh", password="ash-secret")
    images.busybox(BUSYBOX)
    h.write(f"{BUSYBOX}/image-file", "of the image\n")
    h.run(["mkfs.erofs", "--quiet", FILES["erofs"], BUSYBOX]).check()
    h.run(["mksquashfs", BUSYBOX, FILES["squashfs"], "-quiet", "-no-progress"]).check()
    for number in range(LOOPS):
        if not os.path.exists(f"/dev/loop{number}"):
            os.mknod(f"/dev/loop{number}", stat.S_IFBLK | 0o600, os.makedev(7, number))


def root(path, mode="ro", more=""):
    return policy(defaults=f"rootfs = {path}\nrootfs_mode = {mode}\n{more}")


def loops(backing):
    """The loop devices that have this file."""
    return [n for n in os.listdir("/sys/block") if n.startswith("loop") and
            backing in observe.read(f"/sys/block/{n}/loop/backing_file")]


# ------------------------------------------------------------ rootfs = a file

def a_file_serves(h, kind):
    h.policy(root(FILES[kind]))
    out = h.ssh("ash", f"cat /image-file; id -un; touch /made; {LOOK}").check().out
    contains(out, "of the image\nash\n")
    in_box(out)
    s = h.session("ash")
    eq(os.stat(f"/proc/{s.pid}/root/image-file").st_uid, observe.to_host(s.pid, 0), "owner of root's files in the box")
    for command in ("touch /made", "echo x > /image-file", "rm /image-file"):
        assert h.enter(s.pid, "/bin/sh", "-c", command).code != 0, f"{command!r} worked for root of the box"
    return s


@test
def an_erofs_file_serves(h):
    s = a_file_serves(h, "erofs")
    s.close()
    h.wait_gone()
    observe.wait_until(lambda: not loops(FILES["erofs"]), 5, "no loop device is left")


@test
def an_erofs_file_on_a_disk_takes_no_loop_device(h):
    """Linux 6.12 mounts it as it is, but not from a tmpfs."""
    h.policy(root(f"{DEBIAN}/root.erofs"))
    s = h.session("alice")
    contains(h.ssh("alice", "cat /etc/os-release; id -un").check().out, "bookworm")
    eq(loops("root.erofs"), [], "loop devices")
    s.close()
    h.wait_gone()


@test
def a_squashfs_file_serves(h):
    s = a_file_serves(h, "squashfs")
    eq(len(loops(FILES["squashfs"])), 1, "loop devices of one box")
    s.close()
    h.wait_gone()
    observe.wait_until(lambda: not loops(FILES["squashfs"]), 5, "no loop device is left")


@test
def a_killed_keeper_leaves_no_loop_device(h):
    a_file_serves(h, "squashfs")
    for p in observe.keepers():
        observe.kill(p.pid)
    observe.wait_until(lambda: not observe.inits(), 5, "the box is gone")
    observe.wait_until(lambda: not loops(FILES["squashfs"]), 5, "no loop device is left")


@test
def a_refused_login_leaves_no_loop_device(h):
    h.policy(root(FILES["squashfs"], more="shell_fallback = none\n"))
    eq(h.ssh("alice", "true").code, 254, "a box without the user's shell")
    observe.wait_until(lambda: not loops(FILES["squashfs"]), 5, "no loop device is left")


def refused(h, rootfs, sentence, mode="ro"):
    h.policy(root(rootfs, mode))
    r = h.run(["nsbox", "run", "ash", "--", "true"])
    assert r.code == 254, r
    assert re.search(sentence, r.err), f"/{sentence}/ in {r.err!r}"


@test
def a_file_that_is_no_image_or_not_roots_is_refused_with_the_reason(h):
    h.write("/srv/text", "x" * 8192)
    refused(h, "/srv/text", "/srv/text is neither a directory nor an erofs or squashfs file")
    os.mkfifo("/srv/fifo")
    refused(h, "/srv/fifo", "/srv/fifo is neither a directory nor a file")
    with open(FILES["erofs"], "rb") as f:
        h.write("/srv/cut", "")
        with open("/srv/cut", "wb") as cut:
            cut.write(f.read(2048))
    refused(h, "/srv/cut", "rootfs /srv/cut: mount it as erofs: ")
    for owner, mode in ((1201, 0o644), (0, 0o664), (0, 0o646)):
        path = shutil.copy(FILES["erofs"], "/srv/theirs.erofs")
        os.chown(path, owner, 0)
        os.chmod(path, mode)
        refused(h, path, "can be written by others than root")


main(setup)
