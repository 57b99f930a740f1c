#!/usr/bin/python3 -B
"""A hostile name service in the box's root: no code of it may run in the programs that log people in."""

import os
import shutil
import subprocess

from common import HERE, as_root, init_of, policy, prepare, without
import observe
from tap import eq, main, test

IMAGE = "/srv/image"
LIBRARIES = f"{IMAGE}/lib/x86_64-linux-gnu"
# What the host's and the box's nsswitch.conf name: there on the host, not there on the host, built in.
SERVICES = ("systemd", "compat", "evil", "sss", "db", "nis", "hesiod", "files", "dns")


def setup(h):
    prepare("nss")(h)
    for name in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/lib", "etc", "proc", "sys", "dev", "tmp", "run",
                 "home", "root", "var", "lib/x86_64-linux-gnu"):
        os.makedirs(f"{IMAGE}/{name}", exist_ok=True)
    shutil.copy("/bin/busybox", f"{IMAGE}/bin/busybox")
    for applet in ("sh", "true", "cat", "env", "echo", "id", "mount", "ls"):   # all static: what runs in the box loads no library
        os.symlink("busybox", f"{IMAGE}/bin/{applet}")
    for service in SERVICES:
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", f"{LIBRARIES}/libnss_{service}.so.2",
                        f"{HERE}/probe/evil.c"], check=True)
    for where in (f"{IMAGE}/usr/lib/x86_64-linux-gnu", f"{IMAGE}/lib64", f"{IMAGE}/usr/lib64"):
        os.symlink("/lib/x86_64-linux-gnu", where)
    hostile = "\n".join(f"{database}: {' '.join(s for s in SERVICES if s not in ('files', 'dns'))} files dns"
                        for database in ("passwd", "group", "shadow", "gshadow", "initgroups", "hosts", "networks",
                                         "protocols", "services", "ethers", "rpc", "netgroup", "aliases"))
    h.write(f"{IMAGE}/nsswitch.conf", hostile + "\n")
    # The host's own: modules that are loaded lazily, one of which is not there at all.
    host = observe.read("/etc/nsswitch.conf").replace("files systemd", "files systemd sss")
    h.write("/etc/nsswitch.conf", host + "initgroups: files systemd sss compat\n")


def before_each(h):
    h.policy(policy(defaults=f"rootfs = {IMAGE}\nlinger = 10s\n"))


def hostile_box(h):
    """A box whose root has put its own nsswitch.conf in place; returns a session in it."""
    s = h.session("alice")
    as_root(h, s.pid, "mount -t tmpfs none /etc && cat /nsswitch.conf > /etc/nsswitch.conf; "
                      "echo root:x:0:0:root:/root:/bin/sh > /etc/passwd; echo alice:x:1001:1001::/home/alice:/bin/sh >> /etc/passwd; "
                      "echo tty:x:5: > /etc/group; cat /etc/nsswitch.conf", ).check()
    return s


def markers(h, s):
    """The markers in the box of this session, as the host sees them."""
    root = f"/proc/{init_of(s.pid).pid}/root"
    return sorted({name for place in ("tmp", "run", "dev/shm") for name in os.listdir(f"{root}/{place}")
                   if name.startswith("evil")})


def by_ssh(h):
    for how in ({}, {"password": "alice-secret"}, {"tty": True}, {"tty": True, "password": "alice-secret"},
                {"password": "alice-secret", "method": "keyboard-interactive"}):
        h.ssh("alice", "echo in", **how).check()


def by_su(h):
    h.run(["su", "-", "alice", "-c", "echo in"]).check()
    h.run(["su", "alice", "-c", "echo in"]).check()
    h.run(["runuser", "-u", "alice", "--", "/bin/echo", "in"]).check()
    h.run(["runuser", "-", "alice", "-c", "echo in"]).check()


def by_sudo(h):
    h.run(["sudo", "-u", "alice", "/bin/echo", "in"]).check()
    h.run(["sudo", "-u", "alice", "-i", "/bin/echo", "in"]).check()


def by_login(h):
    t = h.pty(["login", "alice"])
    t.expect("assword: ")
    t.line("alice-secret")
    t.expect(r"\$ ")
    t.line("exit")
    t.drain()


def loaded(h, log_in):
    """Who loaded the box's modules while somebody logged in."""
    s = hostile_box(h)
    log_in(h)
    return markers(h, s)


@test
def without_the_defence_sshds_monitor_runs_the_boxs_code(h):
    with without(h, "nss"):
        found = loaded(h, by_ssh)
        assert any(m.startswith("evil-sshd") for m in found), f"sshd loaded nothing: {found}"
        for how in (by_su, by_sudo, by_login):
            print("#", how.__name__, loaded(h, how))
            h.settle()


@test
def sshd_runs_no_code_of_the_box(h):
    eq(loaded(h, by_ssh), [], "markers")


@test
def su_and_runuser_run_no_code_of_the_box(h):
    eq(loaded(h, by_su), [], "markers")


@test
def sudo_runs_no_code_of_the_box(h):
    eq(loaded(h, by_sudo), [], "markers")


@test
def login_runs_no_code_of_the_box(h):
    eq(loaded(h, by_login), [], "markers")


main(setup, before_each=before_each)
