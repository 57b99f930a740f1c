#!/usr/bin/python3 -B
"""What the policy gives a session beside its box: words, limits, environment, and its traces in the host's logs."""

import contextlib
import os
import re
import shutil

from common import LOOK, contains, eq, in_box, on_host, policy, restore, setup
import observe
from observe import wait_until
from tap import lacks, main, test


# ------------------------------------------------------------ deny_message, log_only

@test
def a_denied_user_reads_the_administrators_words_and_the_log_has_the_reason(h):
    h.policy(policy("[user alice]\naction = deny\ndeny_message = Closed until Monday, %u.\n"))
    mark = h.log_mark()
    r = h.ssh("alice", "echo came-in")
    assert r.code != 0, "a denied user got in"
    lacks(r.out, "came-in", "output")
    contains(h.run(["su", "-", "alice", "-c", "true"]).err, "Closed until Monday, alice.", "what su says")
    h.wait_for_log(r"no box for alice: the policy denies it: .*nsbox\.conf:\d+", since=mark)


@test
def log_only_says_what_would_happen_and_does_nothing(h):
    h.policy(policy("[user alice]\nlog_only = yes\n"))
    mark = h.log_mark()
    on_host(h.ssh("alice", LOOK).check().out)
    h.wait_for_log(r"pam_nsbox\(sshd:session\): alice: .*log_only", since=mark)
    eq(observe.boxed(), [], "boxed processes")


@test
def log_only_lets_in_whom_the_policy_would_deny_or_cannot_box(h):
    for extra, word in (("action = deny\n", "den"), ("rootfs = /no/such\n", "box")):
        h.policy(policy(f"[user alice]\nlog_only = yes\n{extra}"))
        mark = h.log_mark()
        on_host(h.ssh("alice", LOOK).check().out)
        h.wait_for_log(rf"alice: .*{word}", since=mark)


# ------------------------------------------------------------ nofile, umask, env

@test
def nofile_is_the_limit_of_every_session_soft_and_hard(h):
    h.policy(policy("[user alice]\nnofile = 123\n"))
    for argv in (h.ssh_argv("alice", "ulimit -Sn -Hn; ulimit -Sn; ulimit -Hn"),
                 ["su", "-", "alice", "-c", "ulimit -Sn; ulimit -Hn"]):
        out = h.run(argv).check().out.split()
        eq(out[-2:], ["123", "123"], f"limits with {argv[0]}")


@test
def a_caller_that_was_refused_keeps_its_limit(h):
    h.policy(policy("[user alice]\nnofile = 123\nrootfs = /no/such\n"))
    before = h.run(["sh", "-c", "ulimit -Sn; ulimit -Hn"]).out
    out = h.run(["sh", "-c", "su - alice -c true; ulimit -Sn; ulimit -Hn"]).out
    contains(out, before, "limits after a refused su")


@test
def umask_is_the_policys(h):
    h.policy(policy("[user alice]\numask = 027\n"))
    for argv in (h.ssh_argv("alice", "umask"), ["su", "alice", "-c", "umask"]):
        eq(h.run(argv).check().out.strip(), "0027", f"umask with {argv[0]}")


@test
def without_the_keys_limit_and_umask_are_the_callers(h):
    want = h.ssh("carol", "umask; ulimit -Sn; ulimit -Hn").check().out
    eq(h.ssh("alice", "umask; ulimit -Sn; ulimit -Hn").check().out, want, "umask and limits in the box")


@test
def env_reaches_the_session(h):
    h.policy(policy("[user alice]\nenv = LAB=physics WORK=/srv/%u/%U EDITOR=nano\n"))
    for argv in (h.ssh_argv("alice", "env"), h.ssh_argv("alice", "env", tty=True)):
        out = h.run(argv).check().out.replace("\r", "")
        for line in ("LAB=physics", "WORK=/srv/alice/1001", "EDITOR=nano", "XDG_RUNTIME_DIR=/run/user/1001"):
            contains(out.splitlines(), line)
    contains(h.run(["su", "alice", "-c", "env"]).check().out, "LAB=physics")


# ------------------------------------------------------------ record_login

def who(h):
    return h.run(["who", "-a"]).check().out


def last(h):
    return h.run(["last", "-w", "-i", "-f", "/var/log/wtmp"]).check().out


def entry(h, user):
    """The line of who(1) about this user, or None."""
    return next((line for line in h.run(["who"]).out.splitlines() if line.split()[0] == user), None)


