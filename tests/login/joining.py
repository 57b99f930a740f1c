#!/usr/bin/python3 -B
"""How sessions join: one box for all of them, everything of the caller as it should be."""

import os

from common import LOOK, all_differ, block, contains, eq, in_box, looked, only_init, policy, restore, setup
import observe
from observe import wait_until
from tap import lacks, main, test

# ------------------------------------------------------------ one box

@test
def later_sessions_join_the_box_of_the_first(h):
    first = observe.nsinos(h.session("alice").pid)
    for argv in (["su", "-", "alice", "-c", LOOK], ["sudo", "-u", "alice", "-i", "sh", "-c", LOOK],
                 ["runuser", "-l", "alice", "-c", LOOK], h.ssh_argv("alice", LOOK), h.ssh_argv("alice", LOOK, tty=True)):
        eq(in_box(h.run(argv).check().out), first, f"namespaces of {argv[0]}")
    only_init(h)
    eq(len(observe.keepers()), 1, "keepers")


@test
def sessions_see_each_others_processes_and_files(h):
    s = h.session("alice")
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))
    contains(h.ssh("alice", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep ^NSBOX_COOKIE").out, s.cookie)
    h.ssh("alice", "echo shared > /tmp/shared").check()
    eq(h.run(["su", "-", "alice", "-c", "cat /tmp/shared"]).out, "shared\n", "file in /tmp")


@test(timeout=120)
def fifty_logins_at_the_same_moment_make_one_box(h):
    sessions = [h.session("alice", wait=False, timeout=60) for _ in range(50)]
    for s in sessions:
        s.ready()
    found = {tuple(observe.nsinos(s.pid).items()) for s in sessions}
    eq(len(found), 1, "different sets of namespaces")
    all_differ(dict(found.pop()), observe.nsinos("self"))
    only_init(h)
    eq(len(observe.keepers()), 1, "keepers")
    for s in sessions:
        s.close()
    h.wait_gone(5)


@test(timeout=120)
def fifty_logins_of_ten_users_make_ten_boxes(h):
    names = [f"many{n}" for n in range(10)]
    for n, name in enumerate(names):
        h.add_user(name, 1300 + n, groups=["nsbox"])
    sessions = {name: [h.session(name, wait=False, timeout=60) for _ in range(5)] for name in names}
    users_ns = set()
    for name, theirs in sessions.items():
        found = {observe.ns_inode(s.ready().pid, "user") for s in theirs}
        eq(len(found), 1, f"boxes of {name}")
        users_ns |= found
    eq(len(users_ns), 10, "boxes")
    blocks = sorted(block(theirs[0].pid) for theirs in sessions.values())
    for (base, size), (following, _) in zip(blocks, blocks[1:]):
        assert base + size <= following, f"blocks overlap: {blocks}"


@test
def fifty_su_at_the_same_moment_make_one_box(h):
    running = [h.start(["su", "-", "alice", "-c", f"{LOOK}; sleep 1"], stdout=-1) for _ in range(50)]
    looks = [looked(p.communicate(timeout=60)[0].decode()) for p in running]
    eq([p.returncode for p in running], [0] * 50, "exit codes")
    eq(len({look["user"] for look in looks}), 1, "boxes")
    all_differ(looks[0], observe.nsinos("self"))


@test
def scope_session_gives_each_session_its_box(h):
    h.policy(policy(defaults="scope = session\n"))
    a, b = h.session("alice"), h.session("alice")
    all_differ(observe.nsinos(a.pid), observe.nsinos(b.pid), "shared by two sessions")
    a.close()
    wait_until(lambda: len(observe.inits()) == 1, 3, "the first box is gone")
    os.kill(b.pid, 0)


@test
def a_login_under_a_changed_policy_gets_a_new_box_and_the_old_one_drains(h):
    a = h.session("alice")
    h.policy(policy(defaults="pty_max = 32\n"))
    b = h.session("alice")
    all_differ(observe.nsinos(a.pid), observe.nsinos(b.pid), "shared by the old and the new box")
    eq(observe.nsinos(h.session("alice").pid), observe.nsinos(b.pid), "a third session joins the new box")
    eq(a.popen.poll(), None, "the old session's exit code")
    a.close()
    wait_until(lambda: len(observe.inits()) == 1, 3, "the old box is gone")


@test
def a_group_taken_from_the_user_is_gone_at_the_next_login(h):
    h.join_groups("alice", [("secret-project", 1700)])
    a = h.session("alice")
    contains(h.ssh("alice", "id -Gn").out, "secret-project")
    h.leave_group("alice", "secret-project")
    out = h.ssh("alice", f"id -Gn; {LOOK}").check().out
    lacks(out, "secret-project", "groups")
    all_differ(looked(out), observe.nsinos(a.pid), "shared with the old box")


@test
def a_service_with_another_policy_does_not_share_the_box(h):
    h.enable("sudo", "exempt_group=admins net=host")
    try:
        a = h.session("alice")
        look = looked(h.run(["sudo", "-u", "alice", "sh", "-c", LOOK], cwd="/").check().out)
        assert look["user"] != observe.ns_inode(a.pid, "user"), "one box for two policies"
        eq(look["net"], observe.ns_inode("self", "net"), "network namespace")
    finally:
        h.enable("sudo", "exempt_group=admins")


@test
def a_stack_that_names_the_module_twice_opens_one_box(h):
    h.enable("su-l", "exempt_group=admins")     # which includes su, where it is already
    try:
        in_box(h.run(["su", "-", "alice", "-c", LOOK]).check().out)
    finally:
        h.disable("su-l")


# ------------------------------------------------------------ what comes along and what does not

@test
def a_descriptor_of_the_caller_does_not_come_along(h):
    for argv in (["su", "-", "alice", "-c"], ["runuser", "-l", "alice", "-c"], ["sudo", "-C", "200", "-u", "alice", "sh", "-c"]):
        command = f"ls -l /proc/self/fd; cat /proc/self/fd/77/hostname /proc/self/fd/77/../etc/hostname; {LOOK}"
        fd = os.open("/etc", os.O_RDONLY)
        os.dup2(fd, 77, inheritable=True)
        try:
            r = h.run(argv + [command], pass_fds=[77], cwd="/")
        finally:
            os.close(fd)
            os.close(77)
        lacks(r.out, "throwaway", f"what {argv[0]} leads to")
        lacks(r.out, " 77 ->", f"descriptors under {argv[0]}")
        in_box(r.out)


# Runs a program with the directory /etc as descriptor argv[1], opened with O_PATH if argv[2] says so.
WITH_DIRECTORY = """\
import os, sys
fd = os.open("/etc", os.O_PATH if sys.argv[2] == "path" else os.O_RDONLY)
os.dup2(fd, int(sys.argv[1]))
os.execvp(sys.argv[3], sys.argv[3:])
"""


@test
def a_directory_as_a_standard_descriptor_is_refused(h):
    in_box(h.run(["su", "-", "alice", "-c", LOOK]).check().out)
    h.write("/root/with-directory.py", WITH_DIRECTORY)
    for caller in (["su", "-", "alice", "-c"], ["runuser", "-l", "alice", "-c"]):
        for fd in "012":
            for how in ("read", "path"):
                mark = h.log_mark()
                r = h.run(["python3", "/root/with-directory.py", fd, how, *caller, "touch came-in"])
                assert not os.path.exists("/home/alice/came-in"), f"ran with a directory as descriptor {fd}: {r}"
                assert r.code != 0, r
                h.wait_for_log("nsbox.*(descriptor|directory)", since=mark)
    h.wait_gone()


@test
def the_callers_directory_does_not_come_along(h):
    s = h.hold(lambda command: ["su", "alice", "-c", command])
    for p in observe.boxed():
        lacks(os.readlink(f"/proc/{p.pid}/cwd"), "/work", f"directory of {p}")
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))


