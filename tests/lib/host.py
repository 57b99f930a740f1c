#!/usr/bin/python3 -B
"""The throwaway host as tests use it: users, PAM services, sshd, sessions.

    h = Host()                                  # from here on this program runs inside
    h.add_user("alice", password="secret")
    h.policy("[user alice]\\naction = box\\n")
    h.install(); h.enable("sshd"); h.sshd()
    print(h.ssh("alice", "id").out)

As a command:  host.py [--install] [--user NAME]... [--enable SERVICE]... [--sshd] [-- COMMAND...]

NSBOX_BUILD        the build directory that is installed (build)
NSBOX_MAKE         more words for make install, such as SAN=address,undefined
NSBOX_TEST_PLAIN   install nothing and enable nothing: every test of a box must then fail
NSBOX_TEST_FS      tmpfs or ext4 for the private trees
"""

import argparse
import ctypes
import dataclasses
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys

import observe
import throwaway
from observe import wait_until
from term import Terminal
from throwaway import REPO, SYSLOG

PREFIX = "/usr/local"
MODULE = PREFIX + "/lib/security/pam_nsbox.so"
KEEPER = PREFIX + "/libexec/nsbox-keeper"
CONF = "/etc/nsbox/nsbox.conf"
PLAIN = bool(os.environ.get("NSBOX_TEST_PLAIN"))
BUILD = os.path.join(REPO, os.environ.get("NSBOX_BUILD", "build"))
KEEP = [BUILD]    # directories of the machine that stay reachable; a suite may add to it
KEY = "/root/.ssh/id_ed25519"

SSH_CONFIG = f"""\
Host *
 IdentityFile {KEY}
 IdentitiesOnly yes
 StrictHostKeyChecking no
 UserKnownHostsFile /dev/null
 LogLevel ERROR
 ConnectTimeout 10
 BatchMode yes
"""

SSHD_OPTIONS = {
    "ListenAddress": "127.0.0.1", "HostKey": "/etc/ssh/ssh_host_ed25519_key", "PidFile": "none",
    "UsePAM": "yes", "PasswordAuthentication": "yes", "KbdInteractiveAuthentication": "yes",
    "PermitRootLogin": "yes", "PrintMotd": "no", "UseDNS": "no", "LogLevel": "VERBOSE",
    "MaxStartups": "500", "MaxSessions": "50", "AcceptEnv": "LANG LC_* TEST_*",
    "Subsystem": "sftp /usr/lib/openssh/sftp-server",
}


@dataclasses.dataclass
class Result:
    argv: list
    code: int
    out: str
    err: str

    def check(self):
        if self.code:
            raise AssertionError(str(self))
        return self

    def __str__(self):
        return f"{shlex.join(self.argv)}: exit {self.code}\nstdout: {self.out[-1500:]}\nstderr: {self.err[-1500:]}"


@dataclasses.dataclass
class User:
    name: str
    uid: int
    gid: int
    home: str
    password: str


