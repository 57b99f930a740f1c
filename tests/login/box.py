#!/usr/bin/python3 -B
"""What a boxed session is in: namespaces, mounts, /proc, /sys, /dev, /tmp, /run. Looked at from the host."""

import os
import re
import stat

from common import LOOK, NAMESPACES, all_differ, as_root, contains, eq, get_in, in_box, only_init, policy, restore, setup
import observe
from observe import to_host
from tap import lacks, main, test


# ------------------------------------------------------------ namespaces

@test
def a_session_differs_from_the_host_in_all_seven_namespaces(h):
    all_differ(observe.nsinos(h.session("alice").pid), observe.nsinos("self"))


@test
def two_sessions_of_a_user_share_all_seven_namespaces(h):
    a, b = h.session("alice"), h.session("alice", password="alice-secret")
    eq(observe.nsinos(a.pid), observe.nsinos(b.pid), "namespaces")
    all_differ(observe.nsinos(a.pid), observe.nsinos("self"))


@test
def two_users_share_no_namespace(h):
    a, b = h.session("alice"), h.session("bob")
    all_differ(observe.nsinos(a.pid), observe.nsinos(b.pid), "shared by two users")


@test
def the_caller_itself_is_in_the_box(h):
    s = h.session("alice")
    inside, caller = observe.nsinos(s.pid), observe.nsinos(s.caller.pid)
    all_differ(inside, observe.nsinos("self"))
    for name in NAMESPACES:
        if name != "pid":
            eq(caller[name], inside[name], f"{name} namespace of sshd's monitor")
    eq(os.stat(f"/proc/{s.caller.pid}/ns/pid_for_children").st_ino, inside["pid"], "pid namespace of its children")


@test
def pid_1_of_the_box_is_ours_and_the_session_is_its_neighbour(h):
    s = h.session("alice")
    init = only_init(h)
    eq(len(init.nspid), 2, "depth of pid namespaces")
    eq(observe.nsinos(init.pid), observe.nsinos(s.pid), "namespaces")
    contains(h.ssh("alice", "cat /proc/1/comm; ps -e -o pid=,args=").out, "nsbox", "pid 1 as seen inside")


# ------------------------------------------------------------ hostname, network, ipc

@test
def the_hostname_is_the_users_name(h):
    eq(h.ssh("alice", "hostname; uname -n; cat /etc/hostname").out.split(), ["alice"] * 3, "hostname")
    eq(os.uname().nodename, "throwaway", "the host's own")


@test
def the_hostname_resolves_inside(h):
    contains(h.ssh("alice", "getent hosts $(hostname); getent hosts localhost").check().out, "alice")


@test
def without_a_network_there_is_only_loopback_and_it_is_up(h):
    out = h.ssh("alice", "cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /sys/class/net/lo/operstate; "
                         "python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", 0)); "
                         "socket.create_connection(s.getsockname()); print(\"connected\")'").check().out
    get_in(h)
    eq(out.split()[0], "lo", "interfaces")
    eq(out.split()[-1], "connected", "a connection over loopback")
    eq(len(out.split()), 3, f"lines in {out!r}")


@test
def ipc_objects_of_the_host_are_not_seen(h):
    h.run("ipcmk -Q -p 0666").check()
    try:
        eq(h.ssh("alice", "tail -n +2 /proc/sysvipc/msg").check().out, "", "message queues inside")
    finally:
        h.run("ipcrm --all=msg")


# ------------------------------------------------------------ mounts

@test
def proc_mounts_names_no_path_of_the_host(h):
    h.write("/srv/secret", "host")
    s = h.session("alice")
    theirs = observe.mounts(s.pid)
    for line in theirs:
        source, where, fstype, options = line.split()[:4]
        assert re.match(r"/$|/(usr|bin|sbin|lib\w*|opt|etc|var|home|proc|sys|dev|tmp|run|root)(/|$)", where), line
        for path in ("/work", "/srv", "/mnt", "/run/nsbox", "/var/lib/nsbox", "/etc/nsbox", "oldroot", "/home/bob"):
            lacks(where + options, path, line)
        assert not source.startswith("/") or source.startswith("/dev/"), line
        lacks(options, "lowerdir=/", line)
    homes = [line.split()[1] for line in theirs if line.split()[1].startswith("/home/")]
    eq(homes, ["/home/alice"], "mounts below /home")


@test
def the_old_root_cannot_be_reached(h):
    h.write("/srv/secret", "secret-of-the-host")
    s = h.session("alice")
    out = as_root(h, s.pid, "ls / /.. /../../..; cat /srv/secret /../srv/secret /proc/1/root/srv/secret; ls -d /work; "
                            "for f in /proc/[0-9]*/root /proc/[0-9]*/cwd; do ls -d $f/work $f/../work; done")
    for word in ("secret-of-the-host", "\n/work\n", "root/work\n", "root/../work\n"):
        lacks(out.out, word)
    root = os.stat(f"/proc/{s.pid}/root")
    assert (root.st_dev, root.st_ino) != (os.stat("/").st_dev, os.stat("/").st_ino), "same root directory"


