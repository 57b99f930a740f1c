#!/usr/bin/python3 -B
"""What pam_open_session returns, says to the user and says to the administrator, to the letter."""

import contextlib
import os
import re
import shutil
import subprocess

from common import (ABORT, BOX_USERS, CALLER, EXEMPT, LIMIT, PERM_DENIED, POLICY, SESSION_ERR, SLACK, SUCCESS, SYSTEM_ERR,
                    argv_of, call, log_mark, opened, our_lines, restore, service, setup, unchanged)
import host
import observe
from observe import wait_until
from tap import contains, eq, main, test

ERROR_MSG = 3   # PAM_ERROR_MSG
EXECUTOR = "/root/systemd-executor"


def prepare(h):
    setup(h)
    shutil.copy(CALLER, EXECUTOR)
    h.append("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n")


# ------------------------------------------------------------ what is expected of an open

def let_alone(h, user, *options, **how):
    """Success, no word to anybody, nothing changed, nothing made."""
    mark = log_mark(h)
    state = observe.state_files()
    r = call(h, user, *options, "--close", **how)
    eq(r.code, SUCCESS, f"code for {user} ({r.messages})")
    eq(r.close, SUCCESS, f"code of close_session for {user}")
    unchanged(r)
    eq(r.messages, [], f"what {user} reads")
    eq(our_lines(h, mark), [], f"what is logged about {user}")
    wait_until(lambda: not observe.keepers() + observe.boxed(), 1, "no keeper and no box")
    eq(observe.state_files(), state, "files in /run/nsbox")


def refused(h, pattern, user="alice", *options, code=SYSTEM_ERR, but=(), **how):
    """The code, one line in the log, one sentence to the user, and the caller as it was."""
    mark = log_mark(h)
    r = call(h, user, *options, "--fresh", **how)
    eq(r.code, code, f"code for {user} ({r.messages})")
    eq(r.fresh, SUCCESS, "code of a close_session")
    assert r.took[0] < (LIMIT + SLACK) * 1e9, f"the open took {r.took[0] / 1e9:.1f} s"
    lines = our_lines(h, mark)
    eq(len(lines), 1, f"number of lines in the log, which are {lines}")
    assert re.search(pattern, lines[0]), f"no /{pattern}/ in the log's line: {lines[0]!r}"
    eq([style for style, _ in r.messages], [ERROR_MSG], f"styles of what {user} reads: {r.messages}")
    sentence = r.messages[0][1]
    assert re.fullmatch(r"nsbox: .{20,}\.", sentence), f"not a sentence: {sentence!r}"
    # Those who may not even be told apart have no state to compare.
    unchanged(r, but)
    h.wait_gone(2)
    return lines[0], sentence


@contextlib.contextmanager
def keeper(script, mode=0o755):
    """Another program in the keeper's place; None: none."""
    os.rename(host.KEEPER, host.KEEPER + ".away")
    try:
        if script is not None:
            h_write(host.KEEPER, script, mode)
        yield
    finally:
        if os.path.exists(host.KEEPER):
            os.unlink(host.KEEPER)
        os.rename(host.KEEPER + ".away", host.KEEPER)


def h_write(path, text, mode):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


@contextlib.contextmanager
def no_policy_directory():
    os.rename("/etc/nsbox", "/etc/nsbox.away")
    try:
        yield
    finally:
        os.rename("/etc/nsbox.away", "/etc/nsbox")


@contextlib.contextmanager
def policy_is_a_directory():
    os.unlink(host.CONF)
    os.mkdir(host.CONF)
    try:
        yield
    finally:
        os.rmdir(host.CONF)
        h_write(host.CONF, POLICY, 0o644)


@contextlib.contextmanager
def policy_of_somebody_else():
    os.chown(host.CONF, 1001, 1001)
    try:
        yield
    finally:
        os.chown(host.CONF, 0, 0)


@contextlib.contextmanager
def policy(h, text):
    h.policy(text)
    try:
        yield
    finally:
        h.policy(POLICY)


@contextlib.contextmanager
def full_run(h):
    used = os.statvfs("/run")
    h.run(f"mount -o remount,size={(used.f_blocks - used.f_bfree) * used.f_frsize + 65536} /run").check()
    try:
        with contextlib.suppress(OSError), open("/run/filler", "wb") as f:
            while True:
                f.write(b"x" * 4096)
                f.flush()
        yield
    finally:
        os.unlink("/run/filler")
        h.run("mount -o remount,size=2g /run").check()


