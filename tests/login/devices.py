#!/usr/bin/python3 -B
"""device = ...: nodes of the host's devices in the box's own /dev, usable through the user's groups."""

import os
import stat

from common import DISK, contains, eq, policy, setup as common_setup
import observe
from observe import to_host
from tap import main, test

VIDEO, KVM = 44, 995


def setup(h):
    """The devices of a machine with a GPU and with KVM, as Debian's udev makes them."""
    common_setup(h)
    h.join_groups("alice", ["video", ("kvm", KVM)])
    os.makedirs("/dev/dri/by-path")
    node("/dev/dri/card0", 226, 0, 0o660, VIDEO)
    node("/dev/dri/renderD128", 226, 128, 0o660, VIDEO)
    os.symlink("../renderD128", "/dev/dri/by-path/pci-0-render")
    node("/dev/kvm", 10, 232, 0o660, KVM)
    if not os.path.exists("/dev/fuse"):
        node("/dev/fuse", 10, 229, 0o666, 0)
    os.chmod("/dev/fuse", 0o666)
    h.idle()


def node(path, major, minor, mode, group, kind=stat.S_IFCHR):
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    os.chown(path, 0, group)
    os.chmod(path, mode)


def before_each(h):
    h.policy(policy())


def use(h, *lines):
    h.policy(policy(defaults="".join(line + "\n" for line in lines)))


def seen(pid, name):
    """(uid, gid, mode, device) of a node of the box, in the host's ids."""
    st = os.lstat(f"/proc/{pid}/root/dev/{name}")
    return st.st_uid, st.st_gid, oct(st.st_mode), (os.major(st.st_rdev), os.minor(st.st_rdev))


def nodes(pid):
    """Every device below the box's /dev that not every box has."""
    top = f"/proc/{pid}/root/dev"
    found = set()
    for where, _, files in os.walk(top):
        for name in files:
            path = os.path.join(where, name)
            if stat.S_ISCHR(os.lstat(path).st_mode) or stat.S_ISBLK(os.lstat(path).st_mode):
                found.add(path[len(top) + 1:])
    return {n for n in found if n not in ("null", "zero", "full", "random", "urandom", "tty")
            and not n.startswith("pts/")}


def refused(h, pattern):
    mark = h.log_mark()
    r = h.ssh("alice", "echo in")
    assert r.code == 254 and "\nin\n" not in r.out, f"a login that should be refused: {r}"
    h.wait_for_log(pattern, since=mark)


@test
def a_device_has_the_hosts_mode_and_the_mapped_group(h):
    use(h, "device = /dev/kvm /dev/dri/*")
    s = h.session("alice")
    root = to_host(s.pid, 0)
    eq(nodes(s.pid), {"kvm", "dri/card0", "dri/renderD128"}, "devices")
    eq(seen(s.pid, "kvm"), (root, to_host(s.pid, KVM, "gid"), "0o20660", (10, 232)), "/dev/kvm")
    eq(seen(s.pid, "dri/renderD128"), (root, to_host(s.pid, VIDEO, "gid"), "0o20660", (226, 128)), "the GPU")
    contains(h.ssh("alice", "stat -c '%U %G %a' /dev/kvm /dev/dri/renderD128").check().out, "root kvm 660\nroot video 660\n")
    st = os.stat(f"/proc/{s.pid}/root/dev/dri")
    eq((st.st_uid, oct(st.st_mode)), (0, "0o40755"), "owner of the directory: not box root's")


@test
def a_link_that_udev_made_is_a_name_too(h):
    use(h, "device = /dev/dri/by-path/*")
    eq(nodes(h.session("alice").pid), {"dri/by-path/pci-0-render"}, "devices")


@test
def what_a_group_may_open_opens_inside(h):
    use(h, "device = /dev/kvm /dev/fuse")
    code = "import os; os.close(os.open('/dev/fuse', os.O_RDWR)); os.close(os.open('/dev/kvm', os.O_RDWR)); print('open')"
    if not observe.read("/proc/misc").count(" kvm\n"):
        code = code.replace("os.close(os.open('/dev/kvm', os.O_RDWR)); ", "")
    eq(h.ssh("alice", f'python3 -c "{code}"').out, "open\n", "devices of the user's groups")


