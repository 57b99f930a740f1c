"""What the login suites share: the users, the policy, and how to look at a box from the host's side.

    alice, bob   in group nsbox: boxed. alice is also in the host groups docker and disk.
    carol        not in it: passed. May use sudo.
    dave         in it, but also in group admins, which the PAM lines exempt.
"""

import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import observe
from observe import NAMESPACES
from tap import contains, eq

POLICY = """\
[defaults]
action = pass
linger = 0

[group nsbox]
action = box
"""

# su-l and runuser-l include the session stacks of su and runuser.
SERVICES = ("sshd", "su", "sudo", "sudo-i", "login", "runuser", "cron")
DOCKER, DISK = 999, 6

# A shell command that prints the namespaces of what it runs (busybox's readlink takes one name only).
LOOK = "ls -l /proc/self/ns"


PROMPT = r"[$#] \Z"


def policy(extra="", defaults=""):
    """The usual policy with more keys in [defaults] and more sections."""
    return POLICY.replace("linger = 0\n", ("" if "linger" in defaults else "linger = 0\n") + defaults) + "\n" + extra


def setup(h):
    h.add_group("nsbox", 1500)
    h.add_group("docker", DOCKER)
    h.add_user("alice", 1001, groups=["nsbox", "docker", "disk", ("students", 1600)], password="alice-secret")
    h.add_user("bob", 1002, groups=["nsbox"], password="bob-secret")
    h.add_user("carol", 1003, groups=["sudo"], password="carol-secret")
    h.add_user("dave", 1004, groups=["nsbox", ("admins", 1501)], password="dave-secret")
    h.write("/etc/sudoers.d/test", "Defaults closefrom_override\n%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    h.install()
    h.policy(POLICY)
    for service in SERVICES:
        h.enable(service, "exempt_group=admins")
    h.sshd()


def restore(h):
    """Before each test: the usual policy."""
    h.policy(POLICY)


def looked(text):
    """{namespace: inode} from what LOOK printed somewhere in text."""
    found = {name: int(inode) for name, inode in re.findall(r"\b(\w+):\[(\d+)\]", text) if name in NAMESPACES}
    if set(found) != set(NAMESPACES):
        raise AssertionError(f"not the output of {LOOK}: {text!r}")
    return found


def all_differ(a, b, whose="the host's"):
    same = [name for name in NAMESPACES if a[name] == b[name]]
    if same:
        raise AssertionError(f"namespaces that are {whose}: {' '.join(same)}")


def in_box(text):
    """The LOOK in text was made in a box; returns it."""
    found = looked(text)
    all_differ(found, observe.nsinos("self"))
    return found


def on_host(text):
    """The LOOK in text was made on the host."""
    eq(looked(text), observe.nsinos("self"), "namespaces")


def only_init(h):
    """The one box's init."""
    found = observe.inits()
    if len(found) != 1:
        raise AssertionError(f"there should be one box, but its inits are: {found}")
    return found[0]


def block(pid):
    """(base, size) of the block: the extents of the box's ids 0..65535 lie in it."""
    extents = observe.id_map(pid)
    base = observe.to_host(pid, 0)
    return base, max(outside + count for _, outside, count in extents) - base


def wait_session_gone(session, what="the session has ended"):
    observe.wait_until(lambda: session.popen.poll() is not None, 5, what)


def get_in(h, user="alice", **how):
    """The user can log in and is in a box; returns the namespaces."""
    r = h.ssh(user, LOOK + "; id -un", **how)
    if r.code:
        raise AssertionError(f"{user} cannot log in: {r}")
    contains(r.out, user, "id")
    return in_box(r.out)


def as_root(h, pid, command):
    """A shell command by root of the box."""
    return h.enter(pid, "sh", "-c", command)


def clean_homes(h):
    """Before each test: the usual policy, nothing of an earlier test in the homes."""
    restore(h)
    for name in os.listdir("/home/alice"):
        if not name.startswith("."):
            path = "/home/alice/" + name
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    for name in os.listdir("/root"):
        if name.startswith("ready.") or name == "clone":
            path = "/root/" + name
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