class Session:
    """A session held open by its standard input; .pid is the host's pid of what runs in it."""

    READY = "session-is-ready"

    def __init__(self, host, argv_for, env=None, timeout=15):
        self.cookie = "NSBOX_COOKIE=" + secrets.token_hex(8)
        self.argv = argv_for(f"echo {self.READY}; exec env {self.cookie} cat")
        self.popen = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, env={**os.environ, **(env or {})},
                                      start_new_session=True)
        self._pid = None
        host.sessions.append(self)
        self.timeout = timeout

    def ready(self):
        """Wait until the session runs; an AssertionError with what it said if it ends first."""
        if self._pid is None:
            os.set_blocking(self.popen.stdout.fileno(), False)
            seen = b""

            def started():
                nonlocal seen
                seen += self.popen.stdout.read() or b""
                return self.READY.encode() in seen or self.popen.poll() is not None
            wait_until(started, self.timeout, f"{shlex.join(self.argv)} has started")
            if self.READY.encode() not in seen:
                raise AssertionError(f"{shlex.join(self.argv)}: exit {self.popen.returncode}: "
                                     f"{self.popen.stderr.read().decode(errors='replace')}")
            self._pid = wait_until(self._find, self.timeout, "the process of the session is there")
        return self

    def _find(self):
        for pid in observe.with_environment(self.cookie):
            if observe.read(f"/proc/{pid}/comm").strip() == "cat":
                return pid
        return None

    @property
    def pid(self):
        return self.ready()._pid

    @property
    def caller(self):
        """The program that called PAM: the nearest ancestor that is in the host's pid namespace."""
        for p in observe.ancestors(self.pid):
            if len(p.nspid) == 1 and (p.name != "sshd" or "[priv]" in p.cmdline):
                return p
        raise AssertionError(f"no caller above {self.pid}: {observe.ancestors(self.pid)}")

    def close(self, timeout=10):
        """Log out; returns the exit code."""
        if self.popen.stdin:
            self.popen.stdin.close()
        code = self.popen.wait(timeout)
        self.popen.stdout.close()
        self.popen.stderr.close()
        self.popen.stdin = None
        return code

    def drop(self):
        """The client vanishes."""
        self.popen.kill()
        self.popen.wait()


