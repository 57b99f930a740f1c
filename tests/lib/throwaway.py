"""Makes the throwaway host: own namespaces, own writable trees, own cgroups, gone at the end.

boot() is called once, early, by a test program. It forks the program in four:

    S  the process that called boot(): stays outside, waits, removes the cgroups, exits with T's code
    C  enters the fresh cgroups, unshares everything, forks P
    P  pid 1 of the throwaway host: reaps, and is the syslog daemon (/dev/log -> /var/log/syslog.test)
    T  the test program: boot() returns in T and only in T

When T ends, P ends, and with P the kernel kills every process of the pid namespace; the mounts and
the network go with their namespaces. When S is killed, C and P die with it (PDEATHSIG).
"""

import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import traceback

REPO = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
HOSTNAME = "throwaway"
SYSLOG = "/var/log/syslog.test"
MARK = "nsbox-test"

# Trees that the throwaway host has for itself; they start empty, except /etc.
PRIVATE = {"/etc": 0o755, "/home": 0o755, "/root": 0o700, "/run": 0o755, "/srv": 0o755,
           "/tmp": 0o1777, "/usr/local": 0o755, "/var": 0o755}

_libc = ctypes.CDLL(None, use_errno=True)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
CLONE_ALL = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
SYS_KEYCTL = 250  # x86_64


def _check(ret, what):
    if ret < 0:
        err = ctypes.get_errno()
        raise OSError(err, f"{what}: {os.strerror(err)}")
    return ret


def mount(source, target, fstype=None, flags=0, data=None):
    enc = lambda s: s.encode() if isinstance(s, str) else s
    _check(_libc.mount(enc(source), enc(target), enc(fstype), ctypes.c_ulong(flags), enc(data)),
           f"mount {fstype or ''} {source} on {target}")


def unmount_all(target):
    """Detach everything mounted at and below target, from this mount namespace only."""
    while _libc.umount2(target.encode(), 2) == 0:  # MNT_DETACH
        pass


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def prctl(option, arg):
    _check(_libc.prctl(option, arg, 0, 0, 0), f"prctl {option}")


# ---------------------------------------------------------------- cgroups

class Hierarchy:
    """One mounted cgroup hierarchy of the machine and this run's directory in it."""

    def __init__(self, mountpoint, options, own_path, version):
        self.name = os.path.basename(mountpoint)
        self.options = options          # v1 mount data: "pids", "cpu,cpuacct", "name=systemd"
        self.version = version
        self.top = version == 2 and mountpoint == "/sys/fs/cgroup"
        self.mountpoint = mountpoint
        self.parent = os.path.normpath(mountpoint + own_path)
        self.dir = os.path.join(self.parent, f"{MARK}-{os.getpid()}")

    def controllers(self, of=None):
        with open(os.path.join(of or self.parent, "cgroup.controllers")) as f:
            return f.read().split()

    def create(self):
        if self.top:
            for ctrl in self.controllers():
                _try_write(os.path.join(self.parent, "cgroup.subtree_control"), "+" + ctrl)
        os.mkdir(self.dir)
        # A fork bomb that a test lets loose must not take the machine with it.
        _try_write(os.path.join(self.dir, "pids.max"), os.environ.get("NSBOX_TEST_PIDS", "8000"))

    def remove_stale(self):
        """Directories of runs that were killed with SIGKILL, wherever those ran."""
        for where, dirs, _ in os.walk(self.mountpoint):
            if where.count("/") - self.mountpoint.count("/") >= 4:
                dirs.clear()
            for entry in [d for d in dirs if d.startswith(MARK + "-")]:
                dirs.remove(entry)
                if not os.path.exists("/proc/" + entry[len(MARK) + 1:]):
                    _rmdirs(os.path.join(where, entry))