@test
def a_terminal_of_the_host_works_inside_and_is_given_back(h):
    t = h.pty(["sh", "-c", "tty; ls -ln $(tty); su - alice; ls -ln $(tty)"])
    name = t.expect(r"/dev/pts/\d+")[0]
    before = t.expect(r"c\S+ +\d+ (\d+) +(\d+) .*\r\n")
    t.expect(r"\$ ")
    inside = t.ask("tty")
    contains(inside, "/dev/", "name of the terminal inside")
    contains(t.ask("python3 -c 'import os; print(os.ttyname(0))'"), inside, "ttyname")
    contains(t.ask(f"ls -l {inside}"), "alice", "owner inside")
    eq(os.stat(name).st_uid, observe.to_host(only_init(h).pid, 1001), "owner on the host")
    contains(t.ask("echo written > $(tty)"), "written", "writing to the terminal by its name")
    look = t.ask(LOOK)
    t.line("exit")
    after = t.expect(r"c\S+ +\d+ (\d+) +(\d+) .*\r\n")
    t.drain()
    eq(after.groups(), before.groups(), "owner and group after the session")
    in_box(look)


@test
def the_terminal_goes_back_to_its_owner_when_the_caller_is_killed(h):
    t = h.pty(["sh", "-c", "tty; su - alice; echo shell goes on; cat"])
    name = t.expect(r"/dev/pts/\d+")[0]
    t.expect(r"\$ ")
    look = t.ask(LOOK)
    os.kill([p.pid for p in observe.processes() if p.name == "su"][0], 9)
    t.expect("shell goes on")
    wait_until(lambda: os.stat(name).st_uid == 0, 3, "the terminal is root's again")
    in_box(look)


@test
def tmux_works_under_su(h):
    t = h.pty(["su", "-", "alice"])
    t.expect(r"\$ ")
    look = t.ask(LOOK)
    t.line("TERM=xterm tmux -f /dev/null new-session -s under-su")
    t.expect(r"\[under-su\]")
    t.line("exit")
    t.expect(r"\[exited\]")
    in_box(look)


