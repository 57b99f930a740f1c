#!/usr/bin/python3 -B
"""Failing closed: whatever is wrong, the command does not run, the caller stays as it was, the log says why."""

import contextlib
import os
import re
import shutil
import time

from common import LOOK, contains, eq, get_in, in_box, on_host, policy, restore, setup as common_setup
import host
import observe
from observe import wait_until
from tap import main, test

LIMIT = 5.0     # seconds: the module never waits longer in all
SLACK = 1.5     # of the machine, of sshd and of ssh

THREAD_MODULE = """\
#include <pthread.h>
#include <security/pam_modules.h>
#include <unistd.h>
static void *stay(void *nothing) { for (;;) pause(); return nothing; }
int pam_sm_open_session(pam_handle_t *h, int f, int c, const char **v)
{ pthread_t t; return pthread_create(&t, 0, stay, 0) ? PAM_ABORT : PAM_SUCCESS; }
int pam_sm_close_session(pam_handle_t *h, int f, int c, const char **v) { return PAM_SUCCESS; }
"""


def setup(h):
    common_setup(h)
    h.sshd()


# ------------------------------------------------------------ how "refused" is seen

def commands(user):
    """{caller: argv of a command that leaves a file in the home if it runs}"""
    def touch(caller):
        return f"touch /home/{user}/came-in-by-{caller}"
    return {
        "su -": ["su", "-", user, "-c", touch("su")],
        "su": ["su", user, "-c", touch("su")],
        "sudo -i": ["sudo", "-u", user, "-i", *touch("sudo").split()],
        "sudo": ["sudo", "-u", user, *touch("sudo").split()],
        "runuser -l": ["runuser", "-l", user, "-c", touch("runuser")],
        "runuser": ["runuser", "-u", user, "--", *touch("runuser").split()],
    }


def nothing_ran(user, caller):
    came = [name for name in os.listdir(f"/home/{user}") if name.startswith("came-in")] if os.path.isdir(f"/home/{user}") else []
    for name in came:
        os.unlink(f"/home/{user}/{name}")
    eq(came, [], f"what ran under {caller}")


def logged(h, mark, pattern, caller):
    def ours(found):
        return [line for line in h.log_since(mark).splitlines() if "nsbox" in line and re.search(found, line)]
    with contextlib.suppress(observe.TimedOut):
        wait_until(lambda: ours(pattern), 2, "")
    hits, lines = ours(pattern), ours("")
    eq(len(hits), 1, f"lines with /{pattern}/ in the log of {caller}, whose lines of ours are {lines}")


def ssh_refused(h, user, pattern, **how):
    mark = h.log_mark()
    start = time.monotonic()
    r = h.ssh(user, f"touch /home/{user}/came-in-by-ssh", **how)
    took = time.monotonic() - start
    nothing_ran(user, "sshd")
    eq(r.code, 254, f"exit code of ssh ({r.out} {r.err})")
    assert took < LIMIT + SLACK, f"ssh took {took:.1f} s"
    assert (r.out + r.err).strip(), "ssh shows the user nothing"
    logged(h, mark, pattern, "sshd")


def refused(h, pattern, user="alice", callers=None, **how):
    """sshd and every other caller refuse; nothing is left; the log names the reason once per login."""
    ssh_refused(h, user, pattern, **how)
    for caller, argv in commands(user).items():
        if callers is not None and caller not in callers:
            continue
        mark = h.log_mark()
        start = time.monotonic()
        r = h.run(argv, cwd="/", env={"LC_ALL": "C"})
        took = time.monotonic() - start
        nothing_ran(user, caller)
        assert r.code != 0, f"{caller}: {r}"
        assert took < LIMIT + SLACK, f"{caller} took {took:.1f} s"
        assert (r.out + r.err).strip(), f"{caller} shows the user nothing"
        logged(h, mark, pattern, caller)
    for p in observe.processes():       # a hung stand-in for the keeper
        if "sleep 1000" in p.cmdline or "python3 /usr/local/libexec/nsbox-keeper" in p.cmdline:
            observe.kill(p.pid)
    h.wait_gone(2)