def hierarchies():
    """Every mounted hierarchy except v1 cpuset, which takes no process before it is configured."""
    own = {}
    with open("/proc/self/cgroup") as f:
        for line in f:
            number, options, path = line.rstrip("\n").split(":", 2)
            own[options] = path
    found = {}
    with open("/proc/self/mounts") as f:
        for line in f:
            _, where, fstype, options = line.split()[:4]
            if fstype == "cgroup2":
                found[""] = Hierarchy(where, "", own[""], 2)
            elif fstype == "cgroup":
                for controllers in own:
                    if controllers and set(controllers.split(",")) <= set(options.split(",")) \
                            and "cpuset" not in controllers:
                        found[controllers] = Hierarchy(where, controllers, own[controllers], 1)
    return list(found.values())


def _try_write(path, text):
    try:
        with open(path, "w") as f:
            f.write(text)
    except OSError:
        pass


def _rmdirs(top):
    """Remove a cgroup directory with its children; True when it is gone."""
    for path, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            pass
    return not os.path.exists(top)


# ---------------------------------------------------------------- mounts

class Filesystem:
    """Where the private trees live: tmpfs, or one loop ext4 where tmpfs cannot be idmapped."""

    def __init__(self):
        kernel = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
        kind = os.environ.get("NSBOX_TEST_FS") or ("tmpfs" if kernel >= (6, 3) else "ext4")
        self.loop = None
        if kind == "ext4":
            mount(MARK, "/mnt", "tmpfs", 0, "mode=700")
            with open("/mnt/disk", "w") as f:
                f.truncate(2 << 30)
            subprocess.run(["mkfs.ext4", "-qF", "-O", "^has_journal", "-E", "nodiscard", "/mnt/disk"],
                           check=True)
            os.mkdir("/mnt/trees")
            subprocess.run(["mount", "-o", "loop", "/mnt/disk", "/mnt/trees"], check=True)
            os.unlink("/mnt/disk")
            self.loop = "/mnt/trees"

    def mount(self, target, mode):
        if self.loop and target not in ("/run", "/tmp"):
            source = self.loop + "/" + target.strip("/").replace("/", "-")
            os.mkdir(source)
            mount(source, target, None, MS_BIND)
        else:
            mount(MARK, target, "tmpfs", 0, f"mode={mode:o},size=2g")
        os.chmod(target, mode)


def _mkdirs(*specs):
    for path, mode in specs:
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)