@test
def no_descriptor_or_directory_of_a_boxed_process_leads_out(h):
    s = h.session("alice")
    assert len(observe.boxed()) >= 4, "init, monitor, post-auth child and the session are boxed"
    inside = {line.split()[2] for line in observe.read(f"/proc/{s.pid}/mountinfo").splitlines()}
    for p in observe.boxed():
        for kind in ("cwd", "root"):
            st = os.stat(f"/proc/{p.pid}/{kind}")
            dev = f"{os.major(st.st_dev)}:{os.minor(st.st_dev)}"
            assert dev in inside, f"{kind} of {p} is on device {dev}"
        for fd in os.listdir(f"/proc/{p.pid}/fd"):
            try:
                st = os.stat(f"/proc/{p.pid}/fd/{fd}")
            except OSError:
                continue
            assert not stat.S_ISDIR(st.st_mode) or f"{os.major(st.st_dev)}:{os.minor(st.st_dev)}" in inside, \
                f"{p} has a directory open: {os.readlink(f'/proc/{p.pid}/fd/{fd}')}"


@test
def mounts_made_on_the_host_and_in_the_box_do_not_meet(h):
    s = h.session("alice")
    os.makedirs("/home/alice/point", exist_ok=True)
    h.run("mount -t tmpfs from-host /home/alice/point").check()
    try:
        lacks("\n".join(observe.mounts(s.pid)), "from-host", "mounts of the box")
    finally:
        h.run("umount /home/alice/point")
    as_root(h, s.pid, "mount -t tmpfs from-box /tmp")
    lacks("\n".join(observe.mounts()), "from-box", "mounts of the host")


@test
def usr_is_read_only_and_setuid_files_do_not_act(h):
    s = h.session("alice")
    mounted = {line.split()[1]: line.split()[3].split(",") for line in observe.mounts(s.pid)}
    for path in ("/usr",):
        assert {"ro", "nosuid"} <= set(mounted[path]), mounted[path]
    for path in ("/home/alice", "/tmp", "/dev/shm", "/run"):
        assert {"nosuid", "nodev"} <= set(mounted[path]), f"{path}: {mounted[path]}"
    assert as_root(h, s.pid, "touch /usr/made || touch /etc/../usr/bin/made").code != 0, "root of the box wrote to /usr"
    assert not os.path.exists("/usr/made") and not os.path.exists("/usr/bin/made")
    eq(h.ssh("alice", "su root -c id < /dev/null").out, "", "output of su inside")


@test
def the_box_has_no_other_home_and_an_empty_var(h):
    eq(h.ssh("alice", "ls -A /home").out.split(), ["alice"], "/home")
    lacks(h.ssh("alice", "find /var -type f 2>/dev/null").out, "syslog.test", "files in /var")


@test
def a_home_behind_a_symlink_of_the_administrator(h):
    os.makedirs("/srv/disk2")
    os.symlink("/srv/disk2", "/home/more")
    h.add_user("linked", 1106, groups=["nsbox"], home="/home/more/linked")
    out = h.ssh("linked", f"pwd; echo x > made; ls -a; {LOOK}").check().out
    contains(out, "/home/more/linked\n")
    contains(out, ".bashrc")
    eq(os.stat("/srv/disk2/linked/made").st_uid, 1106, "owner on the disk")
    in_box(out)


@test
def init_leaves_its_marker(h):
    s = h.session("alice")
    st = os.stat(f"/proc/{s.pid}/root/run/.nsbox")
    eq(st.st_uid, to_host(s.pid, 0), "owner of /run/.nsbox")


# ------------------------------------------------------------ /proc, /sys, /dev, /tmp, /run

@test
def proc_shows_the_processes_of_the_box_only(h):
    other = h.session("bob")
    out = h.ssh("alice", "ps -e -o pid=,args=").check().out
    assert len(out.splitlines()) <= 6, out
    lacks(out, "-D -f", "the sshd that listens")
    lacks(out, other.cookie, "bob's session")


@test
def kernel_switches_in_proc_cannot_be_written(h):
    s = h.session("alice")
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/fs/suid_dumpable", "/proc/sysrq-trigger",
                 "/proc/sys/vm/drop_caches", "/proc/sys/user/max_user_namespaces"):
        r = as_root(h, s.pid, f"dd if=/dev/null of={path} conv=notrunc")   # opens it, writes nothing
        assert r.code != 0, f"{path} could be opened for writing"


