#!/usr/bin/python3 -B
"""nested = yes: containers inside a box, by unshare, bubblewrap and rootless podman; nested = no; seccomp = off."""

import os
import shutil

from common import LOOK, as_root, eq, get_in, in_box, policy, setup as common_setup
import observe
from observe import to_host
from tap import main, skip, test

STORAGE = ".local/share/containers"
PODMAN = "podman --log-level error --cgroup-manager cgroupfs"
RUN = "run --rm --network none --cgroups disabled"

# An image of a container, all of whose files are root's.
MAKE_IMAGE = """\
mkdir -p tree/bin tree/etc tree/proc tree/dev && cp /bin/busybox tree/bin &&
for a in sh id cat sleep touch stat; do ln -s busybox tree/bin/$a; done &&
tar --owner 0 --group 0 --numeric-owner -C tree -cf tree.tar . && rm -r tree
"""


def setup(h):
    common_setup(h)
    if not os.path.exists("/dev/fuse"):
        os.mknod("/dev/fuse", 0o20600, os.makedev(10, 229))
    os.chmod("/dev/fuse", 0o666)


def before_each(h):
    use(h, "nested = yes")


def use(h, *lines):
    h.policy(policy(defaults="".join(line + "\n" for line in lines)))


def ask(h, command, timeout=60):
    """A command in alice's box; what it said if it works."""
    r = h.ssh("alice", command, timeout=timeout)
    assert r.code == 0, f"{command}: {r}"
    return r.out


NESTERS = {
    "unshare": ("unshare -Ur id -u", "0"),
    "unshare with a proc of its own": ("unshare -Urpf --mount-proc sh -c 'echo $$; ls /proc/1/exe'", "1\n/proc/1/exe"),
    "bubblewrap": ("bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp --unshare-all sh -c 'echo $(id -u) in'", "1001 in"),
}


@test
def user_namespaces_can_be_made_and_have_a_proc_of_their_own(h):
    s = h.session("alice")
    for name, (command, wanted) in NESTERS.items():
        eq(ask(h, command).strip(), wanted, name)
    in_box(h.ssh("alice", LOOK).out)
    assert observe.Process(s.pid).boxed


@test
def without_nested_they_are_refused(h):
    use(h, "nested = no")
    in_box(h.ssh("alice", LOOK).out)
    for name, (command, _) in NESTERS.items():
        r = h.ssh("alice", command)
        assert r.code != 0, f"{name} works without nested: {r}"
    if shutil.which("podman"):
        r = h.ssh("alice", f"{PODMAN} unshare true")
        assert r.code != 0, f"podman works without nested: {r}"
    assert not os.path.exists(f"/proc/{h.session('alice').pid}/root/run/.nested"), "the bare proc"


def need_podman():
    if not shutil.which("podman") or not shutil.which("crun"):
        skip("no podman with crun here")


@test(timeout=120)
def podman_runs_a_container_of_the_home(h):
    need_podman()
    h.session("alice")
    ask(h, MAKE_IMAGE)
    store = f"{PODMAN} --storage-driver vfs"
    ask(h, f"{store} import -q tree.tar box")
    out = ask(h, f"{store} {RUN} localhost/box sh -c 'id -u; echo $$; cat /proc/self/uid_map; echo x > /new; stat -c %u /new'")
    lines = [line.split() for line in out.splitlines()]
    eq(lines, [["0"], ["1"], ["0", "1001", "1"], ["1", "10000", "55534"], ["0"]], "in the container")
    owners = {os.lstat(os.path.join(where, name)).st_uid for where, dirs, files in os.walk(f"/home/alice/{STORAGE}")
              for name in dirs + files}
    eq(owners, {1001}, "owners on the disk")
    ask(h, f"{store} rmi -f localhost/box; chmod -R u+w {STORAGE}; rm -rf {STORAGE}")


@test(timeout=120)
def podman_runs_with_other_ids_on_a_tmpfs(h):
    need_podman()
    use(h, "nested = yes", f"tmpfs = %h/{STORAGE}:400M", "device = /dev/fuse")
    s = h.session("alice")
    ask(h, MAKE_IMAGE)
    for store in (f"{PODMAN} --storage-driver vfs",
                  f"{PODMAN} --storage-driver overlay --root ~/{STORAGE}/fuse "
                  "--storage-opt overlay.mount_program=/usr/bin/fuse-overlayfs"):
        ask(h, f"{store} import -q tree.tar box")
        out = ask(h, f"{store} {RUN} --user 1000:1000 localhost/box sh -c 'id -u; id -g; touch /dev/shm/x && stat -c %u /dev/shm/x'")
        eq(out.split(), ["1000", "1000", "1000"], f"ids in the container, {store}")
        # What the container is on the host: an id of the box's block.
        h.start(h.ssh_argv("alice", f"{store} {RUN} --user 5 -e MARK=here localhost/box sleep 1000"))
        pid = h.wait_until(lambda: [p for p in observe.with_environment("MARK=here") if observe.Process(p).uids[0] ==
                                    to_host(s.pid, 10004)], 30, "the container's process has an id of the block")[0]
        assert observe.Process(pid).boxed
        observe.kill(pid)
        h.wait_until(lambda: not observe.with_environment("MARK=here"), 20, "the container is gone")