def everyone_exempt_gets_in(h):
    on_host(h.ssh("root", LOOK).check().out)
    on_host(h.ssh("dave", LOOK).check().out)
    on_host(h.run(["su", "-", "dave", "-c", LOOK]).check().out)
    on_host(h.run(["sudo", "-u", "dave", "-i", "sh", "-c", LOOK]).check().out)


@contextlib.contextmanager
def keeper(script):
    """Another program in the keeper's place; None: none."""
    os.rename(host.KEEPER, host.KEEPER + ".away")
    try:
        if script is not None:
            with open(host.KEEPER, "w") as f:
                f.write(script)
            os.chmod(host.KEEPER, 0o755)
        yield
    finally:
        if os.path.isdir(host.KEEPER):
            os.rmdir(host.KEEPER)
        elif os.path.exists(host.KEEPER):
            os.unlink(host.KEEPER)
        os.rename(host.KEEPER + ".away", host.KEEPER)


@contextlib.contextmanager
def mounted(h, *argv):
    """A mount over something, for a while."""
    h.run(["mount", *argv]).check()
    h.idle()
    try:
        yield
    finally:
        h.settle()
        h.run(["umount", argv[-1]]).check()
        h.idle()


# ------------------------------------------------------------ the keeper

@test
def without_a_keeper(h):
    with keeper(None):
        refused(h, "nsbox-keeper")
        everyone_exempt_gets_in(h)
    get_in(h)


@test
def with_a_keeper_that_cannot_be_executed(h):
    with keeper("#!/bin/sh\n"):
        os.chmod(host.KEEPER, 0o644)
        refused(h, "keeper")
    with keeper("#!/no/such/interpreter\n"):
        refused(h, "keeper", callers=["su -", "sudo"])


@test
def with_a_keeper_that_ends_at_once(h):
    for script in ("#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 1\n"):
        with keeper(script):
            refused(h, "keeper", callers=["su -", "sudo"])


@test
def with_a_keeper_that_crashes(h):
    with keeper("#!/bin/sh\nkill -SEGV $$\n"):
        refused(h, "keeper")
        everyone_exempt_gets_in(h)


@test(timeout=120)
def with_a_keeper_that_hangs(h):
    with keeper("#!/bin/sh\nexec sleep 1000\n"):
        refused(h, "keeper", callers=["su -", "sudo", "runuser -l"])
        start = time.monotonic()
        everyone_exempt_gets_in(h)
        assert time.monotonic() - start < 3, "exempt users had to wait"


GARBAGE = """\
#!/usr/bin/python3
import os, socket, sys, time
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        s = socket.socket(fileno=os.dup(fd))
    except OSError:
        continue
    try:
        s.settimeout(0.5)
        s.accept()[0].send(b"\\xff" * 4096)
    except OSError:
        pass
    try:
        s.send(b"\\xff" * 4096)
    except OSError:
        pass
time.sleep(%d)
"""


@test(timeout=120)
def with_a_keeper_that_speaks_garbage(h):
    for seconds in (0, 1000):
        with keeper(GARBAGE % seconds):
            refused(h, "keeper", callers=["su -", "sudo"])


@test(timeout=120)
def with_a_running_keeper_that_no_longer_answers(h):
    first = h.session("alice")
    k = observe.keepers()[0]
    os.kill(k.pid, 19)
    try:
        for argv in (h.ssh_argv("alice", "touch came-in"), ["su", "-", "alice", "-c", "touch came-in"]):
            start = time.monotonic()
            r = h.run(argv)
            assert time.monotonic() - start < LIMIT + SLACK, "the login hung"
            nothing_ran("alice", argv[0])
            assert r.code != 0, r
    finally:
        os.kill(k.pid, 18)
    os.kill(first.pid, 0)
    get_in(h)


