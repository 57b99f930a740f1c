#!/usr/bin/python3 -B
"""su, sudo, runuser, login and cron: what worked before works inside the box; who is left alone, is."""

import os
import shutil

from common import DISK, DOCKER, LOOK, PROMPT, clean_homes, contains, eq, in_box, on_host, setup
import observe
from observe import wait_until
from tap import main, test


# ------------------------------------------------------------ su, sudo, runuser, login, cron

@test
def su_as_a_login_shell(h):
    r = h.run(["su", "-", "alice", "-c", f"id -un; pwd; {LOOK}"]).check()
    contains(r.out, "alice\n/home/alice\n")
    in_box(r.out)


@test
def su_without_a_login_shell(h):
    r = h.run(["su", "alice", "-c", f"id -un; {LOOK}"], cwd="/").check()
    contains(r.out, "alice\n")
    in_box(r.out)


@test
def su_on_a_terminal(h):
    t = h.pty(["su", "-", "alice"])
    t.expect(PROMPT)
    contains(t.ask("tty"), "/dev/")
    contains(t.ask("ls -l $(tty)"), "alice", "owner of the terminal")
    look = t.ask(LOOK)
    t.line("exit 3")
    eq(t.drain(), 3, "exit code")
    in_box(look)


@test
def su_by_another_user_with_the_password(h):
    t = h.pty(["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", "su", "-", "alice"], cwd="/")
    t.expect("Password:")
    t.line("alice-secret")
    t.expect(PROMPT)
    eq(t.ask("id -un"), "alice", "user")
    look = t.ask(LOOK)
    t.line("exit")
    eq(t.drain(), 0, "exit code")
    in_box(look)


@test
def sudo_as_a_login_shell(h):
    r = h.run(["sudo", "-u", "alice", "-i", "sh", "-c", f"id -un; pwd; {LOOK}"]).check()
    contains(r.out, "alice\n/home/alice\n")
    in_box(r.out)


@test
def sudo_of_one_command(h):
    r = h.run(["sudo", "-u", "alice", "sh", "-c", f"id -un; {LOOK}"], cwd="/").check()
    contains(r.out, "alice\n")
    in_box(r.out)


@test
def sudo_on_a_terminal(h):
    t = h.pty(["sudo", "-u", "alice", "-i"])
    t.expect(PROMPT)
    eq(t.ask("id -un"), "alice", "user")
    look = t.ask(LOOK)
    t.line("exit 5")
    eq(t.drain(), 5, "exit code")
    in_box(look)


@test
def sudo_by_another_user(h):
    t = h.pty(["setpriv", "--reuid", "1003", "--regid", "1003", "--init-groups", "sudo", "-u", "alice", "-i"], cwd="/")
    t.expect(PROMPT)
    eq(t.ask("id -un"), "alice", "user")
    look = t.ask(LOOK)
    t.line("exit")
    t.drain()
    in_box(look)


@test
def sudo_on_a_terminal_that_it_makes_and_on_ours(h):
    for word in ("use_pty", "!use_pty"):
        h.write("/etc/sudoers.d/pty", f"Defaults {word}\n", 0o440)
        t = h.pty(["sudo", "-u", "alice", "sh", "-c", f"tty; ls -l $(tty); {LOOK}"])
        eq(t.drain(), 0, f"exit code with {word}")
        contains(t.output, "/dev/pts-", f"tty with {word}")
        contains(t.output, " alice ", f"owner of the terminal with {word}")
        in_box(t.output)
        os.close(t.fd)
        t.fd = -1
    os.unlink("/etc/sudoers.d/pty")


@test
def runuser_as_a_login_shell(h):
    r = h.run(["runuser", "-l", "alice", "-c", f"id -un; pwd; {LOOK}"]).check()
    contains(r.out, "alice\n/home/alice\n")
    in_box(r.out)


@test
def runuser_of_one_command(h):
    r = h.run(["runuser", "-u", "alice", "--", "sh", "-c", f"id -un; {LOOK}"], cwd="/").check()
    contains(r.out, "alice\n")
    in_box(r.out)


@test
def login_on_a_terminal_with_the_password(h):
    t = h.pty(["login", "alice"])
    t.expect("Password:")
    t.line("alice-secret")
    t.expect(PROMPT, 15)
    eq(t.ask("id -un; pwd"), "alice\n/home/alice", "user and directory")
    contains(t.ask("ls -l $(tty)"), "alice", "owner of the terminal")
    look = t.ask(LOOK)
    t.line("exit")
    eq(t.drain(), 0, "exit code")
    in_box(look)


@test
def login_with_a_wrong_password_asks_again(h):
    t = h.pty(["login", "alice"])
    t.expect("Password:")
    t.line("wrong")
    t.expect("Login incorrect", 15)


@test
def cron_runs_the_job_of_a_user(h):
    crontab(h, "alice", f"(id -un; {LOOK}) > out 2>&1; mv out done")
    wait_until(lambda: os.path.exists("/home/alice/done"), 10, "the job has run")
    out = observe.read("/home/alice/done")
    contains(out, "alice\n")
    in_box(out)


