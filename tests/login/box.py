#!/usr/bin/python3 -B
"""What a boxed session is in: namespaces, ids, mounts, devices, privilege. Looked at from the host."""

import os
import re
import stat

from common import LOOK, NAMESPACES, all_differ, block, contains, eq, get_in, in_box, only_init, policy, restore, setup
import observe
from observe import field, id_map, to_host
from tap import lacks, main, test

# Linux capability numbers.
KEPT = {0: "chown", 1: "dac_override", 3: "fowner", 4: "fsetid", 5: "kill", 6: "setgid", 7: "setuid",
        8: "setpcap", 10: "net_bind_service", 18: "sys_chroot", 29: "audit_write", 31: "setfcap"}
NEVER = {16: "sys_module", 17: "sys_rawio", 19: "sys_ptrace", 21: "sys_admin", 22: "sys_boot", 25: "sys_time",
         27: "mknod", 32: "mac_override", 33: "mac_admin", 34: "syslog", 39: "bpf"}


def caps(pid, which):
    mask = int(observe.Process(pid).status[which].strip(), 16)
    return {n for n in range(41) if mask >> n & 1}


def as_root(h, pid, command):
    """A shell command by root of the box."""
    return h.enter(pid, "sh", "-c", command)


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


# ------------------------------------------------------------ ids

@test
def box_ids_are_mapped_to_one_unprivileged_block(h):
    s = h.session("alice")
    for which in ("uid", "gid"):
        base = to_host(s.pid, 0, which)
        assert 524288 <= base <= 1878982656 - 65536, f"base {base}"
        for inside in (1, 5, 1001, 59999, 65533, 65535):
            eq(to_host(s.pid, inside, which), base + inside, f"host {which} of {inside}")


@test
def no_id_of_an_account_of_the_host_is_mapped(h):
    s = h.session("alice")
    for which, file in (("uid", "/etc/passwd"), ("gid", "/etc/group")):
        numbers = {int(line.split(":")[2]) for line in observe.read(file).splitlines()}
        for _, outside, count in id_map(s.pid, which):
            clash = {n for n in numbers if outside <= n < outside + count}
            eq(clash, set(), f"{which}s of host accounts that the box can be")


@test
def two_boxes_have_two_blocks(h):
    a, b = block(h.session("alice").pid), block(h.session("bob").pid)
    assert a[0] + a[1] <= b[0] or b[0] + b[1] <= a[0], f"blocks overlap: {a} {b}"


@test
def inside_the_user_has_the_usual_numbers_and_names(h):
    out = h.ssh("alice", f"id; {LOOK}").check().out
    for part in ("uid=1001(alice)", "gid=1001(alice)", "1600(students)", "1500(nsbox)"):
        contains(out, part)
    in_box(out)


@test
def outside_every_process_of_the_session_has_mapped_ids_only(h):
    s = h.session("alice")
    base, size = block(s.pid)
    assert len(observe.boxed()) >= 4, "init, monitor, post-auth child and the session are boxed"
    for p in observe.boxed():
        for number in p.uids + p.gids + p.groups:
            assert base <= number < base + size, f"id {number} of {p}"
    eq(observe.Process(s.pid).uids, [base + 1001] * 4, "uids of the session")


@test
def files_made_inside_belong_to_the_user_on_the_disk(h):
    get_in(h)
    h.ssh("alice", "echo mine > made; mkdir -p dir; ln -sf made link; chgrp students made").check()
    for name in ("made", "dir", "link"):
        st = os.lstat("/home/alice/" + name)
        eq(st.st_uid, 1001, f"owner of {name}")
    eq(os.stat("/home/alice/made").st_gid, 1600, "group after chgrp")
    eq(observe.read("/home/alice/made"), "mine\n", "content")


def user_with_ids(h, name, uid, gid, groups=()):
    if name not in h.users:
        h.add_user(name, uid, gid, groups=["nsbox", *groups])
    out = h.ssh(name, f"id -u; id -g; id -un; touch made; {LOOK}").check().out
    eq(out.split()[:3], [str(uid), str(gid), name], "id inside")
    st = os.stat(f"/home/{name}/made")
    eq((st.st_uid, st.st_gid), (uid, gid), "owner on the disk")
    in_box(out)
    tty = h.ssh(name, "tty; id -u", tty=True).check().out
    contains(tty, "/dev/pts/")


@test
def ids_above_65535(h):
    user_with_ids(h, "large", 4000000, 4000001, [("big-project", 3000000)])
    contains(h.ssh("large", "id -G").out.split(), "3000000", "groups")


