#!/usr/bin/python3 -B
"""What comes along with a caller, or stays in it: descriptors, keys, groups, ids, memory."""

import os
import re
import subprocess

from common import (DISK, DOCKER, HERE, SECRET, as_root, both, box_base, give_probe, prepare, restore, without)
import observe
from observe import wait_until
from tap import eq, lacks, main, test

MARK = "host-marker-" + "5f1c"


def setup(h):
    prepare("cloexec", "keyring", ("keyring", "seccomp"), "seccomp", "groups", "deprivilege", "dumpable")(h)
    h.write("/etc/host-marker", MARK + "\n")
    h.write("/etc/sudoers.d/test", "Defaults closefrom_override\n", 0o440)


# ------------------------------------------------------------ descriptors

READ_7 = "cat /proc/self/fd/7/host-marker; ls -d /proc/self/fd/7/../work; echo asked"
CALLERS = {
    "su": ["su", "alice", "-c", READ_7],
    "su -": ["su", "-", "alice", "-c", READ_7],
    "runuser": ["runuser", "-u", "alice", "--", "sh", "-c", READ_7],
    "runuser -": ["runuser", "-", "alice", "-c", READ_7],
    "sudo -C": ["sudo", "-C", "9", "-u", "alice", "sh", "-c", READ_7],
}


def with_7(h, argv):
    """The caller run with a directory of the host open at 7."""
    r = h.run(["bash", "-c", 'exec 7</etc; exec "$@"', "bash", *argv])
    assert "asked" in r.out, f"the session did not run: {r}"
    return MARK in r.out


def with_7_on_a_terminal(h):
    t = h.pty(["bash", "-c", "exec 7</etc; exec login -f alice"])
    t.expect(r"\$ ")
    out = t.ask(READ_7)
    assert "asked" in out, out
    t.close()
    return MARK in out


@test
def an_open_directory_of_the_host_is_no_way_out(h):
    with without(h, "cloexec"):
        for name, argv in CALLERS.items():
            assert with_7(h, argv), f"{name}: without the defence the descriptor should lead out"
    for name, argv in CALLERS.items():
        assert not with_7(h, argv), f"{name}: an inherited descriptor leads out of the box"
    # login closes what it inherits by itself, in Debian's version.
    assert not with_7_on_a_terminal(h), "login: an inherited descriptor leads out of the box"


@test
def a_directory_as_standard_input_is_refused(h):
    for fd in (0, 1, 2):
        r = h.run(["bash", "-c", f"exec {fd}</etc; exec su alice -c 'ls /proc/self/fd/{fd}/ >/dev/tty; touch ~/ran'"])
        assert r.code != 0, f"descriptor {fd}: {r}"
        assert not os.path.exists("/home/alice/ran"), f"descriptor {fd}: the command ran"


@test
def no_descriptor_of_the_host_is_open_in_the_session(h):
    r = h.run(["bash", "-c", "exec 7</etc 8</dev/null 9<>/root/x 20</proc; exec su alice -c 'ls -l /proc/self/fd'"]).check()
    numbers = {int(n) for n in re.findall(r" (\d+) -> ", r.out)}
    assert numbers <= {0, 1, 2, 3}, r.out   # 3 is ls's own


@test
def the_working_directory_stays_outside(h):
    for argv in (["su", "alice", "-c", "pwd; ls; ls .."], ["runuser", "-u", "alice", "--", "sh", "-c", "pwd; ls; ls .."],
                 ["sudo", "-u", "alice", "sh", "-c", "pwd; ls; ls .."]):
        r = h.run(argv, cwd="/etc")
        for name in ("host-marker", "work"):
            assert name not in r.out.split(), f"the host is seen: {r}"


# ------------------------------------------------------------ keys

