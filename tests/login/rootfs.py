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
STATE = "/var/lib/nsbox"


def setup(h):
    common_setup(h)
    h.add_user("ash", 1201, groups=["nsbox"], shell="/bin/sh", password="ash-secret")
    images.busybox(BUSYBOX)
    h.write(f"{BUSYBOX}/image-file", "of the image\n")
    h.write(f"{BUSYBOX}/gone", "")
    h.write(f"{BUSYBOX}/usr/dir/deep/er/file", "deep\n")
    h.run(["mkfs.erofs", "--quiet", FILES["erofs"], BUSYBOX]).check()
    h.run(["mksquashfs", BUSYBOX, FILES["squashfs"], "-quiet", "-no-progress"]).check()
    images.loop_devices()


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
    assert "init" not in r.err, f"the host has refused it, not init: {r.err!r}"


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


# ------------------------------------------------------------ rootfs_mode = ephemeral

def listing(top):
    """Everything about a tree that a box could have changed."""
    found = {}
    for where, dirs, files in os.walk(top):
        for name in [*dirs, *files]:
            st = os.lstat(os.path.join(where, name))
            found[os.path.join(where, name)] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns)
    return found


def layers(uid):
    """What is kept for the user on the disk."""
    return sorted(os.listdir(f"{STATE}/{uid}")) if os.path.isdir(f"{STATE}/{uid}") else []


def clear_state(uid):
    shutil.rmtree(f"{STATE}/{uid}", ignore_errors=True)


# By box root: makes, replaces and removes what the image has.
CHANGES = """set -e
echo made > /made; mkdir /new; chmod 700 /new; chown 1201 /new
echo more >> /image-file
rm -rf /usr/dir; mkdir /usr/dir; echo again > /usr/dir/again
rm /gone
"""


@test
def an_ephemeral_root_can_be_written_and_is_as_new_at_the_next_login(h):
    h.policy(root(BUSYBOX, "ephemeral"))
    before = listing(BUSYBOX)
    s = h.session("ash")
    h.enter(s.pid, "/bin/sh", "-c", CHANGES).check()
    eq(h.ssh("ash", "cat /made /image-file; ls /usr/dir; ls -d /gone").out, "made\nof the image\nmore\nagain\n", "in the box")
    assert layers(1201) and all(name.endswith(".tmp") for name in layers(1201)), layers(1201)
    eq(h.ssh("ash", "echo x > /as-user").code, 1, "the user's own right to write in root's /")
    s.close()
    h.wait_gone()
    eq(layers(1201), [], "left on the disk")
    eq(h.ssh("ash", "ls -d /made; cat /image-file; ls /usr/dir /gone").out, "of the image\n/gone\n\n/usr/dir:\ndeep\n",
       "the next box")
    eq(listing(BUSYBOX), before, "the image on the disk")


@test
def each_box_has_an_ephemeral_root_of_its_own(h):
    h.policy(root(BUSYBOX, "ephemeral", "scope = session\n"))
    first, second = h.session("ash"), h.session("ash")
    h.enter(first.pid, "/bin/sh", "-c", "echo x > /made").check()
    assert h.enter(second.pid, "/bin/sh", "-c", "ls -d /made").code, "two boxes share a root"
    eq(len(layers(1201)), 2, "layers on the disk")
    first.close()
    observe.wait_until(lambda: len(layers(1201)) == 1, 3, "the ended box's layers are gone")
    second.close()
    h.wait_gone()
    eq(layers(1201), [], "left on the disk")


@test
def a_deep_and_odd_tree_goes_with_its_box(h):
    h.policy(root(BUSYBOX, "ephemeral"))
    s = h.session("ash")
    h.enter(s.pid, "/bin/sh", "-c", "mkdir /deep; cd /deep; i=0; while [ $i -lt 2000 ]; do mkdir dddddddddd; cd dddddddddd; "
            "echo x > f; i=$((i + 1)); done; mkfifo /fifo; ln -s / /root-link; ln -s /nowhere /dangling; chmod 0 /deep; "
            "mkdir /many; i=0; while [ $i -lt 3000 ]; do echo > /many/$i; i=$((i + 1)); done; rm -r /usr/dir").check()
    s.close()
    h.wait_gone()
    eq(layers(1201), [], "left on the disk")