@test
def ids_at_the_edges_of_the_map(h):
    for uid in (1000, 59999, 65533, 65535, 65536, 2147483000):
        user_with_ids(h, f"edge{uid}", uid, uid)


@test
def ids_inside_the_range_that_blocks_are_taken_from(h):
    user_with_ids(h, "ranged", 524288, 524288)
    user_with_ids(h, "ranger", 600000, 600001)


@test
def a_primary_group_that_others_share(h):
    user_with_ids(h, "staffer", 1101, 1600)


@test
def a_user_in_250_groups(h):
    h.add_user("busy", 1102, groups=["nsbox"] + [(f"g{n}", 5000 + n) for n in range(250)])
    out = h.ssh("busy", f"id -G; {LOOK}").check().out
    eq(set(map(int, out.splitlines()[0].split())), {1102, 1500} | {5000 + n for n in range(250)}, "groups")
    in_box(out)


@test
def a_user_in_250_scattered_groups_above_65535(h):
    wanted = {100000 + 7 * n for n in range(250)}
    h.add_user("busier", 1103, groups=["nsbox"] + [(f"h{n}", n) for n in sorted(wanted)])
    mark = h.log_mark()
    out = h.ssh("busier", f"id -G; id -gn; {LOOK}").check().out
    got = set(map(int, out.splitlines()[0].split()))
    eq(out.splitlines()[1], "busier", "primary group")
    assert got <= wanted | {1103, 1500}, f"groups that the user is not in: {got - wanted}"
    assert len(got) >= 100, f"only {len(got)} groups"
    if wanted - got:
        h.wait_for_log(r"nsbox.*group", since=mark)
    in_box(out)


@test
def idmap_keep_maps_the_user_and_ordinary_groups_to_themselves(h):
    h.policy(policy(defaults="idmap = keep\n"))
    s = h.session("alice")
    p = observe.Process(s.pid)
    eq((p.uids, p.gids), ([1001] * 4, [1001] * 4), "ids on the host")
    eq(to_host(s.pid, 1600, "gid"), 1600, "host gid of students")
    for which, low in (("uid", 0), ("gid", 5), ("gid", 6), ("gid", 999)):
        assert to_host(s.pid, low, which) >= 524288, f"{which} {low} is mapped to itself"
    assert not {6, 999} & set(p.groups), f"host groups: {p.groups}"
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))
    h.ssh("alice", "echo kept > kept").check()
    eq(os.stat("/home/alice/kept").st_uid, 1001, "owner on the disk")


def home_on_ramfs(h, name, uid):
    """ramfs, unlike tmpfs, refuses idmapped mounts: a stand-in for NFS."""
    os.makedirs(f"/home/{name}")
    h.run(["mount", "-t", "ramfs", "none", f"/home/{name}"]).check()
    h.idle()
    h.add_user(name, uid, groups=["nsbox"], make_home=False)
    os.chmod(f"/home/{name}", 0o700)
    os.chown(f"/home/{name}", uid, uid)
    h._authorize(f"/home/{name}", uid, uid)


@test
def idmap_auto_keeps_where_the_home_cannot_be_idmapped(h):
    home_on_ramfs(h, "remote", 1104)
    s = h.session("remote")
    eq(observe.Process(s.pid).uids, [1104] * 4, "ids on the host")
    h.ssh("remote", "touch made").check()
    eq(os.stat("/home/remote/made").st_uid, 1104, "owner on the disk")
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))


@test
def idmap_shift_refuses_a_home_that_cannot_be_idmapped(h):
    h.policy(policy(defaults="idmap = shift\n"))
    mark = h.log_mark()
    eq(h.ssh("remote", "echo in").code, 254, "exit code")
    h.wait_for_log(r"nsbox.*/home/remote", since=mark)


@test
def idmap_auto_does_not_keep_with_the_hosts_network(h):
    h.policy(policy(defaults="net = host\n"))
    r = h.ssh("remote", "touch came-in")
    eq(r.code, 254, "exit code")
    assert not os.path.exists("/home/remote/came-in"), "the command ran"


@test
def id_range_says_where_blocks_come_from(h):
    h.policy(policy(defaults="id_range = 700000000-700200000\n"))
    base, size = block(h.session("alice").pid)
    assert 700000000 <= base and base + size <= 700200001, (base, size)


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


# ------------------------------------------------------------ /etc

@test
def etc_names_no_other_user(h):
    out = h.ssh("alice", "cat /etc/passwd /etc/group; getent passwd; getent group").check().out
    for name in ("bob", "carol", "dave"):
        assert not re.search(rf"^[^#]*\b{name}\b", out, re.M), f"{name} is named in:\n{out}"
    for line in ("root:x:0:0:", "alice:x:1001:1001:", "students:x:1600:"):
        contains(out, line)