@contextlib.contextmanager
def mounted_over(h, source, target):
    h.run(["mount", "--bind", source, target]).check()
    before, h.idle_mounts = h.idle_mounts, host.mounted_things()
    try:
        yield
    finally:
        h.run(["umount", target]).check()
        h.idle_mounts = before


def breakages(h):
    """(what, a context in which it is so, does it concern boxed users, and what the log then names)"""
    return [
        ("no keeper", keeper(None), "nsbox-keeper"),
        ("a keeper that cannot be executed", keeper("#!/bin/sh\n", 0o644), "nsbox-keeper.*Permission denied"),
        ("a keeper that ends", keeper("#!/bin/sh\nexit 1\n"), "keeper"),
        ("no policy directory", no_policy_directory(), None),
        ("an unreadable policy", policy_is_a_directory(), r"nsbox\.conf"),
        ("a policy that is not root's", policy_of_somebody_else(), r"nsbox\.conf"),
        ("a broken policy", policy(h, "nonsense\n" + POLICY), r"nsbox\.conf:1"),
        ("a broken [defaults]", policy(h, "[defaults]\nbogus = 1\n"), r"nsbox\.conf:2.*bogus"),
        ("fs.suid_dumpable = 1", mounted_over(h, h.write("/root/one", "1\n"), "/proc/sys/fs/suid_dumpable"),
         "suid_dumpable"),
    ]


# ------------------------------------------------------------ 0

@test
def root_gets_in_and_notices_nothing(h):
    for user in ("root", "toor"):
        let_alone(h, user)
        let_alone(h, user, "--fd0=pty", "--tty=/dev/tty1", "--rhost=example.org")


@test
def an_exempt_user_gets_in_and_notices_nothing(h):
    let_alone(h, "dave")
    service(h, "two", "exempt_group=nosuch exempt_group=admins")
    let_alone(h, "dave", service="two")
    service(h, "args", "bogus=1 exempt_group=admins")
    let_alone(h, "dave", service="args")


@test
def a_passed_user_gets_in_and_notices_nothing(h):
    let_alone(h, "carol")
    let_alone(h, "carol", "--fd0=pty")


@test
def whatever_is_broken_root_and_exempt_users_get_in(h):
    for what, context, _ in breakages(h):
        with context:
            for user in ("root", "dave"):
                try:
                    let_alone(h, user)
                except AssertionError as error:
                    raise AssertionError(f"with {what}: {error}") from None


@test
def with_a_full_run_root_and_exempt_users_get_in(h):
    with full_run(h):
        let_alone(h, "root")
        let_alone(h, "dave")
        r = call(h, "alice")
        assert r.code in (SUCCESS, SYSTEM_ERR), f"code for alice: {r.code}"
        if r.code:
            unchanged(r)
        wait_until(lambda: not observe.boxed() + observe.keepers() + observe.box_cgroups(), 2, "all is gone")
    h.wait_gone()
    opened(call(h, "alice"))
    h.wait_gone()


@test
def whatever_the_caller_is_root_exempt_and_passed_users_get_in(h):
    for user in ("root", "dave", "carol"):
        for options in (["--thread"], ["--fd0=dir"], ["--fd0=path"]):
            let_alone(h, user, *options)
        let_alone(h, user, caller=EXECUTOR)
    for user in ("root", "dave"):
        let_alone(h, user, "--userns")


@test
def a_boxed_user_gets_into_a_box(h):
    for user in BOX_USERS:
        r = call(h, user, "--run=exit 7", "--close")
        opened(r)
        eq((r.ran, r.close, r.end, r.messages), (7, 0, 0, []), "exit code of the command, close, end, messages")
        h.wait_gone()


@test
def a_stack_of_our_line_alone_says_success_for_each_control(h):
    for control in ("required", "requisite", "sufficient", "optional", "[success=ok ignore=bad default=die]"):
        service(h, "alone", EXEMPT, control=control)
        for user in ("root", "dave", "carol"):
            let_alone(h, user, service="alone")
        opened(call(h, "alice", service="alone"))
        h.wait_gone()


@test
def only_pam_user_counts(h):
    opened(call(h, "carol", "--pam-user=alice"))
    h.wait_gone()
    let_alone(h, "alice", "--pam-user=carol")
    let_alone(h, "alice", "--pam-user=root")
    refused(h, "mallory", "root", "--pam-user=mallory", code=PERM_DENIED)


@test
def a_session_inside_a_box_is_opened_by_doing_nothing(h):
    r = call(h, "alice", "--times=2", "--close")
    opened(r)
    eq((r.close, r.messages), (0, []), "close, messages")
    eq(len(r.took), 2, "opens")
    h.wait_gone()