def crontab(h, user, command):
    path = h.write(f"/var/spool/cron/crontabs/{user}", f"@reboot {command}\n", 0o600)
    shutil.chown(path, user, "crontab")
    for marker in ("/run/crond.reboot", "/run/crond.pid"):
        if os.path.exists(marker):
            os.unlink(marker)
    h.start(["cron", "-f"])


# ------------------------------------------------------------ host groups

def hold_by(h, caller):
    """A session of alice by this caller; the pid in it."""
    if caller == "sshd":
        return h.session("alice").pid
    if caller == "login":
        t = h.pty(["login", "-f", "alice"])
        t.expect(PROMPT, 15)
        t.line("NSBOX_COOKIE=login exec cat")
        return wait_until(lambda: observe.with_environment("NSBOX_COOKIE=login"), 5, "cat runs")[0]
    if caller == "cron":
        crontab(h, "alice", "NSBOX_COOKIE=cron exec sleep 1000")
        return wait_until(lambda: [p for p in observe.with_environment("NSBOX_COOKIE=cron")
                                   if observe.read(f"/proc/{p}/comm") == "sleep\n"], 5, "the job runs")[0]
    argv = {"su": ["su", "-", "alice", "-c"], "sudo": ["sudo", "-u", "alice", "-i", "sh", "-c"],
            "runuser": ["runuser", "-l", "alice", "-c"]}[caller]
    return h.hold(lambda command: argv + [command]).pid


def no_host_groups(h, caller):
    p = observe.Process(hold_by(h, caller))
    box_parents = [a for a in observe.ancestors(p.pid) if a.boxed]
    for q in [p, *box_parents]:
        host_groups = {g for g in [*q.groups, *q.gids] if g < 65536}
        eq(host_groups, set(), f"host groups of {q}")
    inside = {g for g in p.groups}
    base_docker = observe.to_host(p.pid, DOCKER, "gid")
    base_disk = observe.to_host(p.pid, DISK, "gid")
    assert {base_docker, base_disk} <= inside, f"docker and disk are not among the box's groups: {p.groups}"


@test
def no_group_of_the_host_comes_along_with_ssh(h):
    no_host_groups(h, "sshd")


@test
def no_group_of_the_host_comes_along_with_su(h):
    no_host_groups(h, "su")


@test
def no_group_of_the_host_comes_along_with_sudo(h):
    no_host_groups(h, "sudo")


@test
def no_group_of_the_host_comes_along_with_runuser(h):
    no_host_groups(h, "runuser")


@test
def no_group_of_the_host_comes_along_with_login(h):
    no_host_groups(h, "login")


@test
def no_group_of_the_host_comes_along_with_cron(h):
    no_host_groups(h, "cron")


# ------------------------------------------------------------ who is left alone

def unaffected(h, user):
    on_host(h.ssh(user, LOOK).check().out)
    on_host(h.ssh(user, LOOK, tty=True).check().out)
    for argv in (["su", "-", user, "-c", LOOK], ["su", user, "-c", LOOK], ["runuser", "-l", user, "-c", LOOK],
                 ["sudo", "-u", user, "-i", "sh", "-c", LOOK], ["sudo", "-u", user, "sh", "-c", LOOK]):
        on_host(h.run(argv, cwd="/").check().out)
    t = h.pty(["login", "-f", user])
    t.expect(PROMPT, 15)
    on_host(t.ask(LOOK))
    eq(observe.keepers() + observe.boxed(), [], "keepers and boxes")


@test
def root_notices_nothing(h):
    unaffected(h, "root")


@test
def another_name_of_uid_0_notices_nothing(h):
    h.add_user("toor", 0, 0, groups=["nsbox"], home="/root", make_home=False)
    on_host(h.ssh("toor", LOOK).check().out)
    on_host(h.run(["su", "-", "toor", "-c", LOOK]).check().out)


@test
def a_user_who_is_passed_notices_nothing(h):
    unaffected(h, "carol")


@test
def a_member_of_the_exempt_group_notices_nothing(h):
    unaffected(h, "dave")


@test
def a_user_who_is_passed_keeps_their_groups_and_environment(h):
    ask_ = "id; umask; ulimit -a; env | grep -v -e ^SSH_ -e ^_="
    boxed = h.ssh("carol", ask_).check().out
    h.disable("sshd")
    try:
        eq(boxed, h.ssh("carol", ask_).check().out, "id, limits and environment")
    finally:
        h.enable("sshd", "exempt_group=admins")


@test
def sudo_to_root_by_an_unboxed_user_stays_on_the_host(h):
    on_host(h.run(["setpriv", "--reuid", "1003", "--regid", "1003", "--init-groups", "sudo", "-i", "sh", "-c", LOOK],
                  cwd="/").check().out)


main(setup, before_each=clean_homes)
