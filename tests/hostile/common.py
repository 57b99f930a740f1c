"""What the hostile suites share: builds that lack one defence, probes, and a box's root.

A defence is proven by both(): the attack works in a build that was compiled without it, and fails in
the build that users get. Where two defences stand behind each other, each alone stops the attack and
only a build without both of them lets it through; the tests say so.

    alice, bob   boxed. alice is also in the host groups docker and disk, and shares students with bob.
    mallory      not boxed: the accomplice outside.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import host
import observe
from throwaway import REPO

POLICY = """\
[defaults]
action = pass
linger = 0

[group nsbox]
action = box
"""

SERVICES = ("sshd", "su", "su-l", "sudo", "sudo-i", "login", "runuser", "runuser-l", "cron")
DOCKER, DISK, STUDENTS = 999, 6, 1600
INSTALLED = {"pam_nsbox.so": host.MODULE, "nsbox-keeper": host.KEEPER,
             "nsbox-net": host.PREFIX + "/libexec/nsbox-net", "nsbox": host.PREFIX + "/bin/nsbox"}
SECRET = "secret-of-the-host"


# ------------------------------------------------------------ builds

def share_objects(usual, path):
    """Those that know of no defence are the same in every build: from the usual one, if that has them."""
    if f'"{host.PREFIX}/libexec/nsbox-keeper"' not in observe.read(os.path.join(REPO, usual, "flags"), ""):
        return
    for at, _, names in os.walk(os.path.join(REPO, usual)):
        where = os.path.relpath(at, os.path.join(REPO, usual))
        for name in names if where.split("/")[0] in ("pam_nsbox", "helper", "module") else []:
            made, depends = os.path.join(at, name), os.path.join(at, name[:-2] + ".d")
            if not name.endswith(".o") or "/defence.h" in observe.read(depends, "/defence.h"):
                continue
            os.makedirs(os.path.join(REPO, path, where), exist_ok=True)
            to = os.path.join(REPO, path, where, name)
            with open(to[:-2] + ".d", "w") as f:
                f.write(observe.read(depends).replace(usual + "/", path + "/"))
            shutil.copyfile(made, to)


def build_dir(*left_out):
    """The build directory without these defences; compiled if it is missing or old."""
    usual = os.environ.get("NSBOX_BUILD", "build")
    if not left_out:
        return os.path.join(REPO, usual)
    path = os.path.join(usual, "without-" + "-".join(left_out))
    words = [w for w in os.environ.get("NSBOX_MAKE", "").split() if not w.startswith("WITHOUT=")]
    os.makedirs(os.path.join(REPO, path), exist_ok=True)
    with open(os.path.join(REPO, path, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)   # several suites may want it at the same time
        def make(target):
            # defence.h pastes NSBOX_D_ before the first name only.
            return subprocess.run(["make", "-C", REPO, "-j2", target, f"BUILD={path}", "CFLAGS=-O1",
                                   f"PREFIX={host.PREFIX}", "SYSCONFDIR=/etc",
                                   "WITHOUT=" + "+NSBOX_D_".join(left_out), *words],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")})
        if not os.path.exists(os.path.join(REPO, path, "flags")):
            make(path + "/flags")       # older than what is taken over
            share_objects(usual, path)
        r = make("all")
    if r.returncode:
        raise AssertionError(f"the build without {left_out} fails:\n{r.stdout.decode()[-1500:]}")
    return os.path.join(REPO, path)


def put_in_place(directory):
    for name, to in INSTALLED.items():
        shutil.copy(os.path.join(directory, name), to + ".new")
        os.rename(to + ".new", to)


@contextlib.contextmanager
def without(h, *left_out):
    """Inside, the installed nsbox lacks these defences, and says so in the log at each box."""
    h.settle()
    put_in_place(build_dir(*left_out))
    try:
        yield
    finally:
        h.settle()
        put_in_place(build_dir())


def both(h, left_out, attack):
    """attack(h) returns whether it worked: it must without the defences, and must not with them.

    left_out: one name, or several of which each alone suffices to stop the attack.
    """
    names = (left_out,) if isinstance(left_out, str) else tuple(left_out)
    with without(h, *names):
        mark = h.log_mark()
        assert attack(h), f"without {' and '.join(names)} the attack should work, and fails"
        h.wait_for_log("leaves a defence out", since=mark)
    if len(names) > 1:
        for name in names:
            with without(h, name):
                assert not attack(h), f"the attack works without {name} although " \
                                      f"{' and '.join(n for n in names if n != name)} should stop it"
    assert not attack(h), f"the attack works although {' and '.join(names)} should stop it"


# ------------------------------------------------------------ probes

def compile_probe(name, *flags):
    """A static program from probe/NAME.c; its path outside."""
    tag = "".join(f for f in flags if f == "-m32").replace("-", "")
    path = f"/root/probe/{name}{tag}"
    if not os.path.exists(path):
        os.makedirs("/root/probe", exist_ok=True)
        subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-static", *flags, "-o", path,
                        f"{HERE}/probe/{name}.c"], check=True)
    return path


def give_probe(h, user, name, *flags):
    """The probe in the user's home, owned by the user; its path, the same inside and outside."""
    source = compile_probe(name, *flags)
    u = h.users[user]
    path = f"{u.home}/{os.path.basename(source)}"
    shutil.copy(source, path)
    os.chown(path, u.uid, u.gid)
    os.chmod(path, 0o755)
    return path


# ------------------------------------------------------------ a host with boxes

def policy(extra="", defaults=""):
    return POLICY.replace("linger = 0\n", ("" if "linger" in defaults else "linger = 0\n") + defaults) + "\n" + extra


def prepare(*builds):
    """A setup(h) for tap.main that also makes these builds, outside of any test's time."""
    def setup(h):
        for names in builds:
            build_dir(*((names,) if isinstance(names, str) else names))
        h.add_group("nsbox", 1500)
        h.add_group("docker", DOCKER)
        h.add_user("alice", 1001, groups=["nsbox", "docker", "disk", ("students", STUDENTS)], password="alice-secret")
        h.add_user("bob", 1002, groups=["nsbox", "students"], password="bob-secret")
        h.add_user("mallory", 1003)
        h.install()
        h.policy(POLICY)
        for service in SERVICES:
            h.enable(service)
        h.sshd()
    return setup


def restore(h):
    h.policy(POLICY)


def as_root(h, pid, command, **more):
    """A shell command by a box root that has every capability in the box and no filter on it."""
    return h.enter(pid, "sh", "-c", command, **more)


def init_of(pid):
    """The init of the box that this process is in."""
    mine = observe.ns_inode(pid, "user")
    return next(p for p in observe.inits() if p.userns == mine)


def box_base(pid):
    return observe.to_host(pid, 0)
