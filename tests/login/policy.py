#!/usr/bin/python3 -B
"""What nsbox.conf says is what happens at login; what it says wrongly refuses the users it concerns."""

import os
import re

from common import LOOK, POLICY, contains, eq, in_box, looked, on_host, restore, setup
import host
import observe
from tap import lacks, main, test

DEFAULTS = "[defaults]\naction = pass\nlinger = 0\n"
BOX_ALICE = "[user alice]\naction = box\n"


def boxed(h, user="alice"):
    in_box(h.ssh(user, LOOK).check().out)


def passed(h, user):
    on_host(h.ssh(user, LOOK).check().out)


def hostname(h, user="alice"):
    out = h.ssh(user, f"hostname; {LOOK}").check().out
    in_box(out)
    return out.split()[0]


def refused(h, user, pattern=None, since=None):
    """sshd lets nobody in: 254, no output of the command; su does not run it; one line in the log."""
    mark = h.log_mark() if since is None else since
    r = h.ssh(user, "echo came-in")
    eq(r.code, 254, f"exit code of ssh {user}")
    lacks(r.out, "came-in", f"output of ssh {user}")
    if pattern:
        lines = [line for line in h.log_since(mark).splitlines() if "nsbox" in line]
        assert any(re.search(pattern, line) for line in lines), f"no /{pattern}/ in {lines}"
    r = h.run(["su", "-", user, "-c", "echo came-in"])
    assert r.code != 0 and "came-in" not in r.out, f"su ran it: {r}"
    eq(observe.boxed(), [], "boxed processes")


def told(h, user):
    """What ssh shows of ours."""
    r = h.ssh(user, "true")
    return [line for line in (r.out + r.err).splitlines() if "nsbox" in line]


# ------------------------------------------------------------ who is boxed

@test
def the_policy_as_shipped_boxes_group_nsbox_and_passes_everybody_else(h):
    h.run(["rm", "-rf", "/etc/nsbox"])
    h.install()
    assert os.path.exists(host.CONF), "make install put no nsbox.conf there"
    boxed(h, "alice")
    passed(h, "carol")
    passed(h, "root")


@test
def without_any_policy_file_a_user_is_refused_and_root_is_not(h):
    os.unlink(host.CONF)
    refused(h, "carol", "nsbox.conf")
    passed(h, "root")
    passed(h, "dave")


@test
def action_box_pass_and_deny(h):
    h.policy(DEFAULTS + "[user alice]\naction = box\n[user carol]\naction = deny\n[user bob]\naction = pass\n")
    boxed(h, "alice")
    passed(h, "bob")
    refused(h, "carol")


@test
def defaults_may_box_everybody(h):
    h.policy("[defaults]\naction = box\nlinger = 0\n")
    boxed(h, "alice")
    boxed(h, "carol")
    passed(h, "root")


# ------------------------------------------------------------ what beats what

@test
def a_user_section_beats_a_group_section_beats_the_defaults(h):
    text = "[defaults]\naction = box\nlinger = 0\nhostname = from-defaults\n"
    h.policy(text)
    eq(hostname(h), "from-defaults", "hostname")
    h.policy(text + "[group nsbox]\nhostname = from-group\n")
    eq(hostname(h), "from-group", "hostname")
    h.policy(text + "[user alice]\nhostname = from-user\n[group nsbox]\nhostname = from-group\n")
    eq(hostname(h), "from-user", "hostname")


@test
def of_two_groups_the_later_in_the_file_wins(h):
    text = "[defaults]\naction = box\nlinger = 0\n"
    h.policy(text + "[group nsbox]\nhostname = one\n[group students]\nhostname = two\n")
    eq(hostname(h), "two", "hostname")
    h.policy(text + "[group students]\nhostname = two\n[group nsbox]\nhostname = one\n")
    eq(hostname(h), "one", "hostname")
    eq(hostname(h, "bob"), "one", "hostname of a user who is in one of them only")


@test
def a_section_of_a_group_or_user_that_does_not_exist_is_harmless(h):
    h.policy(POLICY + "[group nobody-has-this]\naction = deny\n[user nobody-is-this]\naction = deny\n")
    boxed(h, "alice")
    passed(h, "carol")


@test
def arguments_on_the_pam_line_come_last_of_all(h):
    h.policy(POLICY + "[user alice]\nhostname = from-user\n")
    h.enable("sudo", "exempt_group=admins hostname=from-pam")
    try:
        eq(h.run(["sudo", "-u", "alice", "hostname"], cwd="/").check().out, "from-pam\n", "hostname under sudo")
        eq(hostname(h), "from-user", "hostname under ssh")
    finally:
        h.enable("sudo", "exempt_group=admins")


