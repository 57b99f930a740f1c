#!/usr/bin/python3 -B
"""The nsbox command: list, run, stop, explain."""

import os
import re

from common import LOOK, POLICY, all_differ, contains, eq, get_in, in_box, looked, policy, restore, setup
import observe
from observe import wait_until
from tap import lacks, main, test


def nsbox(h, *argv, **how):
    return h.run(["nsbox", *argv], **how)


# ------------------------------------------------------------ in general

@test
def help_is_short_and_names_every_verb(h):
    r = nsbox(h, "--help").check()
    for verb in ("list", "run", "stop", "explain"):
        contains(r.out, verb)
    eq(r.err, "", "stderr")


@test
def an_unknown_verb_is_a_usage_error(h):
    r = nsbox(h, "frobnicate")
    assert r.code not in (0, 1), f"exit code {r.code}"
    contains(r.err, "frobnicate", "stderr")
    eq(r.out, "", "stdout")


@test
def a_user_who_does_not_exist_is_an_error(h):
    for argv in (["run", "nobody-is-this", "--", "true"], ["stop", "nobody-is-this"], ["explain", "nobody-is-this"]):
        r = nsbox(h, *argv)
        assert r.code != 0, f"{argv}: {r}"
        contains(r.err, "nobody-is-this", f"stderr of {argv}")


@test
def an_ordinary_user_cannot_run_or_stop_boxes(h):
    s = h.session("alice")
    as_carol = ["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", "nsbox"]
    for argv in (["run", "alice", "--", "id"], ["stop", "alice"]):
        r = h.run(as_carol + argv, cwd="/")
        assert r.code != 0 and "uid=" not in r.out, f"{argv}: {r}"
    os.kill(s.pid, 0)
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))


# ------------------------------------------------------------ list

@test
def list_without_boxes_names_nobody(h):
    r = nsbox(h, "list").check()
    for user in ("alice", "bob", "carol"):
        lacks(r.out, user)


@test
def list_names_each_user_with_a_box(h):
    h.session("alice")
    h.session("alice")
    h.session("bob")
    out = nsbox(h, "list").check().out
    eq(sum("alice" in line for line in out.splitlines()), 1, f"lines with alice in:\n{out}")
    eq(sum("bob" in line for line in out.splitlines()), 1, f"lines with bob in:\n{out}")
    lacks(out, "carol")
    line = [line for line in out.splitlines() if "alice" in line][0]
    contains(line.split(), "2", "alice's line (two sessions)")
    lacks(out, "\x1b", "no colour without a terminal")


@test
def list_forgets_a_box_that_ended(h):
    s = h.session("alice")
    contains(nsbox(h, "list").out, "alice")
    s.close()
    h.wait_gone()
    lacks(nsbox(h, "list").check().out, "alice")


@test
def list_survives_a_killed_keeper(h):
    s = h.session("alice")
    os.kill(observe.keepers()[0].pid, 9)
    wait_until(lambda: s.popen.poll() is not None, 5, "the session has ended")
    lacks(nsbox(h, "list", timeout=10).check().out, "alice")


# ------------------------------------------------------------ run

@test
def run_runs_a_command_in_a_box_as_the_user(h):
    r = nsbox(h, "run", "alice", "--", "sh", "-c", f"id -un; pwd; hostname; echo $HOME; {LOOK}").check()
    eq(r.out.split()[:4], ["alice", "/home/alice", "alice", "/home/alice"], "user, directory, hostname, HOME")
    in_box(r.out)
    h.wait_gone()


@test
def run_passes_streams_and_the_exit_code(h):
    r = nsbox(h, "run", "alice", "--", "sh", "-c", "cat; echo complaint >&2; exit 42", input="question")
    eq((r.code, r.out, r.err), (42, "question", "complaint\n"), "code, stdout, stderr")
    eq(nsbox(h, "run", "alice", "--", "sh", "-c", "kill -TERM $$").code, 128 + 15, "of a command that died of SIGTERM")
    eq(nsbox(h, "run", "alice", "--", "/no/such/program").code, 127, "of a command that is not there")