@test
def the_keeper_starts_clean_whatever_the_caller_is_like(h):
    kind, most = ("-", "4000000000") if observe.may_raise_limits() else ("soft", "4000000000:unlimited")
    h.write("/etc/security/limits.d/alice.conf", "".join(f"alice {kind} {item}\n" for item in (
        "nofile 100", "nproc 40", "fsize 1000", "core 0", "stack 4096")) + "alice - nice 5\n")
    try:
        s = h.hold(lambda command: ["nice", "-n", "7", "env", "MARK=of-the-caller", "prlimit", f"--as={most}", "sh", "-c",
                                    "umask 077; exec 8</etc/passwd; trap '' HUP PIPE; exec su - alice -c \"$1\"", "sh", command])
        keeper = observe.keepers()[0]
        eq(observe.nsinos(keeper.pid), observe.nsinos(1), "namespaces")
        lacks(observe.read(f"/proc/{keeper.pid}/environ"), "of-the-caller", "environment")
        eq(keeper.status.get("Seccomp", "0").strip(), "0", "Seccomp")
        eq(keeper.uids, [0] * 4, "uids")
        limits = observe.read(f"/proc/{keeper.pid}/limits")
        theirs = observe.read("/proc/1/limits")
        eq([line for line in limits.splitlines() if line not in theirs.splitlines()], [], "limits that are not pid 1's")
        eq(os.getpriority(os.PRIO_PROCESS, keeper.pid), 0, "nice value")
        eq(os.readlink(f"/proc/{keeper.pid}/cwd"), "/", "directory")
        targets = [os.readlink(f"/proc/{keeper.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{keeper.pid}/fd")]
        lacks(targets, "/etc/passwd", "descriptors")
        assert not any(t.startswith("/dev/pts") for t in targets), f"a terminal: {targets}"
        assert keeper.ppid == 1, f"a child of {keeper.ppid}"
        all_differ(observe.nsinos(s.pid), observe.nsinos(1))
    finally:
        os.unlink("/etc/security/limits.d/alice.conf")


@test
def a_caller_in_namespaces_of_its_own_gets_the_same_box(h):
    first = observe.nsinos(h.session("alice").pid)
    alone = ["unshare", "--mount", "--net", "--uts", "--ipc", "sh", "-c",
             "mount -t tmpfs of-the-caller /home && mount -t tmpfs of-the-caller /tmp && exec su - alice -c \"$1\"", "sh"]
    eq(in_box(h.run(alone + [LOOK]).check().out), first, "namespaces")
    h.settle()
    out = h.run(alone + [f"ls -a; cat /proc/self/mounts; {LOOK}"]).check().out      # now it starts the keeper too
    contains(out, ".bashrc", "the home")
    lacks(out, "of-the-caller", "mounts of the box")
    in_box(out)


@test
def the_users_limits_hold_inside(h):
    h.write("/etc/security/limits.d/alice.conf", "alice - nofile 123\nalice - nproc 77\n")
    try:
        out = h.ssh("alice", f"ulimit -n; ulimit -u; {LOOK}").check().out
        eq(out.split()[:2], ["123", "77"], "ulimit -n, -u")
        in_box(out)
    finally:
        os.unlink("/etc/security/limits.d/alice.conf")


@test
def the_keeper_leaves_the_cgroup_of_the_caller(h):
    os.makedirs("/sys/fs/cgroup/pids/service", exist_ok=True)
    try:
        s = h.hold(lambda command: ["sh", "-c", "echo $$ > /sys/fs/cgroup/pids/service/cgroup.procs; exec su - alice -c \"$1\"",
                                    "sh", command])
        for keeper in observe.keepers():
            lacks(observe.cgroups_of(keeper.pid)["pids"], "service", f"cgroup of {keeper}")
        eq(observe.read("/sys/fs/cgroup/pids/service/cgroup.procs"), "", "processes left in the caller's cgroup")
        s.close()
        h.wait_gone()
    finally:
        h.settle()
        os.rmdir("/sys/fs/cgroup/pids/service")


@test
def the_session_is_still_in_the_hosts_log(h):
    mark = h.log_mark()
    s = h.session("alice")
    s.close()
    h.wait_for_log(r"sshd.*session opened for user alice", since=mark)
    h.wait_for_log(r"nsbox.*alice", since=mark)


@test
def a_user_cannot_forge_lines_of_the_hosts_log(h):
    mark = h.log_mark()
    s = h.session("alice")
    h.ssh("alice", "logger -t sshd 'Accepted publickey for root'; "
                   "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
                   "s.connect(\"/dev/log\"); s.send(b\"<38>sshd[1]: Accepted publickey for root\")'")
    s.close()
    h.wait_gone()
    lacks(h.log_since(mark), "publickey for root", "log")


main(setup, before_each=restore)