@test
def an_unknown_argument_on_the_pam_line_refuses(h):
    h.enable("sudo", "exempt_group=admins nonsense=1")
    try:
        mark = h.log_mark()
        r = h.run(["sudo", "-u", "alice", "echo", "came-in"], cwd="/")
        assert r.code != 0 and "came-in" not in r.out, r
        h.wait_for_log("nsbox.*nonsense", since=mark)
        eq(h.run(["sudo", "-u", "root", "echo", "root"], cwd="/").out, "root\n", "root")
    finally:
        h.enable("sudo", "exempt_group=admins")


# ------------------------------------------------------------ keys

@test
def services_limits_boxing_to_some_services(h):
    h.policy(POLICY + "[user alice]\nservices = sshd login\n")
    boxed(h)
    on_host(h.run(["su", "-", "alice", "-c", LOOK]).check().out)


@test
def deny_services_refuses_some_services(h):
    h.policy(POLICY + "[user alice]\ndeny_services = su su-l\n")
    boxed(h)
    mark = h.log_mark()
    r = h.run(["su", "-", "alice", "-c", "echo came-in"])
    assert r.code != 0 and "came-in" not in r.out, r
    h.wait_for_log("nsbox.*su", since=mark)


@test
def hostname_takes_templates(h):
    h.policy(POLICY + "[user alice]\nhostname = %u-%U-%g-on-%H\n")
    eq(hostname(h), "alice-1001-alice-on-throwaway", "hostname")