@test
def what_a_killed_keeper_left_the_next_login_clears(h):
    h.policy(root(BUSYBOX, "ephemeral"))
    s = h.session("ash")
    h.enter(s.pid, "/bin/sh", "-c", "mkdir -p /many/sub; echo x > /many/sub/file").check()
    for p in observe.keepers():
        observe.kill(p.pid)
    observe.wait_until(lambda: not observe.inits(), 5, "the box is gone")
    left = layers(1201)
    eq(len(left), 1, "layers that the killed keeper left")
    s = h.session("ash")
    observe.wait_until(lambda: left[0] not in layers(1201), 5, "the left layers are cleared")
    eq(len(layers(1201)), 1, "layers of the box that lives")
    eq(h.ssh("ash", "cat /image-file").check().out, "of the image\n", "the box that lives")


@test
def a_refused_login_leaves_no_ephemeral_layers(h):
    h.policy(root(BUSYBOX, "ephemeral", "shell_fallback = none\n"))
    eq(h.run(["nsbox", "run", "alice", "--", "true"]).code, 254, "a box without the user's shell")
    h.wait_gone()
    eq(layers(1001), [], "left on the disk")


# ------------------------------------------------------------ rootfs_mode = persistent

@test
def a_persistent_root_is_there_at_the_next_login(h):
    clear_state(1201)
    h.policy(root(BUSYBOX, "persistent"))
    before = listing(BUSYBOX)
    s = h.session("ash")
    h.enter(s.pid, "/bin/sh", "-c", CHANGES).check()
    s.close()
    h.wait_gone()
    for _ in range(2):
        r = h.ssh("ash", "cat /made /image-file; ls /usr/dir; ls -d /gone")
        eq(r.out, "made\nof the image\nmore\nagain\n", "the next box")
        h.wait_gone()
    eq(listing(BUSYBOX), before, "the image on the disk")
    eq(len(layers(1201)), 1, "layers")


@test
def ids_in_a_persistent_root_are_natural_on_the_disk_and_only_root_gets_there(h):
    clear_state(1201)
    h.policy(root(BUSYBOX, "persistent"))
    s = h.session("ash")
    h.enter(s.pid, "/bin/sh", "-c", "cp /bin/busybox /suid; chown 0:0 /suid; chmod 4755 /suid; touch /of-5; chown 5:6 /of-5; "
            "touch /mine; chown 1201:1201 /mine").check()
    eq(observe.to_host(s.pid, 0), os.stat(f"/proc/{s.pid}/root/suid").st_uid, "owner of root's file in the box")
    upper = f"{STATE}/1201/{layers(1201)[0]}/upper"
    for name, ids in {"suid": (0, 0), "of-5": (5, 6), "mine": (1201, 1201)}.items():
        st = os.lstat(f"{upper}/{name}")
        eq((st.st_uid, st.st_gid), ids, f"owner of {name} on the disk")
    for path in (STATE, f"{STATE}/1201", os.path.dirname(upper)):
        st = os.stat(path)
        eq((st.st_uid, stat.S_IMODE(st.st_mode)), (0, 0o700), path)
    for user in ("alice", "ash"):
        r = h.run(["setpriv", "--reuid", str(h.users[user].uid), "--clear-groups", "sh", "-c", f"{upper}/suid id"])
        contains(r.err, "Permission denied", f"{user} outside runs the box's setuid file")


@test
def layers_that_others_could_reach_are_refused(h):
    clear_state(1201)
    h.policy(root(BUSYBOX, "persistent"))
    h.ssh("ash", "true").check()
    h.wait_gone()
    for path in (STATE, f"{STATE}/1201", f"{STATE}/1201/{layers(1201)[0]}"):
        os.chmod(path, 0o711)
        r = h.run(["nsbox", "run", "ash", "--", "true"])
        os.chmod(path, 0o700)
        eq(r.code, 254, f"exit code with {path} of mode 711")
        contains(r.err, "must be a directory of root's with mode 0700", f"refusal of {path}")
        os.chown(path, 1201, 0)
        eq(h.run(["nsbox", "run", "ash", "--", "true"]).code, 254, f"{path} of the user's")
        os.chown(path, 0, 0)
    os.rename(f"{STATE}/1201", f"{STATE}/moved")
    os.symlink(f"{STATE}/moved", f"{STATE}/1201")
    eq(h.run(["nsbox", "run", "ash", "--", "true"]).code, 254, "a symlink in the place of the user's directory")
    os.unlink(f"{STATE}/1201")
    shutil.rmtree(f"{STATE}/moved")
    h.ssh("ash", "true").check()


