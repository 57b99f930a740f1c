#!/usr/bin/python3 -B
"""What the root of a box reaches of the host: nothing that is not everybody's.

It is tried with the privileges that a session can have (a program run by sudo in an image has no
more), and again with every capability in the box, which only its init has: what the first cannot do
must not hang on a single mount that the second could take away.
"""

import os
import re

from common import SECRET, as_root, both, give_probe, init_of, policy, prepare, restore
import observe
from observe import read
from tap import eq, lacks, main, test

SECRETS = {"/root/nsbox-secret": 0o600, "/etc/nsbox-secret": 0o600, "/etc/ssh/nsbox-secret": 0o600,
           "/var/lib/nsbox-secret": 0o644, "/run/nsbox-secret": 0o644, "/srv/nsbox-secret": 0o644,
           "/usr/local/etc/nsbox-secret": 0o600, "/opt/nsbox-secret": 0o600, "/home/bob/nsbox-secret": 0o600,
           "/home/bob/open/nsbox-secret": 0o644, "/tmp/nsbox-secret": 0o644, "/mnt/nsbox-secret": 0o644,
           "/etc/environment": 0o600, "/etc/services": 0o600, "/etc/profile.d/nsbox-secret.sh": 0o600,
           "/etc/sudoers.d/nsbox-secret": 0o440}
KERNEL = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
# What the module's and init's policy leave to a session: what nsbox.conf gives to box root.
NOT_SYS_ADMIN = "setpriv --bounding-set -sys_admin,-sys_ptrace,-mknod --inh-caps -all"


def setup(h):
    prepare("datamap")(h)
    # /opt and /mnt are the machine's: a mount of our own over them, for this run's secrets only.
    for place in ("/opt", "/mnt"):
        h.run(["mount", "-t", "tmpfs", "nsbox-test", place]).check()
    h.idle_mounts = observe.mounts()
    for path, mode in SECRETS.items():
        before = read(path)
        h.write(path, before + f"# {SECRET} of {path}\n", mode)
    os.chmod("/home/bob", 0o755)


def box(h):
    """A session of alice and the pid of a process that has her box's root directory."""
    return h.session("alice").pid


READ_ALL = ("for f in " + " ".join(SECRETS) + " /etc/shadow /etc/gshadow /etc/shadow- /etc/ssh/ssh_host_ed25519_key"
            " /etc/nsbox/nsbox.conf /etc/sudoers; do cat $f; done 2>/dev/null; "
            "find / -xdev -name 'nsbox-secret*' -exec cat {} + 2>/dev/null; grep -rs 'nsbox-secret\\|%s' /etc; echo end" % SECRET)


def found_secrets(out):
    assert "end" in out, f"it did not run: {out!r}"
    key = read("/etc/ssh/ssh_host_ed25519_key").splitlines()[1]
    return [s for s in (SECRET, "$5$", key, "action = ") if s in out]


@test
def box_root_reads_no_secret(h):
    pid = box(h)
    eq(found_secrets(as_root(h, pid, f"{NOT_SYS_ADMIN} sh -c {quoted(READ_ALL)}").out), [], "secrets read")
    eq(found_secrets(as_root(h, pid, READ_ALL).out), [], "secrets read with all capabilities")
    eq(found_secrets(h.ssh("alice", READ_ALL).out), [], "secrets read by alice")


def quoted(command):
    return "'" + command.replace("'", "'\\''") + "'"


@test
def the_administrators_own_software_is_lent_by_the_data_map(h):
    """Without it box root owns what root of the host owns, also files of mode 0600."""
    both(h, "datamap", lambda h: SECRET in as_root(h, box(h), "cat /usr/local/etc/nsbox-secret /opt/nsbox-secret").out)


UNCOVER = ("for i in 1 2 3 4 5 6; do cut -d' ' -f5 /proc/self/mountinfo | sort -ru | grep -v '^/$' | "
           "grep -v '^/usr$' | while read m; do umount -l $m 2>/dev/null; done; "
           "test -e /proc/self/mountinfo || mount -t proc proc /proc; done; ")


@test
def box_root_takes_no_mount_off(h):
    pid = box(h)
    before = read(f"/proc/{pid}/mountinfo")
    r = as_root(h, pid, f"{NOT_SYS_ADMIN} sh -c {quoted(UNCOVER + READ_ALL)}")
    eq(found_secrets(r.out), [], "secrets that lay below a mount")
    eq(read(f"/proc/{pid}/mountinfo"), before, "the mounts of the box")


