"""What the PAM suites share: a host without sshd, caller.c built in it, and what a caller says of itself.

    alice, bob, eve   in group nsbox: boxed
    carol             not in it: passed
    dave              in it, but also in group admins, which the PAM line exempts
    mallory           denied
"""

import os
import re
import secrets
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import host
import observe
from tap import eq

SUCCESS, SYSTEM_ERR, PERM_DENIED, SESSION_ERR, IGNORE, ABORT = 0, 4, 6, 14, 25, 26

POLICY = """\
[defaults]
action = pass
linger = 0

[group nsbox]
action = box

[user mallory]
action = deny
"""

CONFDIR = "/root/pam.d"
CALLER = "/root/caller"
EXEMPT = "exempt_group=admins"
BOX_USERS = ("alice", "bob", "eve")
LIMIT = 5.0     # seconds: the module never waits longer in all
SLACK = 1.0     # of the machine


def setup(h, users=()):
    h.add_group("nsbox", 1500)
    for uid, name in enumerate((*BOX_USERS, *users), 1001):
        h.add_user(name, uid, groups=["nsbox"], key=False)
    h.add_user("carol", key=False)
    h.add_user("dave", groups=["nsbox", ("admins", 1501)], key=False)
    h.add_user("mallory", key=False)
    h.install()
    h.policy(POLICY)
    h.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", CALLER,
           os.path.join(HERE, "caller.c"), "-lpam"]).check()
    h.write(CONFDIR + "/other", "session required pam_deny.so\n")
    service(h, "only", EXEMPT)


def service(h, name, args="", before="", control="required"):
    """A stack whose session part is `before` and our line."""
    module = "pam_permit.so" if host.PLAIN else host.MODULE
    ours = f"session {control} {module} {args}".rstrip() + "\n"
    h.write(f"{CONFDIR}/{name}", before + ours)


class Report:
    """What caller.c printed."""

    def __init__(self, text):
        self.text = text
        self.before, self.after, self.messages, self.took = {}, {}, [], []
        self.code = self.close = self.fresh = self.end = self.wait = self.ran = self.pid = None
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word in ("before", "after"):
                key, _, value = rest.partition(" ")
                getattr(self, word).setdefault(key, []).append(value)
            elif word == "message":
                style, _, message = rest.partition(" ")
                self.messages.append((int(style), message))
            elif word == "took":
                self.took.append(int(rest))
            elif word in ("code", "close", "fresh", "end", "ran", "pid"):
                setattr(self, word, int(rest))
            elif word == "wait":
                self.wait = rest

    def changes(self):
        """{key: (before, after)} of what differs."""
        return {key: (self.before.get(key), self.after.get(key))
                for key in sorted({*self.before, *self.after}) if self.before.get(key) != self.after.get(key)}

    @property
    def boxed(self):
        """Not one namespace of a process that would be born now is the host's (time has none here)."""
        names = [f"ns.{n}" for n in observe.NAMESPACES if n != "pid"] + ["ns.pid_for_children"]
        same = [n for n in names if self.before.get(n) == self.after.get(n)]
        if same and len(same) != len(names):
            raise AssertionError(f"half in a box: {same} are still the host's")
        return not same


def argv_of(user, *options, service="only", caller=CALLER):
    return [caller, *options, "--", CONFDIR, service, user]


def call(h, user, *options, prefix=(), timeout=30, **how):
    """One caller to its end."""
    r = h.run([*prefix, *argv_of(user, *options, **how)], timeout=timeout, cwd="/")
    report = Report(r.out)
    if report.end is None:
        raise AssertionError(f"the caller did not get to the end: {r}")
    report.result = r
    return report


def opened(report):
    eq(report.code, SUCCESS, f"code of pam_open_session ({report.messages})")
    assert report.boxed, f"success, and not in a box: {report.text}"


def unchanged(report, but=()):
    changes = {k: v for k, v in report.changes().items() if k not in but}
    if changes:
        raise AssertionError(f"changed by an open that returned {report.code} ({report.messages}): {changes}")


def wait_log(h, mark):
    """Until what has been said by now is written: a word of ours then is, too."""
    token = secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(token.encode(), "/dev/log")
    h.wait_for_log(token, since=mark)


def log_mark(h):
    """The end of the log, when what was said before is in it."""
    wait_log(h, 0)
    return h.log_mark()


def our_lines(h, mark, but=r": box \S+ (opened|ended)"):
    """The lines of nsbox in the log since the mark, without the keeper's diary."""
    wait_log(h, mark)
    lines = [line for line in h.log_since(mark).splitlines() if "nsbox" in line]
    return [line for line in lines if not re.search(but, line)]


def restore(h):
    h.policy(POLICY)