@test(timeout=180)
def packages_are_installed_and_replaced_in_a_persistent_debian(h):
    clear_state(1001)
    h.policy(root(f"{DEBIAN}/root", "persistent"))
    install = "sudo apt-get -q update && sudo apt-get -q -y install nsbox-new nsbox-old"
    eq(h.ssh("alice", "nsbox-old; nsbox-new; ls /usr/share/nsbox-made/again").out,
       "old 1.0\nnsbox-old-\n", "before")
    r = h.ssh("alice", install, timeout=120)
    assert r.code == 0, r
    h.wait_gone()
    out = h.ssh("alice", "nsbox-old; nsbox-new; dpkg -s nsbox-new | grep Status; ls /usr/share/nsbox-old; "
                "cat /usr/share/nsbox-old/*/*; ls /usr/share/nsbox-made/again; dpkg --audit").check().out
    eq(out.splitlines(), ["old 2.0", "new 1.0", "Status: install ok installed", "gone2", "stays", "a 2", "c 2",
                          "nsbox-old-1.0"], "at the next login")
    r = h.ssh("alice", "sudo apt-get -q -y --purge remove nsbox-new && sudo rm -rf /usr/share/nsbox-old /var/lib/apt", timeout=120)
    assert r.code == 0, r
    h.wait_gone()
    out = h.ssh("alice", "ls -d /usr/share/nsbox-old /usr/bin/nsbox-new /var/lib/apt; sudo mkdir /usr/share/nsbox-old; "
                "ls -A /usr/share/nsbox-old; id -un").out
    eq(out, "alice\n", "after they were removed, and one made again")


@test(timeout=120)
def accounts_made_inside_stay_and_the_user_stays_who_the_host_says(h):
    clear_state(1001)
    h.policy(root(f"{DEBIAN}/root", "persistent"))
    inside = h.ssh("alice", "sudo adduser --system --group svc && sudo adduser --disabled-password --gecos '' peer && "
          "sudo adduser svc games && sudo adduser peer students && sudo adduser alice adm && "
          "sudo usermod -s /bin/false -d /tmp alice && sudo sh -c 'echo alice:inside | chpasswd; echo 10.0.0.1 mine >> /etc/hosts' && "
                   "getent passwd alice").check().out
    contains(inside, ":/tmp:/bin/false\n", "the change inside")
    h.wait_gone()
    out = h.ssh("alice", "getent passwd alice svc peer; id -nG; getent group games students adm; sudo grep ^peer: /etc/shadow; "
                "cat /etc/hostname; grep -c mine /etc/hosts; cat /etc/resolv.conf").out
    lines = out.splitlines()
    observe.field(out, r"^alice:\$y\$[^:]+:1001:1001::/home/alice:/bin/bash$")
    observe.field(out, r"^svc:x:\d+:\d+:.*:/nonexistent:")
    observe.field(out, r"^peer:x:\d+:")
    observe.field(out, r"^games:x:60:svc$")
    observe.field(out, r"^students:x:1600:alice,peer$")
    observe.field(out, r"^adm:x:4:$")
    observe.field(out, r"^peer:[!*]")
    contains(lines, "alice", "hostname")
    contains(lines, "0", "lines of the box's own in /etc/hosts")
    contains(out, "no network")
    groups = h.ssh("alice", "id -G").out.split()
    eq(sorted(groups, key=int), sorted(["1001", "1500", "999", "6", "1600"], key=int), "groups of the session")


@test
def a_box_that_only_lingers_makes_way_when_the_policy_has_changed(h):
    clear_state(1201)
    persistent = root(BUSYBOX, "persistent", "linger = forever\n")
    h.policy(persistent)
    h.ssh("ash", "true").check()
    first = observe.inits()[0].pid
    h.policy(persistent.replace("linger", "pids_max = 100\nlinger"))
    h.ssh("ash", "true").check()
    assert observe.inits()[0].pid != first, "the old box serves on"
    eq(len(observe.inits()), 1, "boxes")


@test
def a_box_with_sessions_keeps_its_root_and_another_is_refused(h):
    clear_state(1201)
    persistent = root(BUSYBOX, "persistent")
    h.policy(persistent)
    s = h.session("ash")
    h.policy(persistent.replace("linger", "pids_max = 100\nlinger"))
    mark = h.log_mark()
    eq(h.ssh("ash", "true").code, 254, "exit code")
    h.wait_for_log(r"has the user's persistent root and 1 session, and this login is to have another box: log out there, "
                   r"or end it with nsbox stop ash", since=mark)
    eq(len(observe.inits()), 1, "boxes")
    h.enter(s.pid, "/bin/sh", "-c", "echo alive > /still").check()
    s.close()
    eq(h.ssh("ash", "cat /still").check().out, "alive\n", "at once after it ended")


@test
def logins_right_after_one_another_wait_for_the_root(h):
    clear_state(1201)
    h.policy(root(BUSYBOX, "persistent"))
    for i in range(10):
        eq(h.run(["nsbox", "run", "ash", "--", "cat", "/image-file"]).check().out, "of the image\n", f"login {i}")