@test
def run_joins_the_box_that_is_there(h):
    first = observe.nsinos(h.session("alice").pid)
    eq(looked(nsbox(h, "run", "alice", "--", "sh", "-c", LOOK).check().out), first, "namespaces")


@test
def run_uses_no_pam(h):
    os.rename("/etc/pam.d", "/etc/pam.d.away")
    try:
        in_box(nsbox(h, "run", "alice", "--", "sh", "-c", LOOK).check().out)
    finally:
        os.rename("/etc/pam.d.away", "/etc/pam.d")


@test
def run_boxes_a_user_whom_the_policy_passes(h):
    r = nsbox(h, "run", "carol", "--", "sh", "-c", f"id -un; {LOOK}")
    if r.code == 0:
        contains(r.out, "carol")
        in_box(r.out)
    else:
        contains(r.err, "carol", "stderr")      # refusing is right too: what is wrong is the host
        eq(r.out, "", "stdout")


@test
def run_is_under_the_same_limits_as_a_session(h):
    h.start(["nsbox", "run", "alice", "--", "sleep", "4242"])
    p = wait_until(lambda: [p for p in observe.boxed() if p.cmdline == "sleep 4242"], 5, "the command runs")[0]
    eq(p.status["Seccomp"].strip(), "2", "Seccomp")
    eq(p.uids, [observe.to_host(p.pid, 1001)] * 4, "uids")
    assert not [g for g in p.groups if g < 65536], f"host groups {p.groups}"
    contains(observe.cgroups_of(p.pid)["pids"], "/nsbox/", "cgroup")
    eq(int(p.status["CapEff"], 16), 0, "CapEff")


@test
def run_on_a_terminal_has_a_terminal(h):
    t = h.pty(["nsbox", "run", "alice", "--", "sh", "-c", f"tty; {LOOK}; cat"])
    t.expect(r"/dev/pts\S+")
    t.expect(r"cgroup:\[\d+\]")
    t.send("\x04")
    eq(t.drain(), 0, "exit code")


@test
def run_with_a_broken_policy_is_an_error_with_file_and_line(h):
    h.policy(POLICY + "[user alice]\nbogus = 1\n")
    r = nsbox(h, "run", "alice", "--", "echo", "came-in")
    assert r.code != 0 and "came-in" not in r.out, r
    contains(r.err, "nsbox.conf:8", "stderr")


# ------------------------------------------------------------ stop

@test
def stop_ends_the_sessions_and_the_box(h):
    a, b = h.session("alice"), h.session("alice")
    other = h.session("bob")
    nsbox(h, "stop", "alice").check()
    h.wait_gone(1, uid=1001)
    for s in (a, b):
        wait_until(lambda: s.popen.poll() is not None, 5, "the session has ended")
    os.kill(other.pid, 0)
    get_in(h, "alice")


@test
def stop_ends_a_lingering_box(h):
    h.policy(policy(defaults="linger = forever\n"))
    get_in(h)
    nsbox(h, "stop", "alice").check()
    h.wait_gone(1)


@test
def stop_ends_programs_that_ignore_signals(h):
    h.policy(policy(defaults="linger = forever\n"))
    h.ssh("alice", "setsid sh -c 'trap \"\" TERM HUP INT; touch stubborn; while :; do sleep 1; done' > /dev/null 2>&1 < /dev/null &")
    wait_until(lambda: os.path.exists("/home/alice/stubborn"), 5, "the program runs")
    nsbox(h, "stop", "alice", timeout=15).check()
    h.wait_gone(1)


@test
def stop_of_a_user_without_a_box_says_so(h):
    r = nsbox(h, "stop", "alice")
    contains(r.out + r.err, "alice", "what it says")


# ------------------------------------------------------------ explain