@test
def kernel_secrets_in_proc_are_masked(h):
    s = h.session("alice")
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/kallsyms"):
        out = as_root(h, s.pid, f"head -c 100 {path} 2>/dev/null | wc -c").out.strip()
        if path == "/proc/kallsyms":
            lacks(as_root(h, s.pid, "head -1 /proc/kallsyms").out, "ffff", "addresses")
        else:
            eq(out, "0", f"bytes read from {path}")


@test
def sys_is_read_only_and_has_no_writable_cgroups(h):
    s = h.session("alice")
    sys_mounts = [line.split() for line in observe.mounts(s.pid) if line.split()[1].startswith("/sys")]
    assert sys_mounts, "no /sys"
    for _, where, fstype, options, *_ in sys_mounts:
        assert "ro" in options.split(","), f"{where} ({fstype}) is writable: {options}"


@test
def dev_has_what_programs_need_and_no_devices(h):
    get_in(h)
    out = h.ssh("alice", "cd /dev; echo x > null; head -c 4 zero | wc -c; head -c 4 urandom | wc -c; "
                         "for f in full random tty ptmx fd stdin stdout stderr shm pts; do test -e $f || echo no $f; done; "
                         "find . -type b; find . -type c").check().out
    eq(out.split()[:2], ["4", "4"], "bytes read")
    lacks(out, "no ")
    nodes = {line[2:] for line in out.splitlines() if line.startswith("./")}
    extra = {n for n in nodes if not re.match(r"(null|zero|full|u?random|tty|ptmx|console|pts/.*)$", n)}
    eq(extra, set(), "device nodes")


@test
def devices_cannot_be_made(h):
    s = h.session("alice")
    for where in ("/tmp", "/dev/shm", "/home/alice", "/dev"):
        assert as_root(h, s.pid, f"mknod {where}/disk b 1 0").code != 0, f"mknod in {where} worked"


@test
def a_terminal_is_the_boxs_own(h):
    t = h.pty(h.ssh_argv("alice", tty=True))
    t.expect(r"\$ ")
    name = t.ask("tty")
    contains(t.ask("ls /dev/pts"), name.rsplit("/", 1)[1])
    eq(t.ask("python3 -c 'import os; print(os.ttyname(0), os.isatty(1))'"), f"{name} True", "ttyname")
    look = t.ask(LOOK)
    in_box(look)


def count_ptys(h):
    h.home_file("alice", "ptys.py", "import os\nkept = []\ntry:\n while 1: kept.append(os.openpty())\n"
                                    "except OSError: print(len(kept))\n")
    return int(h.ssh("alice", "python3 ptys.py").check().out)


@test
def a_box_has_64_ptys(h):
    eq(count_ptys(h), 64, "ptys that one user can open")


@test
def pty_max_sets_the_number_of_ptys(h):
    h.policy(policy(defaults="pty_max = 10\n"))
    eq(count_ptys(h), 10, "ptys that one user can open")


@test
def tmp_run_and_shm_are_the_boxs_own_and_limited_in_size_and_inodes(h):
    s = h.session("alice")
    h.ssh("alice", "touch /tmp/inside /dev/shm/inside").check()
    assert not os.path.exists("/tmp/inside") and not os.path.exists("/dev/shm/inside"), "seen on the host"
    for path, mode in (("/tmp", 0o1777), ("/dev/shm", 0o1777), ("/run", 0o755)):
        st = os.stat(f"/proc/{s.pid}/root{path}")
        eq(oct(st.st_mode & 0o7777), oct(mode), f"mode of {path}")
        eq(st.st_uid, to_host(s.pid, 0), f"owner of {path}")
    root_shm = os.statvfs(f"/proc/{s.pid}/root/dev/shm")
    eq(root_shm.f_blocks * root_shm.f_frsize, 256 << 20, "size of /dev/shm")
    eq(os.statvfs(f"/proc/{s.pid}/root/tmp").f_blocks * 4096, 1 << 30, "size of /tmp")
    eq(os.statvfs(f"/proc/{s.pid}/root/run").f_blocks * 4096, 64 << 20, "size of /run")
    for line in observe.mounts(s.pid):
        source, where, fstype, options = line.split()[:4]
        if fstype == "tmpfs" and source != "nsbox-test" and "rw" in options.split(","):
            assert "size=" in options and "nr_inodes=" in options, line


@test
def there_is_a_runtime_directory_of_the_users_own(h):
    out = h.ssh("alice", "echo $XDG_RUNTIME_DIR; stat -c '%u %g %a' $XDG_RUNTIME_DIR; touch $XDG_RUNTIME_DIR/x && echo ok")
    eq(out.out.split(), ["/run/user/1001", "1001", "1001", "700", "ok"], "XDG_RUNTIME_DIR")
    contains(h.run(["su", "-", "alice", "-c", "echo $XDG_RUNTIME_DIR"]).out, "/run/user/1001", "with su")


main(setup, before_each=restore)
