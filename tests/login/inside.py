#!/usr/bin/python3 -B
"""What a boxed session has: its /etc, the programs that must work, and how little it may do."""

import os
import re

from common import LOOK, as_root, contains, eq, get_in, in_box, policy, restore, setup
import observe
from observe import to_host
from tap import lacks, main, test

# Linux capability numbers.
KEPT = {0: "chown", 1: "dac_override", 3: "fowner", 4: "fsetid", 5: "kill", 6: "setgid", 7: "setuid",
        8: "setpcap", 10: "net_bind_service", 18: "sys_chroot", 29: "audit_write", 31: "setfcap"}
NEVER = {16: "sys_module", 17: "sys_rawio", 19: "sys_ptrace", 21: "sys_admin", 22: "sys_boot", 25: "sys_time",
         27: "mknod", 32: "mac_override", 33: "mac_admin", 34: "syslog", 39: "bpf"}


def caps(pid, which):
    mask = int(observe.Process(pid).status[which].strip(), 16)
    return {n for n in range(41) if mask >> n & 1}


# ------------------------------------------------------------ /etc

@test
def etc_names_no_other_user(h):
    out = h.ssh("alice", "cat /etc/passwd /etc/group; getent passwd; getent group").check().out
    for name in ("bob", "carol", "dave"):
        assert not re.search(rf"^[^#]*\b{name}\b", out, re.M), f"{name} is named in:\n{out}"
    for line in ("root:x:0:0:", "alice:x:1001:1001:", "students:x:1600:"):
        contains(out, line)


@test
def no_secret_of_the_host_can_be_read_even_by_root_of_the_box(h):
    h.write("/root/secret", "secret-of-the-host", 0o600)
    h.write("/etc/secret", "secret-of-the-host", 0o644)
    h.write("/var/lib/secret", "secret-of-the-host", 0o644)
    h.write("/run/secret", "secret-of-the-host", 0o644)
    key = observe.read("/etc/ssh/ssh_host_ed25519_key").splitlines()[1]
    s = h.session("alice")
    for user in ("root", "alice"):
        command = ("cat /etc/shadow /etc/gshadow /etc/shadow- /etc/ssh/ssh_host_* /root/secret /etc/secret /var/lib/secret "
                   "/run/secret /etc/sudoers /etc/nsbox/nsbox.conf; ls -A /root; find / -xdev -name secret")
        out = (as_root(h, s.pid, command) if user == "root" else h.ssh("alice", command)).out
        for secret in ("secret-of-the-host", "$5$", key, "NOPASSWD", "action"):
            lacks(out, secret, f"what {user} reads")


@test
def etc_is_not_stale(h):
    get_in(h)
    h.append("/etc/services", "nsbox-first 4711/tcp\n")
    contains(h.ssh("alice", "cat /etc/services").out, "nsbox-first", "/etc/services")
    h.wait_gone()
    h.append("/etc/services", "nsbox-second 4712/tcp\n")
    contains(h.ssh("alice", "cat /etc/services").out, "nsbox-second", "/etc/services in the next box")


@test
def etc_belongs_to_root_of_the_box_and_the_user_cannot_change_it(h):
    get_in(h)
    out = h.ssh("alice", "stat -c '%u %n' /etc /etc/passwd /etc/ssh/ssh_config; touch /etc/made; echo x >> /etc/passwd").out
    eq({line.split()[0] for line in out.splitlines()}, {"0"}, "owners")
    s = h.session("alice")
    eq(os.path.exists(f"/proc/{s.pid}/root/etc/made"), False, "/etc/made")


@test
def names_come_from_files_only(h):
    out = h.ssh("alice", "grep -v '^#' /etc/nsswitch.conf").check().out
    for line in out.splitlines():
        if ":" in line:
            database, services = line.split(":", 1)
            allowed = {"files", "dns"} if database == "hosts" else {"files"}
            assert set(services.split()) <= allowed, line


# ------------------------------------------------------------ programs

@test
def ssh_inside_accepts_its_configuration(h):
    get_in(h)
    contains(h.ssh("alice", "ssh -G somewhere").check().out, "hostname somewhere")


@test
def git_works(h):
    get_in(h)
    contains(h.ssh("alice", "rm -rf g && git init -q g && cd g && git config user.email a@b && git config user.name A && "
                            "echo x > f && git add f && git commit -q -m done && git log --format=%s").check().out, "done")


@test
def python_works(h):
    get_in(h)
    r = h.ssh("alice", "python3 -c 'import os, pwd, tempfile, multiprocessing as m; m.Semaphore(); "
                       "print(pwd.getpwuid(os.getuid()).pw_name, tempfile.mkdtemp())'").check()
    contains(r.out, "alice /tmp/")


@test
def less_and_vim_work_on_a_terminal(h):
    get_in(h)
    t = h.pty(h.ssh_argv("alice", tty=True))
    t.expect(r"\$ ")
    t.line("seq 500 | less")
    t.expect(r"\b20\b")
    t.send("G")
    t.expect(r"\b500\b")
    t.send("q")
    t.expect(r"\$ ")
    t.line("vim -u NONE -c 'normal ihello from vim' -c wq note")
    t.expect("written")
    t.expect(r"\$ ")
    eq(observe.read("/home/alice/note"), "hello from vim\n", "file written by vim")