@test
def without_the_module(h):
    os.rename(host.MODULE, host.MODULE + ".away")
    try:
        r = h.run(["su", "-", "alice", "-c", "touch came-in"])
        assert r.code != 0, r
        r = h.ssh("alice", "touch came-in")
        eq(r.code, 254, "exit code of ssh")
        nothing_ran("alice", "su or ssh")
    finally:
        os.rename(host.MODULE + ".away", host.MODULE)


# ------------------------------------------------------------ the policy (see also policy.py)

@test
def with_a_broken_line_in_the_policy(h):
    h.policy(policy("[user alice]\nbogus = 1\n"))
    refused(h, r"nsbox\.conf:9")
    everyone_exempt_gets_in(h)
    get_in(h, "bob")


@test
def with_an_unreadable_policy(h):
    os.unlink(host.CONF)
    os.mkdir(host.CONF)
    try:
        refused(h, r"nsbox\.conf")
        everyone_exempt_gets_in(h)
    finally:
        os.rmdir(host.CONF)


@test
def with_a_denied_user(h):
    h.policy(policy("[user alice]\naction = deny\n"))
    refused(h, "alice")


# ------------------------------------------------------------ the box's parts

@test
def with_a_rootfs_that_is_missing(h):
    h.policy(policy("[user alice]\nrootfs = /srv/nosuch\n"))
    refused(h, "/srv/nosuch")


@test
def with_a_rootfs_that_is_not_a_directory(h):
    h.write("/srv/file", "")
    h.policy(policy("[user alice]\nrootfs = /srv/file\n"))
    refused(h, "/srv/file", callers=["su -", "sudo"])


@test
def with_an_empty_rootfs(h):
    os.makedirs("/srv/empty", exist_ok=True)
    h.policy(policy("[user alice]\nrootfs = /srv/empty\n"))
    refused(h, "/srv/empty|/bin/(ba)?sh|shell", callers=["su -", "sudo"])
    eq(os.listdir("/srv/empty"), [], "the empty rootfs")


@test
def without_the_home(h):
    os.rename("/home/alice", "/home/alice.away")
    try:
        refused(h, "/home/alice", password="alice-secret")
        assert not os.path.exists("/home/alice"), "somebody made the home"
    finally:
        os.rename("/home/alice.away", "/home/alice")


@test
def with_a_home_that_is_a_file(h):
    os.rename("/home/alice", "/home/alice.away")
    h.write("/home/alice", "")
    try:
        refused(h, "/home/alice", callers=["su -", "sudo"], password="alice-secret")
    finally:
        os.unlink("/home/alice")
        os.rename("/home/alice.away", "/home/alice")


@test
def with_a_home_that_is_the_hosts_root_or_a_system_directory(h):
    for home in ("/", "/etc", "/usr", "/var", "/root", "/proc", "/dev"):
        h.set_user("alice", home=home)
        try:
            mark = h.log_mark()
            r = h.run(["su", "alice", "-c", "touch /home/alice/came-in-by-su; ls -d /work /etc/nsbox /var/log/syslog.test"], cwd="/")
            assert r.code != 0 and not r.out.strip(), f"home {home}: {r}"
            nothing_ran("alice", f"su with the home {home}")
            h.wait_for_log(f"nsbox.*{re.escape(home)}", since=mark)
        finally:
            h.set_user("alice", home="/home/alice")
    get_in(h)


@test
def with_a_shell_that_the_box_lacks_and_no_other(h):
    shutil.copy("/bin/busybox", "/srv/sh")
    h.set_user("alice", shell="/srv/sh")
    try:
        h.policy(policy("[user alice]\nshell_fallback = /no/shell\n"))
        refused(h, "/srv/sh|/no/shell", callers=["su -", "sudo -i", "runuser -l"])
        h.policy(policy("[user alice]\nshell_fallback = /bin/sh\n"))
        in_box(h.ssh("alice", LOOK).check().out)
    finally:
        h.set_user("alice", shell="/bin/bash")