@test
def a_fuse_file_system_can_be_mounted_inside(h):
    use(h, "nested = yes", "device = /dev/fuse")
    get_in(h)
    out = ask(h, "mkdir -p low up work at && echo below > low/file && unshare -Urm sh -c 'fuse-overlayfs "
                 "-o lowerdir=low,upperdir=up,workdir=work at && cat at/file && echo above > at/made && "
                 "grep -c fuse.fuse-overlayfs /proc/mounts; umount at' && cat up/made")
    eq(out, "below\n1\nabove\n", "by a FUSE mount")


@test
def the_helpers_have_one_capability_and_are_not_setuid(h):
    s = h.session("alice")
    root = f"/proc/{s.pid}/root"
    for name in ("newuidmap", "newgidmap"):
        st = os.stat(f"{root}/usr/bin/{name}")
        eq((st.st_uid, oct(st.st_mode)), (to_host(s.pid, 0), "0o100755"), name)
        with open(f"{root}/usr/bin/{name}", "rb") as f, open(f"/usr/bin/{name}", "rb") as g:
            assert f.read() == g.read(), f"{name} is another program than the host's"
    out = as_root(h, s.pid, "getcap /usr/bin/newuidmap /usr/bin/newgidmap").out
    eq(out.split(), ["/usr/bin/newuidmap", "cap_setuid=ep", "/usr/bin/newgidmap", "cap_setgid=ep"], "file capabilities")
    # Ids that are not the user's to give.
    for wrong in ("0 0 1", "0 1002 1", "0 9999 1", "0 10000 55535"):
        r = h.ssh("alice", f"unshare -U sleep 5 & p=$!; while ! readlink /proc/$p/ns/user | grep -qv "
                           f"$(readlink /proc/self/ns/user); do :; done; newuidmap $p {wrong}")
        assert r.code != 0 and "not allowed" in r.err, f"newuidmap {wrong}: {r}"


@test
def only_root_of_the_box_gets_at_the_bare_proc(h):
    s = h.session("alice")
    r = h.ssh("alice", "ls /run/.nested /run/.nested/proc; head -c1 /run/.nested/proc/keys")
    assert r.code != 0 and r.out == "", r
    for path in ("/proc/keys", "/proc/timer_list"):
        eq(as_root(h, s.pid, f"head -c 100 {path} | wc -c").out.strip(), "0", f"bytes read from {path}")


@test
def a_nested_root_changes_no_switch_and_undoes_no_mask(h):
    use(h, "nested = yes", "mask = /etc/services")
    h.session("alice")
    out = h.ssh("alice", "unshare -Urpf --mount-proc sh -c 'umount /etc/services; cat /etc/services; "
                         "for f in kernel/core_pattern kernel/modprobe vm/drop_caches fs/suid_dumpable kernel/sysrq; do "
                         "(: >> /proc/sys/$f) 2>/dev/null && echo $f; done; (: >> /proc/sysrq-trigger) 2>/dev/null && echo sysrq; "
                         "head -c1 /proc/kcore | wc -c; umount -l /usr; mount -o remount,bind,rw /usr && echo rw; "
                         "mknod /tmp/disk b 7 0 && echo disk; echo end'").out
    eq(out.split(), ["0", "end"], "what a nested root did")


@test
def the_filter_still_refuses_the_rest(h):
    h.session("alice")
    code = ("import ctypes, os, socket; c = ctypes.CDLL(None, use_errno=True).syscall\n"
            "for n in (248, 250, 425):\n  print(c(n, 0, 0, 0, 0, 0), ctypes.get_errno())\n"
            "try: socket.socket(40, socket.SOCK_STREAM); print('vsock')\nexcept OSError as e: print(e.errno)\n")
    h.home_file("alice", "calls.py", code)
    for prefix in ("", "unshare -Ur "):
        eq(ask(h, f"{prefix}python3 calls.py").split(), ["-1", "38"] * 3 + ["97"], f"{prefix}calls")


@test
def podman_without_new_privileges_has_one_id(h):
    need_podman()
    use(h, "nested = yes", "no_new_privs = yes")
    get_in(h)
    eq(ask(h, f"{PODMAN} unshare cat /proc/self/uid_map 2>/dev/null").split(), ["0", "1001", "1"], "the map")


@test
def without_a_filter_calls_are_the_kernels_and_namespaces_still_refused(h):
    use(h, "seccomp = off")
    s = h.session("alice")
    in_box(h.ssh("alice", LOOK).out)
    code = ("import ctypes; c = ctypes.CDLL(None, use_errno=True).syscall; c.restype = ctypes.c_long\n"
            "print(c(250, 0, -3, 1) > 0)\n")
    h.home_file("alice", "key.py", code)
    eq(ask(h, "python3 key.py"), "True\n", "a call about keys")
    r = h.ssh("alice", "unshare -Ur id -u")
    assert r.code != 0, f"unshare -Ur: {r}"
    assert len(observe.boxed()) >= 4
    for p in observe.boxed():
        eq(p.status.get("Seccomp_filters", "1").strip(), "1", f"filters of {p}")
    eq(as_root(h, s.pid, "cat /proc/sys/user/max_user_namespaces").out.strip(), "0", "the limit")


main(setup, before_each=before_each)