@test
def who_and_last_show_a_boxed_session_from_its_begin_to_its_end(h):
    s = h.session("alice")
    line = wait_until(lambda: entry(h, "alice"), 5, "who shows alice")
    contains(line, "127.0.0.1", "remote host")
    contains(line, f"sshd:{s.caller.pid}", "line")
    assert re.search(r"alice\s+sshd:\d+\s+127\.0\.0\.1\s+.*(still logged in|gone - no logout)", last(h)), last(h)
    s.close()
    wait_until(lambda: not entry(h, "alice"), 5, "who does not show alice any more")
    assert re.search(r"alice\s+sshd:\d+\s+127\.0\.0\.1\s+.*\(00:0\d\)", last(h)), last(h)
    contains(h.run(["lastlog", "-u", "alice"]).check().out, "127.0.0.1", "lastlog")


@test
def who_and_last_inside_know_the_box_alone(h):
    h.start(h.ssh_argv("bob", "sleep 100", tty=True))
    t = h.ssh("alice", "who; last -w", tty=True).check().out
    assert re.search(r"alice\s+pts/0\s", t), t
    lacks(t, "bob", "who inside")


@test
def su_sudo_and_cron_are_no_logins(h):
    os.truncate("/var/log/wtmp", 0)
    h.run(["su", "-", "alice", "-c", "true"]).check()
    h.run(["sudo", "-u", "alice", "-i", "true"]).check()
    h.wait_gone()
    lacks(last(h), "alice", "wtmp")


@test
def record_login_no_records_nothing(h):
    os.truncate("/var/log/wtmp", 0)
    h.policy(policy("[user alice]\nrecord_login = no\n"))
    h.ssh("alice", "true").check()
    h.wait_gone()
    lacks(last(h), "alice", "wtmp")


@test
def what_a_killed_keeper_left_in_utmp_the_next_login_ends(h):
    s = h.session("alice")
    stale = wait_until(lambda: entry(h, "alice"), 5, "who shows alice").split()[1]
    os.kill(observe.keepers()[0].pid, 9)
    wait_until(lambda: not observe.boxed(), 5, "the box is gone")
    h.ssh("alice", "true").check()
    wait_until(lambda: stale not in h.run(["who"]).out, 5, "the stale entry is gone")
    s.drop()


@test
def where_the_host_keeps_no_records_none_are_made(h):
    for name in ("/run/utmp", "/var/log/wtmp", "/var/log/lastlog"):
        os.rename(name, name + ".away")
    try:
        in_box(h.ssh("alice", LOOK).check().out)
        h.wait_gone()
        for name in ("/run/utmp", "/var/log/wtmp", "/var/log/lastlog"):
            assert not os.path.exists(name), f"{name} was made"
    finally:
        for name in ("/run/utmp", "/var/log/wtmp", "/var/log/lastlog"):
            os.rename(name + ".away", name)


# ------------------------------------------------------------ log

def logger(h, pid, text, uid=0):
    """Sends one datagram to the box's /dev/log as box root or another id of the box."""
    code = f"import socket; s = socket.socket(1, 2); s.connect('/dev/log'); s.send({text!r})"
    return h.enter(pid, "python3", "-c", code, uid=uid or None)


@test
def a_line_of_box_root_arrives_on_the_host_with_its_box_named(h):
    s = h.session("alice")
    mark = h.log_mark()
    logger(h, s.pid, b"<38>Nov 22 01:02:03 sshd[36]: pam_unix(sshd:session): hello").check()
    h.wait_for_log(r"nsbox\[alice\]: sshd\[36\]: pam_unix\(sshd:session\): hello", since=mark)


@test
def what_sshd_and_su_say_after_the_join_arrives(h):
    mark = h.log_mark()
    h.start(h.ssh_argv("alice", "sleep 100"))
    child = wait_until(lambda: [p for p in observe.boxed() if p.cmdline == "sleep 100"], 5, "the session runs")[0]
    os.kill(child.ppid, 9)      # sshd's child of the user: its monitor says so
    h.wait_for_log(r"nsbox\[alice\]: sshd(-session)?\[\d+\]: .*", since=mark)


@test
def a_session_on_a_terminal_fills_no_log(h):
    mark = h.log_mark()
    h.ssh("alice", "true", tty=True).check()
    h.wait_gone()
    said = [line for line in h.log_since(mark).splitlines() if "nsbox[alice]" in line]
    eq([line for line in said if "session closed" not in line], [], "lines of the box")


@test
def no_control_character_and_no_second_line_gets_through(h):
    s = h.session("alice")
    mark = h.log_mark()
    logger(h, s.pid, b"<38>one\nsshd[1]: Accepted publickey for root\x1b[2Jend").check()
    line = h.wait_for_log(r"nsbox\[alice\]: one", since=mark)
    assert "\n" not in str(line).strip(), line
    lacks([x[:4] for x in h.log_since(mark).splitlines()], "sshd", "begins of lines")
    contains(h.log_since(mark), "one?sshd[1]: Accepted publickey for root?[2Jend")