# add_key(2), keyctl(2) by number: 248, 250 on x86-64. "su": put a key into a new session keyring, then run.
KEYS = """\
import ctypes, os, sys
call = ctypes.CDLL(None, use_errno=True).syscall
call.restype = ctypes.c_long
if sys.argv[1] == "su":
    call(250, 1, None)
    print(call(248, b"user", b"nsbox-test", b"TOPSECRET", 9, ctypes.c_int(-3)), flush=True)
    os.execvp(sys.argv[2], sys.argv[2:])
key = call(250, 10, ctypes.c_int(-3), b"user", b"nsbox-test", 0)
text = ctypes.create_string_buffer(64)
print("read", call(250, 11, ctypes.c_long(key), text, 64), text.value.decode())
print("update", call(250, 2, ctypes.c_long(key), b"CHANGED", 7), os.strerror(ctypes.get_errno()))
"""


@test
def the_session_keyring_of_the_caller_is_not_the_boxs(h):
    """A keyring of its own, and no call to look at one: either suffices. (su -l has pam_keyinit in Debian.)"""
    h.write("/root/keys.py", KEYS)
    h.home_file("alice", "keys.py", KEYS)

    def attack(h):
        r = h.run(["python3", "/root/keys.py", "su", "su", "alice", "-c", "python3 ~/keys.py read"])
        assert "read " in r.out and int(r.out.split()[0]) > 0, r
        return "TOPSECRET" in r.out
    both(h, ("keyring", "seccomp"), attack)


@test
def every_process_of_a_box_has_a_keyring_that_holds_no_key_of_the_host(h):
    h.write("/root/keys.py", KEYS)
    h.start(["python3", "/root/keys.py", "su", "su", "alice", "-c", "NSBOX_COOKIE=keys exec sleep 20"])
    pid = wait_until(lambda: observe.with_environment("NSBOX_COOKIE=keys"), 10, "sleep runs")[0]
    # Looked at with the box's own eyes, but without its filter: nsenter keeps the keyring of the test,
    # so the kernel's list for the ids of the box is what counts.
    keys = as_root(h, pid, "umount /proc/keys; cat /proc/keys").out
    lacks(keys, "nsbox-test", "keys that the box sees")


# ------------------------------------------------------------ groups and ids

def held(h, argv):
    s = h.hold(lambda command: [*argv, command])
    return s.pid, s.caller.pid


def by_callers(h):
    yield "su", *held(h, ["su", "-", "alice", "-c"])
    yield "runuser", *held(h, ["runuser", "-", "alice", "-c"])


@test
def groups_of_the_host_are_not_left_in_the_credentials(h):
    def attack(h):
        found = set()
        for name, pid, caller in by_callers(h):
            for p in (observe.Process(pid), observe.Process(caller)):
                found |= {DISK, DOCKER} & set(p.groups)
        return found == {DISK, DOCKER}

    def any_left(h):
        return [p for name, pid, caller in by_callers(h) for p in map(observe.Process, (pid, caller))
                if {g for g in p.groups + p.gids if not box_base(pid) <= g < box_base(pid) + 65536 + 1024}]
    both(h, "groups", attack)
    eq(any_left(h), [], "processes with a group of the host")


@test
def the_caller_is_not_root_of_the_host(h):
    def attack(h):
        return [name for name, pid, caller in by_callers(h) if 0 in observe.Process(caller).uids]
    both(h, "deprivilege", attack)
    s = h.session("alice")
    eq(observe.Process(s.caller.pid).uids, [box_base(s.pid)] * 4, "uids of sshd's monitor")


@test
def the_joined_caller_opens_neither_core_pattern_nor_a_file_of_roots(h):
    """A PAM module behind ours has what the join left to the caller. box root has taken the read-only
    mount off /proc/sys before, so that only the caller's ids are in the way."""
    module, core_pattern = "/usr/local/lib/security/pam_try.so", "w:/proc/sys/kernel/core_pattern"
    h.run(["gcc", "-shared", "-fPIC", "-O1", "-o", module, f"{HERE}/probe/pam_try.c"]).check()
    secret = h.write("/usr/local/etc/secret", SECRET + "\n", 0o600)
    h.append("/etc/pam.d/su", f"session optional {module} {core_pattern} {secret}\n")

    def outcome(h):
        pid, _ = held(h, ["runuser", "-", "alice", "-c"])
        as_root(h, pid, "umount /proc/sys").check()
        r = h.run(["su", "alice", "-c", "true"])
        h.settle()
        found = dict(re.findall(r"=> (\S+): (\w+)", r.out))
        eq(sorted(found), sorted([core_pattern, secret]), f"what the module tried: {r}")
        return found
    both(h, "deprivilege", lambda h: set(outcome(h).values()) == {"ok"})
    eq(set(outcome(h).values()), {"EACCES"}, "results")