@test
def a_killed_keeper_does_not_cost_the_persistent_root(h):
    clear_state(1201)
    h.policy(root(BUSYBOX, "persistent"))
    s = h.session("ash")
    h.enter(s.pid, "/bin/sh", "-c", "echo kept > /kept").check()
    for p in observe.keepers():
        observe.kill(p.pid)
    eq(h.ssh("ash", "cat /kept").check().out, "kept\n", "at once after it")
    h.wait_gone()


@test
def an_image_that_has_changed_is_said_once(h):
    clear_state(1201)
    h.policy(root(BUSYBOX, "persistent"))
    h.ssh("ash", "true").check()
    h.wait_gone()
    h.write(f"{BUSYBOX}/etc/os-release", f"ID=changed{os.getpid()}\n")
    mark = h.log_mark()
    contains(h.run(["nsbox", "run", "ash", "--", "true"]).check().err, f"nsbox: the image {BUSYBOX} has changed", "what nsbox run says")
    h.wait_for_log(rf"ash: the image {BUSYBOX} has changed since", since=mark)
    h.wait_gone()
    mark = h.log_mark()
    eq(h.run(["nsbox", "run", "ash", "--", "true"]).check().err, "", "what it says the next time")
    h.wait_gone()
    assert "has changed" not in h.log_since(mark), h.log_since(mark)


@test
def a_root_that_can_be_written_serves_over_files_too(h):
    clear_state(1201)
    for kind in FILES:
        h.policy(root(FILES[kind], "persistent"))
        s = h.session("ash")
        h.enter(s.pid, "/bin/sh", "-c", CHANGES).check()
        s.close()
        h.wait_gone()
        eq(h.ssh("ash", "cat /made /image-file; ls /usr/dir; ls -d /gone").out, "made\nof the image\nmore\nagain\n", kind)
        h.wait_gone()
    eq(len(layers(1201)), 2, "layers: one for each image")


@test
def disk_max_without_project_quotas_is_refused_with_the_reason(h):
    for mode in ("ephemeral", "persistent"):
        clear_state(1201)
        h.policy(root(BUSYBOX, mode, "disk_max = 100M\n"))
        r = h.run(["nsbox", "run", "ash", "--", "true"])
        eq(r.code, 254, f"exit code: {r}")
        contains(r.err, "disk_max needs project quotas where /var/lib/nsbox is: an ext4 or xfs mounted with prjquota")
        h.wait_gone()
        eq([name for name in layers(1201) if name.endswith(".tmp")], [], "ephemeral layers left")
    h.policy(root(BUSYBOX, "persistent"))
    h.ssh("ash", "true").check()


@test
def disk_max_is_not_for_a_uid_whose_project_would_be_somebody_elses(h):
    """2147483648 would have project 0, which all files of no project have."""
    h.add_user("big", 1 << 31, gid=1201, groups=["nsbox"], shell="/bin/sh")
    h.policy(root(BUSYBOX, "ephemeral", "disk_max = 100M\n"))
    r = h.run(["nsbox", "run", "big", "--", "true"])
    eq(r.code, 254, "exit code")
    contains(r.err, "disk_max is not for uid 2147483648")
    h.wait_gone()
    h.policy(root(BUSYBOX, "ephemeral"))
    h.run(["nsbox", "run", "big", "--", "true"]).check()
    h.wait_gone()


@test
def disk_max_on_an_xfs_without_project_quotas_is_refused_with_the_reason(h):
    """That it holds on one with them is tested in the machine: tests/vm/inside.py."""
    shutil.rmtree(STATE)
    os.mkdir(STATE, 0o700)
    with open("/srv/xfs", "w") as f:
        f.truncate(320 << 20)
    h.run(["mkfs.xfs", "-q", "/srv/xfs"]).check()
    h.run(["mount", "-o", "loop", "/srv/xfs", STATE]).check()
    os.chmod(STATE, 0o700)
    h.idle()
    try:
        h.policy(root(BUSYBOX, "persistent", "disk_max = 16M\n"))
        r = h.run(["nsbox", "run", "ash", "--", "true"])
        eq(r.code, 254, "exit code")
        contains(r.err, "disk_max needs project quotas where /var/lib/nsbox is: an ext4 or xfs mounted with prjquota")
        h.wait_gone()
        h.policy(root(BUSYBOX, "persistent"))
        h.ssh("ash", "true").check()
    finally:
        h.settle()
        h.run(["umount", STATE]).check()
        h.idle()
        os.unlink("/srv/xfs")


main(setup)