@test
def with_an_id_range_that_holds_no_block(h):
    h.policy(policy(defaults="id_range = 600000-600500\n"))
    refused(h, "id_range|range", callers=["su -", "sudo"])


@test
def with_an_id_range_that_is_used_up(h):
    h.policy(policy(defaults="id_range = 600000-666559\n"))
    s = h.session("alice")
    mark = h.log_mark()
    eq(h.ssh("bob", "touch came-in").code, 254, "exit code of the second user's login")
    nothing_ran("bob", "sshd")
    h.wait_for_log("nsbox.*range", since=mark)
    s.close()
    h.wait_gone()
    get_in(h, "bob")


@test
def with_no_pids_hierarchy_mounted(h):
    h.run("umount -l /sys/fs/cgroup/pids").check()
    try:
        refused(h, "pids|cgroup")
        everyone_exempt_gets_in(h)
    finally:
        h.run("mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids").check()
    get_in(h)


@test
def with_a_limit_that_cannot_be_set(h):
    h.run("mount -o remount,bind,ro /sys/fs/cgroup/pids").check()
    try:
        refused(h, "pids|cgroup", callers=["su -", "sudo"])
    finally:
        h.run("mount -o remount,bind,rw /sys/fs/cgroup/pids").check()
    get_in(h)


@test
def with_a_memory_limit_on_a_machine_without_the_memory_controller(h):
    h.policy(policy("[user alice]\nmemory_max = 256M\n"))
    h.run("umount -l /sys/fs/cgroup/memory").check()
    try:
        refused(h, "memory", callers=["su -", "sudo"])
    finally:
        h.run("mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory").check()
    get_in(h)


@test
def with_a_full_run(h):
    h.settle()
    used = os.statvfs("/run")
    size = (used.f_blocks - used.f_bfree) * used.f_frsize
    h.run(f"mount -o remount,size={size + 65536} /run").check()
    try:
        with contextlib.suppress(OSError), open("/run/filler", "wb") as f:
            while True:
                f.write(b"x" * 4096)
                f.flush()
        everyone_exempt_gets_in(h)
        r = h.ssh("alice", LOOK)
        if r.code == 0:
            in_box(r.out)
        else:
            eq(r.code, 254, "exit code of ssh")
        h.wait_gone(2)
    finally:
        os.unlink("/run/filler")
        h.run("mount -o remount,size=2g /run").check()
    get_in(h)


@test
def with_no_inodes_left_in_run(h):
    h.settle()
    used = os.statvfs("/run")
    h.run(f"mount -o remount,nr_inodes={used.f_files - used.f_ffree + 1} /run").check()
    try:
        everyone_exempt_gets_in(h)
        r = h.ssh("alice", LOOK)
        if r.code == 0:
            in_box(r.out)
        else:
            eq(r.code, 254, "exit code of ssh")
        h.wait_gone(2)
    finally:
        h.run("mount -o remount,nr_inodes=100000 /run").check()
    get_in(h)


@test
def with_suid_dumpable(h):
    # The module reads the file; the machine's own switch stays as it is.
    with mounted(h, "--bind", h.write("/root/one", "1\n"), "/proc/sys/fs/suid_dumpable"):
        refused(h, "suid_dumpable")
        everyone_exempt_gets_in(h)
    get_in(h)


# ------------------------------------------------------------ the caller