@test
def tmux_works_and_another_session_finds_it(h):
    get_in(h)
    t = h.pty(h.ssh_argv("alice", tty=True))
    t.expect(r"\$ ")
    t.line("TERM=xterm tmux -f /dev/null new-session -s work")
    t.expect(r"\[work\]")
    t.line("echo in-$((40+2))-tmux")
    t.expect("in-42-tmux")
    contains(h.ssh("alice", "tmux list-sessions; tmux send-keys -t work exit Enter").check().out, "work:")
    t.expect(r"\[exited\]")


# ------------------------------------------------------------ privilege

@test
def the_caller_keeps_no_host_root_and_few_capabilities(h):
    s = h.session("alice")
    caller = s.caller
    eq(caller.uids, [to_host(s.pid, 0)] * 4, "uids of sshd's monitor")
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        got = caps(caller.pid, which)
        eq(got & set(NEVER), set(), f"{which} of sshd's monitor")
    assert set(KEPT) >= caps(caller.pid, "CapEff"), f"CapEff {caps(caller.pid, 'CapEff')}"


@test
def the_session_has_no_capabilities_and_a_reduced_bounding_set(h):
    s = h.session("alice")
    for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        eq(caps(s.pid, which), set(), which)
    eq(caps(s.pid, "CapBnd") & set(NEVER), set(), "CapBnd")


@test
def every_boxed_process_is_under_the_seccomp_filter(h):
    h.session("alice")
    assert len(observe.boxed()) >= 4, "init, monitor, post-auth child and the session are boxed"
    for p in observe.boxed():
        eq(p.status["Seccomp"].strip(), "2", f"Seccomp of {p}")


@test
def the_monitor_and_the_post_auth_child_are_not_dumpable(h):
    s = h.session("alice")
    chain = [a for a in observe.ancestors(s.pid) if a.boxed]
    eq([a.name for a in chain], ["sshd", "sshd"], "the boxed sshds")
    for a in chain:
        eq(os.stat(f"/proc/{a.pid}/environ").st_uid, 0, f"owner of /proc/{a.pid}: not 0 when dumpable")
    child = chain[0].nspid[-1]
    for file in ("mem", "environ", "maps", "fd", "root", "cwd"):
        r = as_root(h, s.pid, f"ls -L /proc/{child}/{file}/ >/dev/null || head -c 1 /proc/{child}/{file}")
        assert r.code != 0 or not r.out, f"/proc/{child}/{file} can be read by root of the box: {r}"


@test
def a_session_cannot_make_user_namespaces(h):
    before = observe.read("/proc/sys/user/max_user_namespaces")
    r = h.ssh("alice", f"{LOOK}; unshare -Ur id -u")
    in_box(r.out)
    assert r.code != 0, "unshare -Ur worked"
    eq(observe.read("/proc/sys/user/max_user_namespaces"), before, "the host's limit")


@test
def caps_and_no_new_privs_come_from_the_policy(h):
    h.policy(policy(defaults="no_new_privs = yes\n"))
    s = h.session("alice")
    eq(observe.Process(s.pid).status["NoNewPrivs"].strip(), "1", "NoNewPrivs")
    s.close()
    h.wait_gone()
    h.policy(policy(defaults="no_new_privs = no\n"))
    eq(observe.Process(h.session("alice").pid).status["NoNewPrivs"].strip(), "0", "NoNewPrivs")


@test
def the_session_keyring_of_the_caller_stays_outside(h):
    h.write("/root/keys.py", KEYS)
    serial = h.run(["python3", "/root/keys.py", "add"]).out.strip()
    assert int(serial) > 0, serial
    script = h.write("/home/alice/keys.py", KEYS)
    r = h.run(["python3", "/root/keys.py", "su", "su", "-", "alice", "-c", f"python3 {script} read; {LOOK}"])
    lacks(r.out, "TOPSECRET", "what was read inside")
    in_box(r.out)


# add_key(2), keyctl(2) by number: 248, 250 on x86-64. "su": put a key into a new session keyring, then run.
KEYS = """\
import ctypes, os, sys
call = ctypes.CDLL(None, use_errno=True).syscall
call.restype = ctypes.c_long
def add(): return call(248, b"user", b"nsbox-test", b"TOPSECRET", 9, ctypes.c_int(-3))
if sys.argv[1] == "add":
    print(add())
elif sys.argv[1] == "su":
    call(250, 1, None)
    add()
    os.execvp(sys.argv[2], sys.argv[2:])
else:
    key = call(250, 10, ctypes.c_int(-3), b"user", b"nsbox-test", 0)
    text = ctypes.create_string_buffer(64)
    print(key, call(250, 11, ctypes.c_long(key), text, 64), text.value.decode(), os.strerror(ctypes.get_errno()))
"""


@test
def every_line_of_proc_self_cgroup_begins_at_the_boxs_root(h):
    s = h.session("alice")
    ours = {ctrl for ctrl, path in observe.cgroups_of(s.pid).items() if path.startswith("/nsbox")}
    contains(ours, "pids", "hierarchies with a cgroup of the box")
    for line in h.ssh("alice", "cat /proc/self/cgroup").check().out.splitlines():
        _, ctrl, path = line.split(":", 2)
        lacks(path, "nsbox", line)
        if ctrl in ours:
            eq(path, "/", f"cgroup seen inside for {ctrl}")


main(setup, before_each=restore)