class Sshd:
    def __init__(self, port, options):
        self.port = port
        conf = f"/etc/ssh/sshd_config.{port}"
        with open(conf, "w") as f:
            f.write(f"Port {port}\n")
            f.writelines(f"{name} {value}\n" for name, value in {**SSHD_OPTIONS, **options}.items())
        self.popen = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", conf], stdin=subprocess.DEVNULL)
        wait_until(self._answers, 10, f"sshd listens on port {port}")

    def _answers(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"sshd ended with {self.popen.returncode}:\n{observe.read(SYSLOG)[-800:]}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.popen.terminate()
        self.popen.wait()


def mounted_things():
    """{(source, mount point, type)}: a remount changes nothing here."""
    return {tuple(line.split()[:3]) for line in observe.mounts()}


class Host:
    def __init__(self):
        throwaway.boot(keep=KEEP)
        self.users = {}
        self.sessions = []
        self.terminals = []
        self.background = []
        self._sshd = {}
        self._pam_d = {}
        os.makedirs("/root/.ssh", 0o700)
        for path in ("/etc/ssh/ssh_host_ed25519_key", KEY):
            self.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]).check()
        self.write("/root/.ssh/config", SSH_CONFIG, 0o600)
        self.write("/root/askpass", "#!/bin/sh\nprintf '%s\\n' \"$TEST_SECRET\"\n", 0o700)
        self._set_password("root", "toor")
        self._authorize("/root", 0, 0)
        self.idle()

    def idle(self):
        """What is mounted now is the host's own: leftovers() does not name it."""
        self.idle_mounts = mounted_things()

    # ------------------------------------------------------------ files, users, groups

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def home_file(self, user, name, text, mode=0o644):
        """A file of the user's own in the home."""
        u = self.users[user]
        path = self.write(f"{u.home}/{name}", text, mode)
        os.chown(path, u.uid, u.gid)
        return path

    def append(self, path, text):
        with open(path, "a") as f:
            f.write(text)

    def _edit(self, path, change):
        with open(path) as f:
            lines = f.read().splitlines()
        with open(path, "w") as f:
            f.writelines(line + "\n" for line in change(lines))

    def add_group(self, name, gid, members=()):
        self.append("/etc/group", f"{name}:x:{gid}:{','.join(members)}\n")

    def group_ids(self):
        return {f[0]: int(f[2]) for f in (line.split(":") for line in observe.read("/etc/group").splitlines())}

    def join_groups(self, user, groups):
        """Put the user into groups: names, or (name, gid) pairs; missing ones are made."""
        known = self.group_ids()
        free = max([2000] + [g + 1 for g in known.values() if 2000 <= g < 3000])
        wanted = set()
        for group in groups:
            name, gid = group if isinstance(group, tuple) else (group, None)
            wanted.add(name)
            if name not in known:
                self.add_group(name, free if gid is None else gid)
                free += gid is None
                known[name] = gid

        def change(lines):
            for line in lines:
                name, password, gid, members = line.split(":")
                if name in wanted:
                    members = ",".join(filter(None, [members, user]))
                yield ":".join((name, password, gid, members))
        self._edit("/etc/group", change)

    def leave_group(self, user, group):
        def change(lines):
            for line in lines:
                fields = line.split(":")
                if fields[0] == group:
                    fields[3] = ",".join(m for m in fields[3].split(",") if m != user)
                yield ":".join(fields)
        self._edit("/etc/group", change)

    def add_user(self, name, uid=None, gid=None, groups=(), password=None, key=True,
                 shell="/bin/bash", home=None, make_home=True):
        """A user with a group of the same name (or the group `gid`, if there is one already)."""
        uid = uid if uid is not None else max([1000] + [u.uid for u in self.users.values() if u.uid < 60000]) + 1
        gid = gid if gid is not None else uid
        home = home or f"/home/{name}"
        self.append("/etc/passwd", f"{name}:x:{uid}:{gid}:{name.title()},,,:{home}:{shell}\n")
        self.append("/etc/shadow", f"{name}:*:19000:0:99999:7:::\n")
        if gid not in self.group_ids().values():
            self.add_group(name, gid)
        self.join_groups(name, groups)
        if password:
            self._set_password(name, password)
        if make_home:
            shutil.copytree("/etc/skel", home)
            for where, dirs, files in os.walk(home):
                for entry in [where, *(os.path.join(where, f) for f in files)]:
                    os.chown(entry, uid, gid)
            os.chmod(home, 0o750)
            if key:
                self._authorize(home, uid, gid)
        user = self.users[name] = User(name, uid, gid, home, password)
        return user

    def set_user(self, name, **fields):
        """Change fields of the passwd entry: uid, gid, home, shell."""
        order = ("name", "x", "uid", "gid", "gecos", "home", "shell")

        def change(lines):
            for line in lines:
                entry = line.split(":")
                if entry[0] == name:
                    for field, value in fields.items():
                        entry[order.index(field)] = str(value)
                yield ":".join(entry)
        self._edit("/etc/passwd", change)

    def _set_password(self, name, password):
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
        crypt.restype = ctypes.c_char_p
        hashed = crypt(password.encode(), b"$5$rounds=1000$throwaway$").decode()
        self._edit("/etc/shadow", lambda lines: [
            re.sub(r"^([^:]*):[^:]*", lambda m: f"{m[1]}:{hashed}", line) if line.startswith(name + ":") else line
            for line in lines])

    def _authorize(self, home, uid, gid):
        os.makedirs(home + "/.ssh", 0o700, exist_ok=True)
        shutil.copy(KEY + ".pub", home + "/.ssh/authorized_keys")
        for path in (home + "/.ssh", home + "/.ssh/authorized_keys"):
            os.chown(path, uid, gid)

    # ------------------------------------------------------------ nsbox itself

    def install(self):
        if not PLAIN:
            self.run(["make", "-C", REPO, "install", f"BUILD={os.environ.get('NSBOX_BUILD', 'build')}",
                      f"PREFIX={PREFIX}", f"PAMDIR={PREFIX}/lib/security", "SYSCONFDIR=/etc", "DESTDIR=",
                      *os.environ.get("NSBOX_MAKE", "").split()], timeout=600).check()

    def policy(self, text):
        """Replace nsbox.conf."""
        return self.write(CONF, text)

    def enable(self, service, args=""):
        """Our line, last in the service's stack; replaces the line of an earlier call."""
        path = "/etc/pam.d/" + service
        self._pam_d.setdefault(service, observe.read(path))
        line = "" if PLAIN else f"session required {MODULE} {args}".rstrip() + "\n"
        self.write(path, self._pam_d[service] + "\n" + line)

    def disable(self, service):
        if service in self._pam_d:
            self.write("/etc/pam.d/" + service, self._pam_d[service])

    # ------------------------------------------------------------ running things

    def run(self, argv, input=None, timeout=30, env=None, cwd=None, **more):
        """Run to the end. A program that outlives the timeout is killed: an AssertionError."""
        argv = shlex.split(argv) if isinstance(argv, str) else list(argv)
        more.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
                              env={**os.environ, **(env or {})}, start_new_session=True, **more) as p:
            try:
                out, err = p.communicate(input.encode() if isinstance(input, str) else input, timeout)
            except BaseException as error:
                os.killpg(p.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                out, err = p.communicate()
                raise AssertionError(f"still ran after {timeout} s: "
                                     f"{Result(argv, -9, out.decode(errors='replace'), err.decode(errors='replace'))}") from None
        return Result(argv, p.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def start(self, argv, env=None, **more):
        """A program in the background, ended when the test is over."""
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.DEVNULL)
        more.setdefault("stderr", subprocess.DEVNULL)
        p = subprocess.Popen(argv, env={**os.environ, **(env or {})}, start_new_session=True, **more)
        self.background.append(p)
        return p

    def pty(self, argv, **more):
        terminal = Terminal(shlex.split(argv) if isinstance(argv, str) else list(argv), **more)
        self.terminals.append(terminal)
        return terminal

    def sshd(self, port=22, **options):
        """Start sshd, or start it again with other options."""
        if port in self._sshd:
            self._sshd[port].stop()
        self._sshd[port] = Sshd(port, options)
        return self._sshd[port]

    def ssh_argv(self, user, *command, tty=False, password=None, method=None, options=(), port=22):
        argv = ["ssh", "-p", str(port)] + (["-tt"] if tty else ["-T"])
        for option in options:
            argv += [option] if option.startswith("-") else ["-o", option]
        if password:
            argv += ["-o", "BatchMode=no", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1",
                     "-o", f"PreferredAuthentications={method or 'password'}"]
        return argv + ["-l", user, "127.0.0.1", *command]

    def ssh_env(self, password=None):
        return {"SSH_ASKPASS": "/root/askpass", "SSH_ASKPASS_REQUIRE": "force",
                "TEST_SECRET": password} if password else {}

    def ssh(self, user, *command, password=None, input=None, timeout=30, env=None, **how):
        """One ssh to its end. how: tty, method (of the password), options, port."""
        return self.run(self.ssh_argv(user, *command, password=password, **how), input=input,
                        timeout=timeout, env={**self.ssh_env(password), **(env or {})})

    def session(self, user, wait=True, timeout=15, **how):
        """An ssh session that stays; see Session."""
        s = Session(self, lambda command: self.ssh_argv(user, command, **how),
                    self.ssh_env(how.get("password")), timeout)
        return s.ready() if wait else s

    def hold(self, argv_for):
        """A session by any other caller: argv_for(shell command) is the command line."""
        return Session(self, argv_for).ready()

    def enter(self, pid, *argv, uid=None, timeout=30):
        """Run in all namespaces of a boxed process (nsenter); uid as seen there, None: box root."""
        if not observe.Process(pid).boxed:
            raise AssertionError(f"{observe.Process(pid)} is not in a box: not running {argv} on the host")
        return self.run(["nsenter", "-t", str(pid), "-a", "-r", "-w", "-S", str(uid or 0), "-G", str(uid or 0),
                         *argv], timeout=timeout, env={"HOME": "/"})

    def nsinos(self, pid="self"):
        return observe.nsinos(pid)

    def wait_until(self, predicate, timeout, what):
        return wait_until(predicate, timeout, what)

    # ------------------------------------------------------------ the log

    def log_mark(self):
        try:
            return os.stat(SYSLOG).st_size
        except FileNotFoundError:
            return 0

    def log_since(self, mark=0):
        with open(SYSLOG, "rb") as f:
            f.seek(mark)
            return f.read().decode(errors="replace")

    def wait_for_log(self, pattern, timeout=5, since=0):
        return wait_until(lambda: re.search(pattern, self.log_since(since), re.M), timeout,
                          f"/{pattern}/ is in the log; it has:\n{self.log_since(since)[-1500:]}")

    # ------------------------------------------------------------ the end of things

    def leftovers(self, uid=None):
        """What is there that an idle host does not have; {} when nothing is."""
        names = [str(uid)] if uid else [str(u.uid) for u in self.users.values()]
        mine = re.compile(r"(?<!\d)(%s)(?!\d)" % "|".join(names or ["none"]))
        found = {
            "processes": observe.boxed() + observe.keepers(),
            "zombies": [p for p in observe.processes() if p.zombie and "nsbox" in p.name],
            "cgroups": observe.box_cgroups(),
            "mounts": sorted(mounted_things() - self.idle_mounts),
            "state": [f for f in observe.state_files() if mine.search(f)],
            "links": [n for n in os.listdir("/sys/class/net") if n != "lo"],
        }
        if uid:  # other users' boxes may live on
            found["processes"] = [p for p in observe.boxed()
                                  if any(mine.search(path) for path in observe.cgroups_of(p.pid).values())]
            found["cgroups"] = [c for c in found["cgroups"] if mine.search(c)]
        return {kind: what for kind, what in found.items() if what}

    def wait_gone(self, timeout=3, uid=None):
        """Wait until nothing of any box (of this user's boxes) is left."""
        try:
            wait_until(lambda: not self.leftovers(uid), timeout, "")
        except observe.TimedOut:
            raise AssertionError(f"after {timeout} s still there: {self.leftovers(uid)}") from None

    def settle(self):
        """Between tests: end every session and every box by force, and forget them, as a reboot would."""
        for s in self.sessions:
            if s.popen.poll() is None:
                s.drop()
        for t in self.terminals:
            t.close()
        for p in self.background:
            if p.poll() is None:
                p.kill()
                p.wait()
        for things in (self.sessions, self.terminals, self.background):
            things.clear()

        def quiet():
            alive = observe.boxed() + observe.keepers() + [
                p for p in observe.processes() if p.uids[0] >= 1000 and not p.boxed and not p.zombie]
            for p in alive:
                observe.kill(p.pid)
            return not alive
        wait_until(quiet, 10, "boxes are dead")
        for path in reversed(observe.box_cgroups()):
            try:
                observe.wait_until(lambda: not os.path.isdir(path) or os.rmdir(path) is None, 2, path)
            except OSError:
                pass
        for name in os.listdir("/run/nsbox") if os.path.isdir("/run/nsbox") else ():
            if name == "base":      # nsbox.service's
                continue
            path = "/run/nsbox/" + name
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def _main():
    parser = argparse.ArgumentParser(description="Run a command in a throwaway host.")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--user", action="append", default=[], metavar="NAME[=PASSWORD]")
    parser.add_argument("--policy", help="a file to install as nsbox.conf")
    parser.add_argument("--enable", action="append", default=[], metavar="SERVICE")
    parser.add_argument("--sshd", action="store_true")
    parser.add_argument("command", nargs="*", default=["bash"])
    args = parser.parse_args()
    policy = args.policy and observe.read(args.policy)
    h = Host()
    for user in args.user:
        name, _, password = user.partition("=")
        h.add_user(name, password=password or None)
    if args.install:
        h.install()
    if policy:
        h.policy(policy)
    for service in args.enable:
        h.enable(service)
    if args.sshd:
        h.sshd()
    sys.exit(subprocess.run(args.command).returncode)


if __name__ == "__main__":
    _main()