def _copy_etc(old):
    """A copy of the machine's /etc as Debian ships it: no users, keys, jobs or tuning of the machine."""
    subprocess.run(["cp", "-a", f"/proc/self/fd/{old}/.", "/etc/"], pass_fds=[old], check=True)
    for path in ("/etc/nsbox", "/etc/ssh/sshd_config.d", "/etc/ssh/ssh_config.d", "/etc/cron.d",
                 "/etc/profile.d", "/etc/sudoers.d", "/etc/security/limits.d", "/etc/ld.so.preload"):
        if os.path.isdir(path):
            shutil.rmtree(path)
            if path != "/etc/nsbox":
                os.mkdir(path)
        elif os.path.exists(path):
            os.unlink(path)
    for name in os.listdir("/etc/ssh"):
        if name.startswith("ssh_host_"):
            os.unlink("/etc/ssh/" + name)
    for service in os.listdir("/etc/pam.d"):
        _filter_file("/etc/pam.d/" + service, lambda line: "pam_nsbox" not in line)
    users = set()
    _filter_file("/etc/passwd", lambda line: _is_system(line) or users.add(line.split(":")[0]))
    _filter_file("/etc/group", lambda line: _is_system(line) or users.add(line.split(":")[0]))
    members = lambda line: ":".join(line.rstrip("\n").split(":")[:3] + ["\n"])
    for path, edit in (("/etc/group", members), ("/etc/gshadow", members)):
        with open(path) as f:
            lines = [edit(line) for line in f if line.split(":")[0] not in users]
        with open(path, "w") as f:
            f.writelines(lines)
    _filter_file("/etc/shadow", lambda line: line.split(":")[0] not in users)
    for name in ("crontab", "environment", "subuid", "subgid"):
        open("/etc/" + name, "w").close()
    for name, text in (("hostname", HOSTNAME + "\n"), ("motd", ""),
                       ("hosts", f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n")):
        with open("/etc/" + name, "w") as f:
            f.write(text)


def _is_system(line):
    name, _, number = line.split(":")[:3]
    return int(number) < 1000 or name in ("nobody", "nogroup")


def _filter_file(path, keep):
    if not os.path.isfile(path):
        return
    with open(path) as f:
        lines = f.readlines()
    with open(path, "w") as f:
        f.writelines(line for line in lines if keep(line))


def _make_dev():
    nodes = [(name, os.stat("/dev/" + name)) for name in
             ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun", "loop-control")
             if os.path.exists("/dev/" + name)]
    unmount_all("/dev")
    mount(MARK, "/dev", "tmpfs", MS_NOSUID, "mode=755,size=4m")
    _mkdirs(("/dev/net", 0o755), ("/dev/pts", 0o755), ("/dev/shm", 0o1777), ("/dev/mqueue", 0o1777))
    for name, st in nodes:
        os.mknod("/dev/" + name, stat.S_IFCHR | 0o600, st.st_rdev)
        os.chmod("/dev/" + name, st.st_mode & 0o7777)
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,gid=5,mode=620,ptmxmode=666")
    mount(MARK, "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.symlink("pts/ptmx", "/dev/ptmx")
    for name, to in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink("/proc/self/fd" + to, "/dev/" + name)


def _mount_cgroups(groups):
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    if not any(g.top for g in groups):
        mount(MARK, "/sys/fs/cgroup", "tmpfs", flags, "mode=755,size=1m")
    for g in groups:
        where = "/sys/fs/cgroup" if g.top else "/sys/fs/cgroup/" + g.name
        os.makedirs(where, exist_ok=True)
        mount("cgroup2" if g.version == 2 else "cgroup", where,
              "cgroup2" if g.version == 2 else "cgroup", flags, g.options or None)
        if g.version == 1 and "," in g.options:
            for alias in g.options.split(","):
                os.symlink(g.name, "/sys/fs/cgroup/" + alias)
        if g.top:
            # Nothing may live in a v2 cgroup that gives controllers to its children.
            os.makedirs(where + "/init", exist_ok=True)
            _try_write(where + "/init/cgroup.procs", "0")
            for ctrl in g.controllers(where):
                _try_write(where + "/cgroup.subtree_control", "+" + ctrl)


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        ifreq = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(s, 0x8914, ifreq)                        # SIOCSIFFLAGS


def _build(groups, keep):
    """Runs in P, in fresh namespaces: replaces what the throwaway host must have for itself."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    for path in ("/sys", "/proc"):
        unmount_all(path)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount_cgroups(groups)
    fs = Filesystem()
    _make_dev()
    kept = [(path, os.open(path, os.O_PATH)) for path in keep
            if os.path.isdir(path) and any((path + "/").startswith(p + "/") for p in PRIVATE)]
    etc = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    for path, mode in PRIVATE.items():
        fs.mount(path, mode)
    _copy_etc(etc)
    os.close(etc)
    _mkdirs(*((f"/usr/local/{d}", 0o755) for d in ("bin", "sbin", "lib", "libexec", "share", "etc")),
            ("/run/sshd", 0o755), ("/run/lock", 0o1777), ("/run/user", 0o755), ("/var/log", 0o755),
            ("/var/cache", 0o755), ("/var/lib/pam", 0o755), ("/var/lib/sudo/lectured", 0o700),
            ("/var/mail", 0o2775), ("/var/spool/cron/crontabs", 0o1730), ("/var/tmp", 0o1777))
    for name, to in (("/var/run", "/run"), ("/var/lock", "/run/lock"), ("/var/spool/mail", "/var/mail")):
        os.symlink(to, name)
    for name in ("wtmp", "btmp", "lastlog", "faillog"):
        open("/var/log/" + name, "w").close()
    open("/run/utmp", "w").close()
    shutil.chown("/var/mail", group="mail")
    shutil.chown("/var/spool/cron/crontabs", group="crontab")
    for path, fd in kept:
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", path, None, MS_BIND | MS_REC)
        os.close(fd)
    socket.sethostname(HOSTNAME)
    _loopback_up()
    _libc.syscall(SYS_KEYCTL, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING: not the machine's


# ---------------------------------------------------------------- the four processes

def _syslog_socket():
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    log.bind("/dev/log")
    os.chmod("/dev/log", 0o666)
    return log


def _drain(log, out):
    while True:
        try:
            line = log.recv(65536).rstrip(b"\0\n")
        except BlockingIOError:
            return
        if line.startswith(b"<") and b">" in line[:5]:
            line = line[line.index(b">") + 1:]
        os.write(out, line.replace(b"\n", b"\\n") + b"\n")


def _init(test, log):
    """P: reap until T has ended, and write the log meanwhile. Returns T's wait status."""
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    out = os.open(SYSLOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    while True:
        select.select([wake_r, log], [], [], 1.0)
        _drain(log, out)
        try:
            os.read(wake_r, 4096)
        except BlockingIOError:
            pass
        try:
            while (got := os.waitpid(-1, os.WNOHANG))[0]:
                if got[0] == test:
                    return got[1]
        except ChildProcessError:
            return 1 << 8


def _code(status):
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _clean_environment():
    keep = {k: v for k, v in os.environ.items()
            if k == "TERM" or k.startswith(("NSBOX_", "ASAN_", "LSAN_", "UBSAN_", "GCOV_"))}
    os.environ.clear()
    os.environ.update(keep, HOME="/root", USER="root", LOGNAME="root", SHELL="/bin/bash",
                      LANG="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    os.environ.setdefault("TERM", "dumb")


def _default_signals():
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(sig, signal.SIG_DFL)


def _run_p(groups, keep):
    """P's life. Returns only in T."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NAME, b"throwaway-init")
    _build(groups, keep)
    log = _syslog_socket()
    test = os.fork()
    if test == 0:
        log.close()
        _default_signals()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    os._exit(_code(_init(test, log)))


def _run_c(groups, keep):
    """C's life. Returns only in T."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for g in groups:
        with open(g.dir + "/cgroup.procs", "w") as f:
            f.write("0")
    unshare(CLONE_ALL)
    for g in groups:
        if g.top:       # C out of the way too, see _mount_cgroups()
            os.mkdir(g.dir + "/init")
            _try_write(g.dir + "/init/cgroup.procs", "0")
    init = os.fork()
    if init == 0:
        return _run_p(groups, keep)
    os._exit(_code(os.waitpid(init, 0)[1]))


def _supervise(child, groups):
    """S's life after the fork: wait for the end, then leave nothing."""
    killed = []

    def kill(signum, _frame):
        killed.append(signum)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGINT, lambda *_: signal.alarm(3))  # T has had the ^C too
    for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(sig, kill)
    status = os.waitpid(child, 0)[1]
    deadline = time.monotonic() + 10
    while not all([_rmdirs(g.dir) for g in groups]):
        if time.monotonic() > deadline:
            sys.stderr.write(f"throwaway host: cgroups left: {[g.dir for g in groups]}\n")
            os._exit(70)
        time.sleep(0.002)
    os._exit(128 + killed[0] if killed else _code(status))


def boot(keep=()):
    """Returns inside the throwaway host. `keep`: directories that stay reachable at their path."""
    if os.geteuid() != 0:
        raise SystemExit("the throwaway host needs root")
    cwd = os.getcwd()
    groups = hierarchies()
    for g in groups:
        g.remove_stale()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for g in groups:
            g.create()
        child = os.fork()
    except BaseException:
        for g in groups:
            _rmdirs(g.dir)
        raise
    if child:
        _supervise(child, groups)
    try:
        _run_c(groups, [REPO, *keep])
        _clean_environment()
        os.umask(0o022)
        os.chdir(cwd if os.path.isdir(cwd) else "/")
    except BaseException:
        traceback.print_exc()
        os._exit(70)