@test
def explain_names_every_key_with_its_origin(h):
    h.policy(POLICY + "[user alice]\nhostname = lab\npids_max = 77\n")
    out = nsbox(h, "explain", "alice").check().out
    for key in ("action", "services", "deny_services", "hostname", "rootfs", "shell_fallback", "idmap", "id_range", "net",
                "pids_max", "memory_max", "cpu_weight", "pty_max", "caps", "no_new_privs", "scope", "linger"):
        assert any(line.split()[:1] == [key] for line in out.splitlines()), f"no line for {key} in:\n{out}"

    def line(key):
        return [text for text in out.splitlines() if text.split()[:1] == [key]][0]
    contains(line("hostname"), "nsbox.conf:8")
    contains(line("hostname"), "lab")
    contains(line("pids_max"), "77")
    contains(line("pids_max"), "nsbox.conf:9")
    contains(line("action"), "nsbox.conf:6")
    contains(line("linger"), "nsbox.conf:3")
    lacks(line("net"), "nsbox.conf", "origin of a key that no file sets")


@test
def explain_says_what_happens_to_users_who_are_passed(h):
    out = nsbox(h, "explain", "carol").check().out
    contains([line for line in out.splitlines() if line.split()[:1] == ["action"]][0], "pass")


@test
def explain_takes_the_service_into_account(h):
    h.policy(POLICY + "[user alice]\nservices = sshd\n")
    sshd = nsbox(h, "explain", "alice", "--service", "sshd").check().out
    cron = nsbox(h, "explain", "alice", "--service", "cron").check().out
    assert sshd != cron, f"the same for both services:\n{sshd}"


@test
def explain_shows_mistakes_with_file_and_line(h):
    h.policy(POLICY + "[user alice]\nhostnam = x\n")
    r = nsbox(h, "explain", "alice")
    assert r.code != 0, r
    contains(r.out + r.err, "nsbox.conf:8")
    contains(r.out + r.err, "hostnam")
    eq(nsbox(h, "explain", "bob").code, 0, "exit code for a user whom the mistake does not concern")


@test
def explain_changes_nothing(h):
    before = observe.state_files()
    nsbox(h, "explain", "alice").check()
    eq(observe.state_files(), before, "files in /run/nsbox")
    eq(observe.boxed() + observe.keepers(), [], "processes")


def before_each(h):
    restore(h)
    if os.path.exists("/home/alice/stubborn"):
        os.unlink("/home/alice/stubborn")



# ------------------------------------------------------------ gc

@test
def gc_clears_what_a_killed_keeper_left_and_nothing_of_a_live_box(h):
    live, dead = h.session("bob"), h.session("alice")
    keeper = next(k for k in observe.keepers() if f"/1001-" in " ".join(os.readlink(f"/proc/{k.pid}/fd/{fd}")
                  for fd in os.listdir(f"/proc/{k.pid}/fd") if os.path.lexists(f"/proc/{k.pid}/fd/{fd}")))
    os.kill(keeper.pid, 9)
    dead.drop()
    observe.wait_until(lambda: len(observe.inits()) == 1, 5, "alice's box is dead")
    assert any("/1001" in f for f in observe.state_files()), "the killed keeper left nothing"
    out = h.run(["nsbox", "gc"]).check().out
    assert re.fullmatch(r"1001-[0-9a-f]{8}\n", out), out
    eq([f for f in observe.state_files() if "/1001" in f], [], "files of alice's box")
    eq([c for c in observe.box_cgroups() if "/1001-" in c], [], "cgroups of alice's box")
    eq(h.enter(live.pid, "true").code, 0, "bob's session lives")
    eq(h.run(["nsbox", "gc"]).check().out, "", "a second gc")
    live.close()


@test
def gc_is_for_root_and_takes_no_words(h):
    eq(h.run(["nsbox", "gc", "all"]).code, 2, "exit code")
    contains(h.run(["setpriv", "--reuid", "1003", "--clear-groups", "nsbox", "gc"]).err, "only root can use nsbox gc")


main(setup, before_each=before_each)