@test
def net_none_reaches_nothing_and_net_host_is_the_hosts_network(h):
    connect = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 22), 3); print(\"connected\")'"
    h.policy(POLICY + "[user alice]\nnet = none\n")
    r = h.ssh("alice", f"{connect}; {LOOK}")
    lacks(r.out, "connected")
    in_box(r.out)
    h.policy(POLICY + "[user alice]\nnet = host\n")
    r = h.ssh("alice", f"{connect}; {LOOK}").check()
    contains(r.out, "connected")
    look, ours = looked(r.out), observe.nsinos("self")
    eq(look["net"], ours["net"], "network namespace")
    eq([n for n in look if look[n] == ours[n]], ["net"], "namespaces that are the host's")


@test
def caps_widens_and_narrows_the_bounding_set(h):
    def bounding(pid):
        return int(observe.Process(pid).status["CapBnd"], 16)
    h.policy(POLICY + "[user alice]\ncaps = chown kill setuid setgid setpcap\n[user bob]\n")
    a, b = bounding(h.session("alice").pid), bounding(h.session("bob").pid)
    assert a & ~b == 0 and a != b, f"CapBnd {a:x} of a short list, {b:x} by default"
    eq(b >> 21 & 1, 0, "sys_admin in the default set")


@test
def durations_and_sizes_take_their_units(h):
    h.policy(POLICY + "[user alice]\nlinger = 1s\nmemory_max = 512M\npids_max = 200\n")
    boxed(h)


# ------------------------------------------------------------ mistakes refuse those they concern

def mistake_concerns_alice_only(h, text, line):
    h.policy(POLICY + text)
    refused(h, "alice", rf"nsbox\.conf:{line}\b")
    boxed(h, "bob")
    passed(h, "carol")
    passed(h, "root")
    passed(h, "dave")


# POLICY has six lines, policy() and POLICY + text begin the text at line 7.

@test
def an_unknown_key_refuses_the_user_it_concerns(h):
    mistake_concerns_alice_only(h, "[user alice]\nhostnam = x\n", 8)


@test
def a_duplicate_key_refuses_the_user_it_concerns(h):
    mistake_concerns_alice_only(h, "[user alice]\nhostname = x\nhostname = y\n", 9)


@test
def a_bad_value_refuses_the_user_it_concerns(h):
    for key, value in (("action", "boxed"), ("net", "bridgehead"), ("pids_max", "many"), ("linger", "10x"), ("idmap", "both"),
                       ("id_range", "5-4"), ("no_new_privs", "maybe"), ("pty_max", "-1"), ("memory_max", "150%"),
                       ("caps", "chown everything"), ("rootfs", "relative/path")):
        h.policy(POLICY + f"[user alice]\n{key} = {value}\n")
        refused(h, "alice", r"nsbox\.conf:8\b")
    boxed(h, "bob")


@test
def an_over_long_line_refuses_the_user_it_concerns(h):
    mistake_concerns_alice_only(h, "[user alice]\nhostname = " + "x" * 100000 + "\n", 8)


@test
def a_line_that_is_no_key_and_value_refuses_the_user_it_concerns(h):
    mistake_concerns_alice_only(h, "[user alice]\njust words\n", 8)


@test
def a_mistake_in_a_group_section_refuses_its_members(h):
    h.policy(POLICY + "[group students]\nbogus = 1\n")
    refused(h, "alice", r"nsbox\.conf:8\b")
    boxed(h, "bob")
    passed(h, "carol")


def mistake_concerns_everyone(h, text, pattern):
    h.policy(text)
    for user in ("alice", "bob", "carol"):
        refused(h, user, pattern)
    passed(h, "root")
    passed(h, "dave")


@test
def a_mistake_in_defaults_refuses_everyone_who_is_not_exempt(h):
    mistake_concerns_everyone(h, "[defaults]\naction = pass\nbogus = 1\n[group nsbox]\naction = box\n", r"nsbox\.conf:3\b")


@test
def a_bad_section_header_refuses_everyone_who_is_not_exempt(h):
    for header in ("[defaults", "[users alice]", "[user]", "[]"):
        mistake_concerns_everyone(h, f"{POLICY}{header}\naction = pass\n", r"nsbox\.conf:7\b")


@test
def text_before_the_first_section_refuses_everyone_who_is_not_exempt(h):
    mistake_concerns_everyone(h, "action = pass\n" + POLICY, r"nsbox\.conf:1\b")


@test
def the_user_is_told_in_one_plain_sentence(h):
    h.policy(POLICY + "[user alice]\nhostnam = x\n")
    eq(len(told(h, "alice")), 1, f"lines that ssh shows: {told(h, 'alice')}")
    r = h.run(["su", "-", "alice", "-c", "true"])
    eq(len([line for line in r.err.splitlines() if "nsbox" in line]), 1, f"lines that su shows: {r}")
    for text in (*told(h, "alice"), r.err):
        for word in ("errno", "0x", "\x1b"):
            lacks(text, word, "what the user reads")


@test
def the_log_has_one_line_per_refused_login(h):
    h.policy(POLICY + "[user alice]\nhostnam = x\n")
    mark = h.log_mark()
    h.ssh("alice", "true")
    lines = [line for line in h.log_since(mark).splitlines() if re.search(r"nsbox\.conf:8", line)]
    eq(len(lines), 1, f"lines in the log: {lines}")


@test
def a_corrected_policy_lets_the_user_in_at_once(h):
    h.policy(POLICY + "[user alice]\nhostnam = x\n")
    refused(h, "alice")
    h.policy(POLICY + "[user alice]\nhostname = x\n")
    eq(hostname(h), "x", "hostname")


@test
def comments_blank_lines_and_spaces(h):
    h.policy("# comment\n\n[defaults]\n  action=pass  \nlinger   =   0\n\n[group nsbox]\n\taction = box\n")
    boxed(h)
    passed(h, "carol")


# ------------------------------------------------------------ whom the files belong to

def file_is_refused(h):
    refused(h, "carol", "nsbox")
    passed(h, "root")
    passed(h, "dave")


@test
def a_policy_that_others_can_write_is_refused(h):
    for mode in (0o666, 0o664, 0o646):
        os.chmod(host.CONF, mode)
        file_is_refused(h)


@test
def a_policy_that_another_user_owns_is_refused(h):
    os.chown(host.CONF, 1003, 1003)
    file_is_refused(h)


@test
def a_policy_file_that_is_a_directory_or_a_fifo_is_refused(h):
    os.unlink(host.CONF)
    os.mkdir(host.CONF)
    try:
        file_is_refused(h)
    finally:
        os.rmdir(host.CONF)
    os.mkfifo(host.CONF)
    try:
        file_is_refused(h)
    finally:
        os.unlink(host.CONF)


@test
def a_directory_of_policies_that_others_can_write_is_refused(h):
    os.chmod("/etc/nsbox", 0o777)
    try:
        file_is_refused(h)
    finally:
        os.chmod("/etc/nsbox", 0o755)


# ------------------------------------------------------------ names

@test
def user_names_with_dots_dashes_and_underscores(h):
    for n, name in enumerate(("j.doe", "_svc", "a-b-c", "x" * 31)):
        h.add_user(name, 1400 + n, groups=["nsbox"])
        out = h.ssh(name, f"id -un; {LOOK}").check().out
        contains(out, name)
        in_box(out)


@test
def a_second_name_of_a_uid_does_not_reach_the_first_ones_box_unseen(h):
    h.append("/etc/passwd", "alias:x:1001:1001::/home/alice:/bin/bash\n")
    h.append("/etc/shadow", "alias:*:19000:0:99999:7:::\n")
    h.policy(POLICY)       # alice is boxed by her group, alias by nothing
    r = h.ssh("alias", LOOK)
    assert r.code or looked(r.out) != observe.nsinos("self"), "the alias of a boxed user is on the host"


@test
def a_pass_is_not_logged(h):
    mark = h.log_mark()
    passed(h, "carol")
    eq([line for line in h.log_since(mark).splitlines() if "nsbox" in line], [], "lines of ours in the log")


def before_each(h):
    restore(h)
    os.chown(host.CONF, 0, 0)


main(setup, before_each=before_each)