@test
def no_secret_of_the_host_can_be_read_even_by_root_of_the_box(h):
    h.write("/root/secret", "secret-of-the-host", 0o600)
    h.write("/etc/secret", "secret-of-the-host", 0o644)
    h.write("/var/lib/secret", "secret-of-the-host", 0o644)
    h.write("/run/secret", "secret-of-the-host", 0o644)
    key = observe.read("/etc/ssh/ssh_host_ed25519_key").splitlines()[1]
    s = h.session("alice")
    for user in ("root", "alice"):
        command = ("cat /etc/shadow /etc/gshadow /etc/shadow- /etc/ssh/ssh_host_* /root/secret /etc/secret /var/lib/secret "
                   "/run/secret /etc/sudoers /etc/nsbox/nsbox.conf; ls -A /root; find / -xdev -name secret")
        out = (as_root(h, s.pid, command) if user == "root" else h.ssh("alice", command)).out
        for secret in ("secret-of-the-host", "$5$", key, "NOPASSWD", "action"):
            lacks(out, secret, f"what {user} reads")


@test
def etc_is_not_stale(h):
    get_in(h)
    h.append("/etc/services", "nsbox-first 4711/tcp\n")
    contains(h.ssh("alice", "cat /etc/services").out, "nsbox-first", "/etc/services")
    h.wait_gone()
    h.append("/etc/services", "nsbox-second 4712/tcp\n")
    contains(h.ssh("alice", "cat /etc/services").out, "nsbox-second", "/etc/services in the next box")


@test
def etc_belongs_to_root_of_the_box_and_the_user_cannot_change_it(h):
    get_in(h)
    out = h.ssh("alice", "stat -c '%u %n' /etc /etc/passwd /etc/ssh/ssh_config; touch /etc/made; echo x >> /etc/passwd").out
    eq({line.split()[0] for line in out.splitlines()}, {"0"}, "owners")
    s = h.session("alice")
    eq(os.path.exists(f"/proc/{s.pid}/root/etc/made"), False, "/etc/made")


@test
def names_come_from_files_only(h):
    out = h.ssh("alice", "grep -v '^#' /etc/nsswitch.conf").check().out
    for line in out.splitlines():
        if ":" in line:
            database, services = line.split(":", 1)
            allowed = {"files", "dns"} if database == "hosts" else {"files"}
            assert set(services.split()) <= allowed, line


# ------------------------------------------------------------ programs

@test
def ssh_inside_accepts_its_configuration(h):
    get_in(h)
    contains(h.ssh("alice", "ssh -G somewhere").check().out, "hostname somewhere")


@test
def git_works(h):
    get_in(h)
    contains(h.ssh("alice", "rm -rf g && git init -q g && cd g && git config user.email a@b && git config user.name A && "
                            "echo x > f && git add f && git commit -q -m done && git log --format=%s").check().out, "done")


@test
def python_works(h):
    get_in(h)
    r = h.ssh("alice", "python3 -c 'import os, pwd, tempfile, multiprocessing as m; m.Semaphore(); "
                       "print(pwd.getpwuid(os.getuid()).pw_name, tempfile.mkdtemp())'").check()
    contains(r.out, "alice /tmp/")


@test
def less_and_vim_work_on_a_terminal(h):
    get_in(h)
    t = h.pty(h.ssh_argv("alice", tty=True))
    t.expect(r"\$ ")
    t.line("seq 500 | less")
    t.expect(r"\b20\b")
    t.send("G")
    t.expect(r"\b500\b")
    t.send("q")
    t.expect(r"\$ ")
    t.line("vim -u NONE -c 'normal ihello from vim' -c wq note")
    t.expect("written")
    t.expect(r"\$ ")
    eq(observe.read("/home/alice/note"), "hello from vim\n", "file written by vim")


@test
def tmux_works_and_another_session_finds_it(h):
    get_in(h)
    t = h.pty(h.ssh_argv("alice", tty=True))
    t.expect(r"\$ ")
    t.line("TERM=xterm tmux -f /dev/null new-session -s work")
    t.expect(r"\[work\]")
    t.line("echo in-$((40+2))-tmux")
    t.expect("in-42-tmux")
    contains(h.ssh("alice", "tmux list-sessions; tmux send-keys -t work exit Enter").check().out, "work:")
    t.expect(r"\[exited\]")


# ------------------------------------------------------------ privilege