@test
def with_a_caller_that_has_threads(h):
    h.write("/root/thread.c", THREAD_MODULE)
    h.run(["gcc", "-shared", "-fPIC", "-pthread", "-o", "/usr/local/lib/security/pam_thread.so", "/root/thread.c"]).check()
    try:
        for service in ("su", "sudo", "sshd"):
            h.disable(service)
            h.append("/etc/pam.d/" + service, "\nsession optional /usr/local/lib/security/pam_thread.so\n"
                     f"session required {host.MODULE} exempt_group=admins\n")
        mark = h.log_mark()
        r = h.ssh("alice", "touch came-in")
        eq(r.code, 254, "exit code of ssh")
        h.wait_for_log("nsbox.*thread", since=mark)
        for argv in (["su", "-", "alice", "-c", "touch came-in"], ["sudo", "-u", "alice", "touch", "/home/alice/came-in"]):
            mark = h.log_mark()
            r = h.run(argv, cwd="/")
            assert r.code != 0, r
            h.wait_for_log("nsbox.*thread", since=mark)
        nothing_ran("alice", "a threaded caller")
    finally:
        for service in ("su", "sudo", "sshd"):
            h.enable(service, "exempt_group=admins")
    get_in(h)


@test
def with_a_caller_in_a_user_namespace_that_is_not_ours(h):
    session = "session required pam_permit.so\n"
    h.write("/etc/pam.d/test", f"auth required pam_permit.so\naccount required pam_permit.so\n{session}"
                               f"session required {host.MODULE}\n")
    h.run(["pamtester", "test", "alice", "open_session"]).check()
    h.settle()
    mark = h.log_mark()
    r = h.run(["unshare", "-U", "--map-root-user", "pamtester", "test", "alice", "open_session"])
    assert r.code != 0, r
    h.wait_for_log("nsbox.*user namespace", since=mark)
    r = h.run(["unshare", "-U", "--map-root-user", "pamtester", "test", "root", "open_session"])
    eq(r.code, 0, "root in such a namespace")


@test
def with_a_frozen_box(h):
    s = h.session("alice")
    own = observe.cgroups_of(s.pid)["freezer"]
    ours = own.startswith("/nsbox/")
    top = "/sys/fs/cgroup/freezer" + (own if ours else "/frozen")
    os.makedirs(top, exist_ok=True)
    if not ours:
        for p in observe.boxed():
            h.write(top + "/cgroup.procs", str(p.pid))
    h.write(top + "/freezer.state", "FROZEN")
    try:
        start = time.monotonic()
        mark = h.log_mark()
        r = h.ssh("alice", "touch came-in")
        assert time.monotonic() - start < LIMIT + SLACK, "the login hung"
        eq(r.code, 254, "exit code of ssh")
        h.wait_for_log("nsbox.*frozen", since=mark)
        r = h.run(["su", "-", "alice", "-c", "touch came-in"])
        assert r.code != 0, r
        nothing_ran("alice", "a frozen box")
    finally:
        h.write(top + "/freezer.state", "THAWED")
        if not ours:
            h.settle()
            wait_until(lambda: not observe.read(top + "/cgroup.procs"), 3, "the cgroup is empty")
            os.rmdir(top)


@test
def with_an_expired_password(h):
    h.run("chage -d 0 alice").check()
    try:
        r = h.ssh("alice", "touch came-in", tty=True)
        nothing_ran("alice", "sshd")
        assert r.code != 0, r
        contains((r.out + r.err).lower(), "password", "what the user reads")
    finally:
        h.run("chage -d 20000 alice").check()
    h.wait_gone(2)
    get_in(h)


# ------------------------------------------------------------ login, cron, forwards; the caller's state

@test
def login_and_cron_do_not_run_the_command(h):
    with keeper(None):
        h.home_file("alice", ".bash_profile", "touch came-in-by-login\n")
        t = h.pty(["login", "-f", "alice"])
        mark = h.log_mark()
        t.drain(20)
        nothing_ran("alice", "login")
        h.wait_for_log("nsbox.*keeper", since=mark)
        path = h.write("/var/spool/cron/crontabs/alice", "@reboot touch came-in-by-cron\n", 0o600)
        shutil.chown(path, "alice", "crontab")
        mark = h.log_mark()
        h.start(["cron", "-f"])
        h.wait_for_log("nsbox.*keeper", since=mark, timeout=10)
        h.settle()
        nothing_ran("alice", "cron")
    os.unlink("/home/alice/.bash_profile")


