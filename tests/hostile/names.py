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
    as_root(h, s.pid, "mount -t tmpfs none /etc && cat /nsswitch.conf > /etc/nsswitch.conf && "
                      "echo 'root:x:0:0:root:/root:/bin/sh' > /etc/passwd && "
                      "echo 'alice:x:1001:1001::/home/alice:/bin/sh' >> /etc/passwd && "
                      "echo 'root:x:0:' > /etc/group").check()
    return s


def markers(h, s):
    """The markers in the box of this session, as the host sees them."""
    root = f"/proc/{init_of(s.pid).pid}/root"
    assert os.path.exists(f"{root}/nsswitch.conf"), "the box has not the image as its root"
    return sorted({name for place in ("tmp", "run", "dev/shm") for name in os.listdir(f"{root}/{place}")
                   if name.startswith("evil")})


def by_ssh(h, **how):
    h.ssh("alice", "echo in", **how).check()


SSH = ({}, {"password": "alice-secret"}, {"tty": True}, {"tty": True, "password": "alice-secret"},
       {"password": "alice-secret", "method": "keyboard-interactive"})
SU = (["su", "-", "alice", "-c", "echo in"], ["su", "alice", "-c", "echo in"],
      ["runuser", "-u", "alice", "--", "/bin/echo", "in"], ["runuser", "-", "alice", "-c", "echo in"])
SUDO = (["sudo", "-u", "alice", "/bin/echo", "in"], ["sudo", "-u", "alice", "-i", "/bin/echo", "in"])


def by_commands(h, commands, tty):
    for argv in commands:
        if tty:
            h.pty(argv).expect("in\r?\n")
        else:
            h.run(argv).check()


def by_login(h):
    t = h.pty(["login", "alice"])
    t.expect("assword: ")
    t.line("alice-secret")
    t.expect(r"\$ ")
    t.line("exit")
    t.drain()


def loaded(h, log_in, *args, **how):
    """Who loaded the box's modules while somebody logged in; the box is gone then."""
    s = hostile_box(h)
    before = markers(h, s)
    log_in(h, *args, **how)
    found = markers(h, s)
    h.settle()
    return [m for m in found if m not in before]


def loaded_by(found, program):
    return any(m.startswith(f"evil-{program}-uid0") for m in found)


@test(timeout=180)
def sshd_runs_no_code_of_the_box_by_key_or_password_with_or_without_a_pty(h):
    with without(h, "nss"):
        for how in SSH:
            found = loaded(h, by_ssh, **how)
            assert loaded_by(found, "sshd"), f"without the defence, {how}: sshd loads nothing: {found}"
    for how in SSH:
        eq(loaded(h, by_ssh, **how), [], f"markers with {how}")


@test
def login_runs_no_code_of_the_box(h):
    with without(h, "nss"):
        found = loaded(h, by_login)
        assert loaded_by(found, "login"), f"without the defence, login loads nothing: {found}"
    eq(loaded(h, by_login), [], "markers")


# These ask for no new name after the join by themselves; a PAM module that stands behind ours may.
def behind_us(h, *services):
    module = "/usr/local/lib/security/pam_ask.so"
    h.run(["gcc", "-shared", "-fPIC", "-O1", "-o", module, f"{HERE}/probe/pam_ask.c", "-lpam"]).check()
    for service in services:
        h.append("/etc/pam.d/" + service, f"session optional {module}\n")


@test
def su_and_runuser_run_no_code_of_the_box(h):
    behind_us(h, "su", "su-l", "runuser", "runuser-l")
    with without(h, "nss"):
        found = loaded(h, by_commands, SU, tty=False)
        for program in ("su", "runuser"):
            assert loaded_by(found, program), f"without the defence, {program} loads nothing: {found}"
    for tty in (False, True):
        eq(loaded(h, by_commands, SU, tty=tty), [], "markers")


@test
def sudo_runs_no_code_of_the_box(h):
    behind_us(h, "sudo", "sudo-i")
    with without(h, "nss"):
        found = loaded(h, by_commands, SUDO, tty=False)
        assert loaded_by(found, "sudo"), f"without the defence, sudo loads nothing: {found}"
    for tty in (False, True):
        eq(loaded(h, by_commands, SUDO, tty=tty), [], "markers")


main(setup, before_each=before_each)