@test
def the_caller_keeps_no_host_root_and_few_capabilities(h):
    s = h.session("alice")
    caller = s.caller
    eq(caller.uids, [to_host(s.pid, 0)] * 4, "uids of sshd's monitor")
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        got = caps(caller.pid, which)
        eq(got & set(NEVER), set(), f"{which} of sshd's monitor")
    assert set(KEPT) >= caps(caller.pid, "CapEff"), f"CapEff {caps(caller.pid, 'CapEff')}"


@test
def the_session_has_no_capabilities_and_a_reduced_bounding_set(h):
    s = h.session("alice")
    for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        eq(caps(s.pid, which), set(), which)
    eq(caps(s.pid, "CapBnd") & set(NEVER), set(), "CapBnd")


@test
def every_boxed_process_is_under_the_seccomp_filter(h):
    h.session("alice")
    assert len(observe.boxed()) >= 4, "init, monitor, post-auth child and the session are boxed"
    for p in observe.boxed():
        eq(p.status["Seccomp"].strip(), "2", f"Seccomp of {p}")


@test
def the_monitor_and_the_post_auth_child_are_not_dumpable(h):
    s = h.session("alice")
    chain = [a for a in observe.ancestors(s.pid) if a.boxed]
    eq([a.name for a in chain], ["sshd", "sshd"], "the boxed sshds")
    for a in chain:
        eq(os.stat(f"/proc/{a.pid}/environ").st_uid, 0, f"owner of /proc/{a.pid}: not 0 when dumpable")
    child = chain[0].nspid[-1]
    for file in ("mem", "environ", "maps", "fd", "root", "cwd"):
        r = as_root(h, s.pid, f"ls -L /proc/{child}/{file}/ >/dev/null || head -c 1 /proc/{child}/{file}")
        assert r.code != 0 or not r.out, f"/proc/{child}/{file} can be read by root of the box: {r}"


@test
def a_session_cannot_make_user_namespaces(h):
    before = observe.read("/proc/sys/user/max_user_namespaces")
    r = h.ssh("alice", f"{LOOK}; unshare -Ur id -u")
    in_box(r.out)
    assert r.code != 0, "unshare -Ur worked"
    eq(observe.read("/proc/sys/user/max_user_namespaces"), before, "the host's limit")


@test
def caps_and_no_new_privs_come_from_the_policy(h):
    h.policy(policy(defaults="no_new_privs = yes\n"))
    s = h.session("alice")
    eq(observe.Process(s.pid).status["NoNewPrivs"].strip(), "1", "NoNewPrivs")
    s.close()
    h.wait_gone()
    h.policy(policy(defaults="no_new_privs = no\n"))
    eq(observe.Process(h.session("alice").pid).status["NoNewPrivs"].strip(), "0", "NoNewPrivs")


@test
def the_session_keyring_of_the_caller_stays_outside(h):
    h.write("/root/keys.py", KEYS)
    serial = h.run(["python3", "/root/keys.py", "add"]).out.strip()
    assert int(serial) > 0, serial
    script = h.write("/home/alice/keys.py", KEYS)
    r = h.run(["python3", "/root/keys.py", "su", "su", "-", "alice", "-c", f"python3 {script} read; {LOOK}"])
    lacks(r.out, "TOPSECRET", "what was read inside")
    in_box(r.out)


# add_key(2), keyctl(2) by number: 248, 250 on x86-64. "su": put a key into a new session keyring, then run.
KEYS = """\
import ctypes, os, sys
call = ctypes.CDLL(None, use_errno=True).syscall
call.restype = ctypes.c_long
def add(): return call(248, b"user", b"nsbox-test", b"TOPSECRET", 9, ctypes.c_int(-3))
if sys.argv[1] == "add":
    print(add())
elif sys.argv[1] == "su":
    call(250, 1, None)
    add()
    os.execvp(sys.argv[2], sys.argv[2:])
else:
    key = call(250, 10, ctypes.c_int(-3), b"user", b"nsbox-test", 0)
    text = ctypes.create_string_buffer(64)
    print(key, call(250, 11, ctypes.c_long(key), text, 64), text.value.decode(), os.strerror(ctypes.get_errno()))
"""


@test
def every_line_of_proc_self_cgroup_begins_at_the_boxs_root(h):
    s = h.session("alice")
    ours = {ctrl for ctrl, path in observe.cgroups_of(s.pid).items() if path.startswith("/nsbox")}
    contains(ours, "pids", "hierarchies with a cgroup of the box")
    for line in h.ssh("alice", "cat /proc/self/cgroup").check().out.splitlines():
        _, ctrl, path = line.split(":", 2)
        lacks(path, "nsbox", line)
        if ctrl in ours:
            eq(path, "/", f"cgroup seen inside for {ctrl}")


main(setup, before_each=restore)