@test
def little_lies_below_the_mounts_of_the_box(h):
    """With every capability in the box, which only init has: all mounts taken off, layer by layer.

    /usr/local is a directory of /usr, and only a mount hides what it has in there. Nothing else may show.
    """
    pid = box(h)
    # In a mount namespace of its own, a copy: the box goes on.
    r = h.enter(pid, "unshare", "-m", "sh", "-c", UNCOVER + READ_ALL, timeout=40)
    shown = set(re.findall(f"{SECRET} of (\\S+)", r.out))
    assert shown <= {"/usr/local/etc/nsbox-secret"}, f"secrets that lay below a mount: {shown}"
    eq([s for s in found_secrets(r.out) if s != SECRET], [], "other secrets")


@test
def no_mount_of_the_host_is_left_in_the_box(h):
    """mountinfo of init and of a session, as the host sees it: every mount is one that the design names."""
    for rootfs in ("host", image(h)):
        h.policy(policy(defaults=f"rootfs = {rootfs}\n"))
        pid = h.hold(lambda command: ["su", "alice", "-c", command]).pid
        init = init_of(pid)
        for p in (pid, init.pid):
            text = read(f"/proc/{p}/mountinfo")
            places = [line.split()[4] for line in text.splitlines()]
            strange = [x for x in places if not re.match(
                r"/$|/etc(/[\w./+-]+)?$|/(usr|bin|sbin|lib\w*|opt|proc|sys|dev|tmp|run|var/tmp)(/|$)|/home/alice$", x)]
            eq(strange, [], f"places where something is mounted, rootfs = {rootfs}")
            eq(places.count("/"), 1, f"mounts on /, rootfs = {rootfs}: {text}")
        eq(os.stat(f"/proc/{pid}/root/.").st_dev, os.stat(f"/proc/{init.pid}/root/.").st_dev, "the root directory")
        for name in ("work", "boot", "lost+found"):
            assert not os.path.lexists(f"/proc/{pid}/root/{name}"), f"/{name} of the host is in the session's root"
        h.settle()


def image(h):
    top = "/srv/i"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "home", "root"):
        os.makedirs(f"{top}/{name}", exist_ok=True)
    h.run(["cp", "/bin/busybox", f"{top}/bin/busybox"]).check()
    for applet in ("sh", "cat", "env", "echo"):
        if not os.path.lexists(f"{top}/bin/{applet}"):
            os.symlink("busybox", f"{top}/bin/{applet}")
    return top


@test
def no_process_of_the_host_is_seen_or_led_to(h):
    pid = box(h)
    out = as_root(h, pid, "ls /proc | grep '^[0-9]'; readlink /proc/1/exe; ls /proc/1/root/; ls /proc/1/cwd/; echo end").out
    assert "end" in out
    lacks(out, "work\n", "what /proc/1/root leads to")
    host = [p.pid for p in observe.processes() if not p.boxed]
    r = as_root(h, pid, "kill -0 -1; for p in " + " ".join(map(str, host)) + "; do kill -0 $p && cat /proc/$p/comm; done")
    lacks(r.out, "throwaway", "processes reached by number")


@test
def box_root_writes_to_no_switch_of_the_kernel(h):
    pid = box(h)
    switches = ["kernel/core_pattern", "kernel/modprobe", "kernel/sysrq", "kernel/panic", "kernel/pid_max",
                "kernel/randomize_va_space", "kernel/yama/ptrace_scope", "fs/suid_dumpable", "fs/file-max",
                "fs/binfmt_misc/register", "fs/protected_symlinks", "vm/drop_caches", "vm/overcommit_memory",
                "user/max_user_namespaces", "user/max_inotify_instances", "net/core/bpf_jit_enable"]
    files = ["/proc/sys/" + s for s in switches] + ["/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/scsi/scsi"]
    # Opened for writing, nothing is written. With /proc/sys writable: only ids and capabilities stand in the way.
    for before in ("", "umount -R /proc/sys; umount /proc/sysrq-trigger; "):
        out = as_root(h, pid, f"{before}for f in {' '.join(files)}; do (: >> $f) 2>/dev/null && echo $f; done; echo end").out
        # What the namespaces of the box own may be written by who has every capability in them.
        own = {"/proc/sys/user/max_inotify_instances", "/proc/sys/user/max_user_namespaces"} if before else set()
        if before and KERNEL >= (6, 14):   # one for each pid namespace
            own.add("/proc/sys/kernel/pid_max")
        eq(set(out.split()) - own, {"end"}, f"files opened for writing after {before!r}")
    out = as_root(h, pid, "find /sys -type f -perm /200 2>/dev/null | while read f; do (: >> $f) 2>/dev/null && echo $f; done; "
                          "echo end", timeout=60).out
    eq(out, "end\n", "files of /sys opened for writing")