@test
def forwards_are_refused_on_a_connection_that_was_not_boxed(h):
    with keeper(None):
        r = h.run(h.ssh_argv("alice", options=["-W127.0.0.1:22"]))
        assert r.code != 0 and "SSH-2.0" not in r.out, r
        r = h.run(h.ssh_argv("alice", options=["-N", "-R7777:127.0.0.1:22", "ExitOnForwardFailure=yes"]))
        assert r.code != 0, r
        r = h.run(["sftp", "-q", "-b", "-", "alice@127.0.0.1"], input="ls\n")
        assert r.code != 0, r


def state(pid):
    """Everything of a process that a failed join could have changed."""
    p = observe.Process(pid)
    keys = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn",
            "SigCgt", "Umask", "NSpid")
    found = {key: p.status[key].strip() for key in keys if key != "NSpid"}
    found["namespaces"] = observe.nsinos(pid)
    found["children"] = os.stat(f"/proc/{pid}/ns/pid_for_children").st_ino
    found["cgroups"] = observe.cgroups_of(pid)
    for link in ("cwd", "root"):
        found[link] = os.readlink(f"/proc/{pid}/{link}")
    found["descriptors"] = sorted(re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in os.listdir(f"/proc/{pid}/fd"))
    found["limits"] = observe.read(f"/proc/{pid}/limits")
    return found


def monitor_of(h, user):
    """The monitor of a connection that runs no command, once PAM has opened (or refused) the session."""
    h.start(h.ssh_argv(user, options=["-N"]))
    found = wait_until(lambda: [p for p in observe.processes() if p.cmdline == f"sshd: {user} [priv]" and
                                [c for c in observe.processes() if c.ppid == p.pid and c.cmdline == f"sshd: {user}"]],
                       15, f"the monitor of {user}")
    return found[0].pid


@test(timeout=120)
def sshds_monitor_is_exactly_as_it_was(h):
    passed = state(monitor_of(h, "carol"))
    for name, breakage in (("no keeper", keeper(None)), ("a keeper that crashes", keeper("#!/bin/sh\nkill -9 $$\n"))):
        with breakage:
            got = state(monitor_of(h, "alice"))
            for key in passed:
                eq(got[key], passed[key], f"{key} of the monitor after {name}")
            h.settle()
    h.policy(policy("[user alice]\nrootfs = /srv/nosuch\n"))
    got = state(monitor_of(h, "alice"))
    for key in passed:
        eq(got[key], passed[key], f"{key} of the monitor after a box that could not be built")


@test
def the_terminal_is_exactly_as_it_was(h):
    h.policy(policy("[user alice]\nrootfs = /srv/nosuch\n"))
    t = h.pty(["sh", "-c", "ls -ln $(tty); su - alice; ls -ln $(tty)"])
    before = t.expect(r"(c\S+) +\d+ (\d+) +(\d+) .*\r\n").groups()
    after = t.expect(r"(c\S+) +\d+ (\d+) +(\d+) .*\r\n").groups()
    eq(after, before, "mode, owner and group of the terminal")


@test
def a_hundred_refusals_leave_nothing(h):
    h.policy(policy("[user alice]\nrootfs = /srv/nosuch\n"))
    h.run(["su", "alice", "-c", "true"], cwd="/")
    h.wait_gone(2)
    before = (len(observe.processes()), len(observe.mounts()), observe.state_files(), observe.box_cgroups())
    for _ in range(100):
        assert h.run(["su", "alice", "-c", "true"], cwd="/").code != 0
    h.wait_gone(2)
    eq((len(observe.processes()), len(observe.mounts()), observe.state_files(), observe.box_cgroups()), before,
       "processes, mounts, files, cgroups")


def before_each(h):
    restore(h)
    for name in os.listdir("/home/alice"):
        if name.startswith("came-in"):
            os.unlink("/home/alice/" + name)


main(setup, before_each=before_each)