# ------------------------------------------------------------ 6

@test
def a_denied_user_gets_permission_denied(h):
    line, sentence = refused(h, "mallory.*den", "mallory", code=PERM_DENIED)
    contains(sentence, "den", "what mallory reads")
    refused(h, "mallory.*den", "mallory", "--fd0=pty", code=PERM_DENIED)


@test
def a_denied_user_is_denied_while_another_has_a_box(h):
    with holding(h, "alice"):
        mark = log_mark(h)
        r = call(h, "mallory")
        eq(r.code, PERM_DENIED, "code")
        eq(len(our_lines(h, mark)), 1, f"lines in {our_lines(h, mark)}")


@test
def a_user_denied_meanwhile_is_denied_although_the_box_is_there(h):
    with holding(h, "alice"):
        h.policy(POLICY + "[user alice]\naction = deny\n")
        mark = log_mark(h)
        r = call(h, "alice")
        eq(r.code, PERM_DENIED, f"code ({r.messages})")
        unchanged(r)
        eq(len(our_lines(h, mark)), 1, f"lines in {our_lines(h, mark)}")


@contextlib.contextmanager
def holding(h, user):
    """A boxed session of the user meanwhile."""
    import subprocess
    p = h.start([CALLER, "--hold", "/root/pam.d", "only", user], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for line in p.stdout:
        if line == b"holding\n":
            break
    else:
        raise AssertionError(f"no session of {user}")
    try:
        yield p
    finally:
        p.stdin.close()
        p.wait(10)
        p.stdout.close()


# ------------------------------------------------------------ 4

@test
def whatever_is_broken_a_boxed_user_gets_a_system_error(h):
    problems = []
    for what, context, pattern in breakages(h):
        if pattern is None:
            continue
        with context:
            try:
                refused(h, pattern)
            except AssertionError as error:
                problems.append(f"with {what}: {error}")
    eq(problems, [], "problems")
    opened(call(h, "alice"))


@test
def a_broken_section_of_somebody_else_concerns_nobody(h):
    with policy(h, POLICY + "[user bob]\nbogus = 1\n"):
        opened(call(h, "alice"))
        h.wait_gone()
        let_alone(h, "carol")
        refused(h, r"bob.*nsbox\.conf:\d+", "bob")


@test
def a_threaded_caller_is_refused(h):
    refused(h, "thread", "alice", "--thread")


@test
def a_caller_with_a_directory_as_descriptor_0_is_refused(h):
    refused(h, "descriptor 0", "alice", "--fd0=dir")
    refused(h, "descriptor 0", "alice", "--fd0=path")


@test
def a_caller_that_execs_without_a_fork_is_refused(h):
    refused(h, "systemd-executor", "alice", caller=EXECUTOR)


@test
def a_caller_in_a_user_namespace_of_another_is_refused(h):
    refused(h, "user namespace", "alice", "--userns")


@test
def a_box_that_cannot_be_made_is_refused(h):
    with policy(h, POLICY + "[user alice]\nrootfs = /srv/nosuch\n"):
        refused(h, "/srv/nosuch")
    os.rename("/home/alice", "/home/alice.away")
    try:
        refused(h, "/home/alice")
    finally:
        os.rename("/home/alice.away", "/home/alice")


@test
def an_unknown_user_is_refused(h):
    refused(h, "no box for nosuch:.*user", "nosuch")
    refused(h, "user", "")


@test
def strange_names_are_refused(h):
    for name in ("x" * 300, "../x", "alice/../root", "alice\n", "%n%s%n", "-root", "\x1b[2J", "a" * 255):
        refused(h, "user", name)
        refused(h, "user", "root", f"--pam-user={name}")


@contextlib.contextmanager
def alias(h, name, uid, home):
    h.append("/etc/passwd", f"{name}:x:{uid}:{uid}::{home}:/bin/bash\n")
    try:
        yield
    finally:
        h.wait_gone()
        h._edit("/etc/passwd", lambda lines: [line for line in lines if not line.startswith(name + ":")])


@test
def an_alias_with_another_policy_is_refused(h):
    with alias(h, "alice2", 1001, "/home/alice"):
        refused(h, "alice2.*1001", "alice2")            # alice: box, alice2: pass
        with policy(h, POLICY + "[user alice2]\naction = deny\n"):
            assert call(h, "alice2").code in (SYSTEM_ERR, PERM_DENIED), "a denied alias"
        with policy(h, POLICY + "[user alice2]\naction = box\npids_max = 100\n"):
            refused(h, "alice2.*1001", "alice2")
        opened(call(h, "alice"))


@test
def an_alias_with_the_same_policy_gets_in(h):
    with alias(h, "alice2", 1001, "/home/alice"), policy(h, POLICY + "[user alice2]\naction = box\n"):
        opened(call(h, "alice2"))


@test
def an_alias_gets_in_when_both_names_are_passed(h):
    with alias(h, "carol2", h.users["carol"].uid, "/home/carol"):
        let_alone(h, "carol2")


@test
def a_wrong_argument_is_refused(h):
    for args, pattern in (("bogus=1", "bogus"), ("bogus", "bogus"), ("pids_max=many", "pids_max"),
                          ("action=", "action"), ("hostname=" + "x" * 900, "hostname"), ("x" * 900, "pam.d"),
                          (" ".join(f"k{i}=1" for i in range(70)), ".")):
        service(h, "wrong", f"{EXEMPT} {args}")
        refused(h, pattern, service="wrong")
        let_alone(h, "root", service="wrong")
        let_alone(h, "dave", service="wrong")


@test
def a_right_argument_counts(h):
    service(h, "denies", "action=deny")
    refused(h, "pam.d|argument", service="denies", code=PERM_DENIED)
    refused(h, "pam.d|argument", "carol", service="denies", code=PERM_DENIED)
    service(h, "passes", "action=pass")
    let_alone(h, "alice", service="passes")
    service(h, "boxes", "action=box")
    opened(call(h, "carol", service="boxes"))
    h.wait_gone()


@test
def over_long_items_are_refused(h):
    name = "s" * 200
    service(h, name, EXEMPT)
    refused(h, "service", service=name)
    let_alone(h, "root", service=name)
    refused(h, "remote host", "alice", "--rhost=" + "r" * 300)
    refused(h, "terminal", "alice", "--tty=" + "t" * 300)
    opened(call(h, "alice", "--rhost=" + "r" * 255, "--tty=" + "t" * 127))


@test
def a_group_that_does_not_exist_exempts_nobody(h):
    for args in ("exempt_group=nosuch", "exempt_group=", "exempt_group"):
        service(h, "nosuch", args)
        r = call(h, "dave", service="nosuch")
        assert r.code != SUCCESS or r.boxed, f"{args} lets dave out"
        h.wait_gone()


# ------------------------------------------------------------ all of the above

@test
def a_join_that_fails_half_way_leaves_nobody_the_hosts_root(h):
    """A caller may go on although we said that it must not: then it must be nobody of the host."""
    for name in ("setgroups", "setresgid", "setresuid"):
        p = h.start(["strace", "-q", "-o", "/root/trace", "-e", f"inject={name}:error=ENOMEM:when=1",
                     *argv_of("alice", "--hold")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        said = b""
        while not said.endswith(b"holding\n"):
            line = p.stdout.readline()
            assert line, f"the caller ended: {said.decode()}"
            said += line
        contains(said.decode(), f"code {ABORT}", "the caller")
        caller = [q for q in observe.processes() if q.ppid == p.pid][0]
        assert min(caller.uids) > 65535, f"{name}: uids {caller.uids}"
        assert min(int(g) for g in caller.status["Gid"].split()) > 65535, f"{name}: gids {caller.status['Gid']}"
        eq(caller.status["Groups"].split(), [], f"{name}: groups")
        eq(int(caller.status["CapPrm"], 16), 0, f"{name}: capabilities")
        p.stdin.close()
        p.wait(5)
        p.stdout.close()
        h.wait_gone()


@test
def an_environment_that_pam_does_not_take_ends_the_session_with_a_word(h):
    """It comes after the join, so it is not to be taken back."""
    h.write("/root/full.c", "int pam_putenv(void *p, const char *e) { (void)p; (void)e; return 5; }\n")
    h.run("gcc -shared -fPIC -o /root/full.so /root/full.c").check()
    mark = log_mark(h)
    r = call(h, "alice", prefix=["env", "LD_PRELOAD=/root/full.so"])
    eq(r.code, ABORT, f"code ({r.messages})")
    eq(r.messages, [(ERROR_MSG, "nsbox: this session cannot be opened: PAM does not take XDG_RUNTIME_DIR=/run/user/1001.")],
       "messages")
    eq(len(our_lines(h, mark)), 1, "lines in the log")


@test
def no_failure_is_the_one_that_sudo_ignores(h):
    for user in ("alice", "mallory", "nosuch"):
        with keeper(None):
            assert call(h, user).code not in (SUCCESS, SESSION_ERR), user


main(prepare, before_each=restore)