@test
def a_device_that_the_user_cannot_open_outside_is_left_out(h):
    use(h, "device = /dev/kvm /dev/dri/* /dev/fuse")
    mark = h.log_mark()
    s = h.session("bob")
    eq(nodes(s.pid), {"fuse"}, "devices of a user who is in no such group")
    h.wait_for_log("bob: device: /dev/kvm is left out, since the user may not open it on the host either", since=mark)
    h.leave_group("alice", "kvm")
    try:
        eq(nodes(h.session("alice").pid), {"fuse", "dri/card0", "dri/renderD128"}, "devices without the group kvm")
    finally:
        h.join_groups("alice", ["kvm"])


@test
def with_idmap_keep_the_device_is_the_users_own(h):
    use(h, "device = /dev/kvm", "idmap = keep")
    s = h.session("alice")
    eq(seen(s.pid, "kvm"), (1001, to_host(s.pid, 0, "gid"), "0o20660", (10, 232)), "/dev/kvm")


@test
def what_is_not_there_is_left_out_and_the_log_says_so(h):
    use(h, "device = /dev/nvidia* /dev/nothing /dev/null")
    mark = h.log_mark()
    s = h.session("alice")
    eq(nodes(s.pid), set(), "devices")
    for name in (r"/dev/nvidia\*", "/dev/nothing"):
        h.wait_for_log(f"alice: device: {name} is not there and left out", since=mark)


DANGEROUS = {
    "mem": (1, 1), "port": (1, 4), "kmsg": (1, 11), "tty1": (4, 1), "ttyS0": (4, 64), "console": (5, 1), "vcs1": (7, 1),
    "input0": (13, 64), "sg0": (21, 0), "pts-of-the-host": (136, 0), "msr0": (202, 0), "loop-control": (10, 237),
    "snapshot": (10, 231), "uinput": (10, 223), "vfio": (10, 196), "watchdog": (10, 130), "mapper": (10, 236),
    "vhost-vsock": (10, 241), "nvram": (10, 144),
}


@test
def devices_that_give_the_host_away_are_refused_with_the_reason(h):
    made = []
    try:
        for name, number in DANGEROUS.items():
            made.append(f"/dev/x-{name}")
            node(made[-1], *number, 0o666, 0)
            use(h, f"device = /dev/x-{name}")
            refused(h, f"device: /dev/x-{name} is not lent to a box: (it|a terminal) ")
        made.append("/dev/x-disk")
        node("/dev/x-disk", 7, 0, 0o666, DISK, stat.S_IFBLK)
        use(h, "device = /dev/x-d*")
        refused(h, "device: /dev/x-disk is not lent to a box: it reaches the host's disks")
        use(h, "device = /dev/dri")
        refused(h, r"device: /dev/dri is a directory: write /dev/dri/\*")
        use(h, "device = /dev/shm/*")
        h.write("/dev/shm/file", "x", 0o666)
        made.append("/dev/shm/file")
        refused(h, "device: /dev/shm/file is no device")
    finally:
        for path in made:
            os.unlink(path)


@test
def a_symlink_of_a_users_below_dev_is_not_followed(h):
    os.symlink("/dev/dri/renderD128", "/dev/shm/gpu")
    os.lchown("/dev/shm/gpu", 1001, 1001)
    try:
        use(h, "device = /dev/shm/g*")
        refused(h, "device: gpu is a symlink in a directory that others than root can write")
    finally:
        os.unlink("/dev/shm/gpu")


@test
def nothing_is_added_to_dev_by_root_of_the_box(h):
    use(h, "device = /dev/dri/*")
    s = h.session("alice")
    for command in ("touch /dev/dri/x", "mknod /dev/dri/disk b 7 0", "rm /dev/dri/card0", "mv /dev/dri /dev/x",
                    "chmod 666 /dev/dri", "mknod /dev/dri/mem c 1 1"):
        assert h.enter(s.pid, "sh", "-c", command).code != 0, command
    eq(nodes(s.pid), {"dri/card0", "dri/renderD128"}, "devices")


main(setup, before_each=before_each)