# ------------------------------------------------------------ memory

def ways(text):
    return dict(re.findall(r"^(\w+): (\w+)$", text, re.M))


@test
def box_root_reaches_nothing_of_init(h):
    def outcome(h):
        path = give_probe(h, "alice", "peek")
        s = h.session("alice")
        found = ways(as_root(h, s.pid, f"{path} 1").out)
        s.close()
        eq(len(found), 8, f"ways that were tried: {found}")
        return found

    def attack(h):
        found = outcome(h)
        return {"mem", "fd"} <= {w for w, r in found.items() if r == "ok"}
    both(h, "dumpable", attack)
    eq({w: r for w, r in outcome(h).items() if r == "ok"}, {}, "ways into init")


def watched_logins(h, logins, names):
    """What box root reaches while people log in: (ways that worked, attempts)."""
    path = give_probe(h, "alice", "peek")
    s = h.session("alice")
    watcher = h.start(["nsenter", "-t", str(s.pid), "-a", "-r", "-w", "-S", "0", "-G", "0", path, "watch", *names],
                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    eq(watcher.stdout.readline(), b"watching\n", "the watcher")
    logins(h)
    out = watcher.communicate(b"x", timeout=20)[0].decode()
    s.close()
    return re.findall(r"^reached (.*)$", out, re.M), int(observe.field(out, r"tried (\d+)"))


def many_logins(h):
    argv = h.ssh_argv("alice", "true")
    for _ in range(4):
        running = [h.start(argv) for _ in range(5)]
        for p in running:
            eq(p.wait(30), 0, "exit code of ssh")
    for _ in range(5):
        h.run(["su", "alice", "-c", "true"]).check()


@test(timeout=180)
def box_root_reaches_nothing_of_sshd_while_people_log_in(h):
    """The child after authentication is a copy of the monitor, with the host's private keys, until it execs.

    setuid() makes it undumpable in any case; before, only the module's prctl does.
    """
    names = ("sshd", "sshd-session", "su")
    with without(h, "dumpable"):
        for _ in range(8):      # a race that box root need not win in the first twenty logins
            reached, tried = watched_logins(h, many_logins, names)
            if reached:
                break
        assert reached, f"without the defence box root should reach a child of sshd (tried {tried})"
    reached, tried = watched_logins(h, many_logins, names)
    assert tried > 0, "no child of sshd was seen"
    eq(reached, [], f"what box root reached in {tried} attempts")


@test
def a_session_without_exec_is_not_reached_either(h):
    """internal-sftp runs in the copy of the monitor for as long as the session lasts."""
    h.sshd(Subsystem="sftp internal-sftp")
    path = give_probe(h, "alice", "peek")
    s = h.session("alice")
    sftp = h.start(["sftp", "-q", "-l", "1", "alice@127.0.0.1"], stdin=subprocess.PIPE)

    def find():
        return [p for p in observe.boxed() if p.name.startswith("sshd") and len(p.nspid) > 1
                and p.uids[1] == box_base(s.pid) + 1001]
    procs = wait_until(lambda: len(find()) >= 2 and find(), 10, "sftp-server and the child of the session run")
    for p in procs:
        found = ways(as_root(h, s.pid, f"{path} {p.nspid[-1]}").out)
        eq({w: r for w, r in found.items() if r == "ok"}, {}, f"ways into {p}")
        found = ways(h.enter(s.pid, path, str(p.nspid[-1]), uid=1001).out)
        eq({w: r for w, r in found.items() if r == "ok"}, {}, f"ways into {p} for the user")
    sftp.kill()


main(setup, before_each=restore)