@test
def box_root_makes_and_opens_no_device(h):
    pid = box(h)
    out = as_root(h, pid, "for d in /tmp /dev/shm /run /dev /home/alice; do mknod $d/x-disk b 254 0 && echo made $d;"
                          " mknod $d/x-mem c 1 1 && echo made $d; done; echo end").out
    eq(out, "end\n", "devices made")
    # /dev/net/tun, /dev/kvm, /dev/fuse, /dev/mem: not there.
    out = as_root(h, pid, "find / -xdev \\( -type b -o -type c \\) 2>/dev/null; find /dev -type b -o -type c").out
    extra = {n for n in out.split() if not re.match(r"/dev/(null|zero|full|u?random|tty|ptmx|console|pts/.*)$", n)}
    eq(extra, set(), "device nodes")


@test
def box_root_mounts_nothing_of_the_hosts(h):
    pid = box(h)
    tried = {"ext4": "/dev/vda", "devtmpfs": "dev", "debugfs": "debug", "tracefs": "trace", "securityfs": "sec",
             "configfs": "cfg", "pstore": "ps", "efivarfs": "efi", "bpf": "bpf", "9p": "x", "nfs": "127.0.0.1:/"}
    out = as_root(h, pid, "mkdir -p /tmp/m; " + "".join(
        f"mount -t {fs} {source} /tmp/m 2>/dev/null && {{ echo {fs}; touch /tmp/m/x 2>/dev/null && echo {fs} written; "
        f"umount /tmp/m; }}; " for fs, source in tried.items()) + "echo end").out
    # bpf can be mounted by the owner of a mount namespace; it is the box's own and empty.
    eq([x for x in out.split("\n") if x and not x.startswith("bpf")], ["end"], "file systems mounted")
    # Cgroups that the box can mount begin at its own, and belong to root of the host.
    out = as_root(h, pid, "mkdir -p /tmp/c; for o in pids cpu memory devices freezer; do mount -t cgroup -o $o none /tmp/c "
                          "2>/dev/null || continue; ls /tmp/c | grep -q throwaway && echo host; "
                          "for f in /tmp/c/pids.max /tmp/c/memory.limit_in_bytes /tmp/c/cgroup.procs /tmp/c/release_agent "
                          "/tmp/c/devices.allow /tmp/c/notify_on_release; do (: >> $f) 2>/dev/null && echo $o $f; done; "
                          "mkdir /tmp/c/x 2>/dev/null && echo made $o; umount /tmp/c; done; "
                          "mount -t cgroup2 none /tmp/c 2>/dev/null && { for f in /tmp/c/pids.max /tmp/c/cgroup.procs "
                          "/tmp/c/cgroup.subtree_control; do test -e $f && (: >> $f) 2>/dev/null && echo v2 $f; done; }; echo end").out
    eq(out, "end\n", "cgroup files opened for writing")


@test
def no_file_of_the_host_opens_by_its_handle(h):
    path = give_probe(h, "alice", "handle")
    pid = box(h)
    # A handle opens a file by its inode number, whatever directory hides it.
    r = as_root(h, pid, f"{NOT_SYS_ADMIN} {path} /usr /usr/local /opt /home/alice /dev; echo end")
    opened = {d: int(n) for d, n in re.findall(r"^(\S+): opened (\d+)", r.out, re.M)}
    eq({d: n for d, n in opened.items() if n}, {}, f"files opened by handle: {r}")


@test
def the_box_reaches_no_socket_of_the_host(h):
    h.start(["/usr/bin/python3", "-c", "import socket, time\ns = socket.socket(socket.AF_UNIX); s.bind('\\0nsbox-host'); s.listen()\n"
             "t = socket.socket(); t.bind(('127.0.0.1', 4711)); t.listen(); open('/run/listening', 'w'); time.sleep(60)"])
    h.wait_until(lambda: os.path.exists("/run/listening"), 5, "the listener is there")
    code = ("import socket\nfor f, a in ((socket.AF_UNIX, '\\0nsbox-host'), (socket.AF_INET, ('127.0.0.1', 4711)), "
            "(socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_UNIX, '/dev/log'), (socket.AF_UNIX, '/run/nsbox/1001')):\n"
            "  try: socket.socket(f).connect(a); print('reached', a)\n  except OSError: pass\nprint('end')")
    eq(h.run(["/usr/bin/python3", "-c", code]).out.count("reached"), 3, "reached on the host")
    eq(h.enter(box(h), "/usr/bin/python3", "-c", code).out, "end\n", "reached from the box")


main(setup, before_each=restore)