@test
def the_user_cannot_write_to_the_log(h):
    s = h.session("alice")
    mark = h.log_mark()
    r = h.ssh("alice", "python3 -c 'import socket; s = socket.socket(1, 2); s.connect(\"/dev/log\"); s.send(b\"<38>sshd[1]: forged\")'; "
              "logger forged")
    contains(r.err, "PermissionError")
    h.ssh("bob", "true").check()
    h.wait_for_log(r"session closed for user bob|bob: box .* opened", since=mark)
    lacks(h.log_since(mark), "forged", "the host's log")
    s.close()


@test
def a_flood_is_cut_and_said_and_the_keeper_lives(h):
    s = h.session("alice")
    mark = h.log_mark()
    code = ("import socket\ns = socket.socket(1, 2); s.connect('/dev/log')\n"
            "for i in range(3000): s.send(b'<38>flood %d' % i)")
    h.enter(s.pid, "python3", "-c", code).check()
    eq(h.ssh("alice", "echo in").out, "in\n", "a login beside the flood")
    # The host's syslog may lose some, but none that comes after the first thousand gets there.
    numbers = [int(n) for n in re.findall(r"flood (\d+)", h.log_since(mark))]
    assert numbers and max(numbers) < 1000, f"{len(numbers)} lines, up to {max(numbers, default=None)}"
    s.close()


@test
def log_none_gives_no_dev_log(h):
    h.policy(policy("[user alice]\nlog = none\n"))
    eq(h.ssh("alice", "ls /dev/log 2>/dev/null").out, "", "/dev/log")


# ------------------------------------------------------------ nsbox list

def listed(h):
    lines = h.run(["nsbox", "list"]).check().out.splitlines()
    return [line.split()[-1] for line in lines[1:]]


@test
def list_marks_a_box_whose_policy_changed(h):
    s = h.session("alice")
    eq(listed(h), ["same"], "POLICY")
    h.policy(policy("[user alice]\nenv = A=1\n"))
    eq(listed(h), ["changed"], "POLICY after a change")
    t = h.session("alice")
    eq(sorted(listed(h)), ["changed", "same"], "POLICY of the old and the new box")
    h.policy(policy("[user bob]\nenv = A=1\n[user alice]\nenv = A=1\n"))
    eq(sorted(listed(h)), ["changed", "same"], "POLICY after a change that does not concern alice")
    s.close()
    t.close()


# ------------------------------------------------------------ what ends a session from outside

def logind_says(h, name, state):
    """As logind does: a new file, renamed."""
    h.write(f"/run/systemd/sessions/.{name}", f"# This is private data. Do not parse.\nUID=1001\nUSER=alice\nSTATE={state}\n")
    os.rename(f"/run/systemd/sessions/.{name}", f"/run/systemd/sessions/{name}")


@contextlib.contextmanager
def logind(h):
    """Sessions have an XDG_SESSION_ID before our module is asked, as pam_systemd gives it."""
    os.makedirs("/run/systemd/sessions", exist_ok=True)
    logind_says(h, "c7", "active")
    before = observe.read("/etc/environment")
    h.write("/etc/environment", "XDG_SESSION_ID=c7\n")     # pam_env's, in Debian's stack of sshd
    try:
        yield
    finally:
        h.write("/etc/environment", before)
        shutil.rmtree("/run/systemd/sessions")


@test
def loginctl_terminate_session_ends_it(h):
    with logind(h):
        s = h.session("alice")
        logind_says(h, "c7", "online")
        h.ssh("bob", "true").check()
        eq(h.enter(s.pid, "true").code, 0, "the session goes on")
        logind_says(h, "c7", "closing")
        wait_until(lambda: not observe.boxed(), 8, "the box is gone")
        s.drop()


@test
def a_session_that_logind_forgets_ends(h):
    with logind(h):
        s = h.session("alice")
        os.unlink("/run/systemd/sessions/c7")
        wait_until(lambda: not observe.boxed(), 8, "the box is gone")
        s.drop()


@test
def a_removed_user_s_box_ends(h):
    h.add_user("eve", 1777, groups=["nsbox"])
    s = h.session("eve")
    t = h.session("alice")
    h.run(["userdel", "--force", "eve"])
    wait_until(lambda: [p for p in observe.inits()] and len(observe.inits()) == 1, 5, "eve's box is gone")
    h.wait_for_log("eve is no user any more")
    t.close()
    s.drop()


main(setup, before_each=restore)
