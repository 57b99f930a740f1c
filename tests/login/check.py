#!/usr/bin/python3 -B
"""nsbox check and nsbox explain --json: what is wrong with a policy, before a login finds out."""

import json
import os
import re
import shutil
import stat

from common import POLICY, contains, eq, restore, setup
import images
import observe
from tap import lacks, main, test

ETC = "/etc/nsbox"
MANUAL = observe.read(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/man/nsbox.conf.5.scd"))
CLEAN, WARNINGS, ERRORS = 0, 3, 4


def check(h, *argv):
    """(exit code, {(level, file below /etc/nsbox or None, line or None): message})"""
    r = h.run(["nsbox", "check", "--json", *argv])
    eq(r.err, "", "stderr")
    answer = json.loads(r.out)
    eq(sorted(answer), ["errors", "findings", "warnings"], "members")
    found = {}
    for f in answer["findings"]:
        eq(sorted(f), ["file", "level", "line", "message"], "members of a finding")
        file = os.path.relpath(f["file"], ETC) if f["file"] else None
        found[f["level"], file, f["line"]] = f["message"]
    places = [(f["file"] or "", f["line"] or 0) for f in answer["findings"]]
    eq(places, sorted(places), "order of the findings")
    levels = [f["level"] for f in answer["findings"]]
    eq((answer["errors"], answer["warnings"]), (levels.count("error"), levels.count("warning")), "counts")
    eq(r.code, ERRORS if answer["errors"] else WARNINGS if levels else CLEAN, "exit code")
    eq(h.run(["nsbox", "check", *argv]).code, r.code, "exit code without --json")
    return found


def only(h, *argv):
    found = check(h, *argv)
    eq(len(found), 1, f"findings: {found}")
    return list(found.items())[0]


def explain(h, *argv):
    r = h.run(["nsbox", "explain", "--json", *argv])
    return r.code, json.loads(r.out)


# ------------------------------------------------------------ check

@test
def a_good_policy_is_clean_and_says_nothing(h):
    r = h.run(["nsbox", "check"])
    eq((r.code, r.out, r.err), (CLEAN, "", ""), "code, stdout, stderr")
    eq(check(h), {}, "findings")


@test
def every_error_is_found_with_file_line_and_what_to_write(h):
    h.policy(POLICY + "[user alice]\nhostnam = x\npids_max = 3\n")
    h.write(f"{ETC}/nsbox.conf.d/10.conf", "[user bob]\nnet = moon\n")
    h.write(f"{ETC}/users.d/carol.conf", "[user alice]\n")
    h.write(f"{ETC}/users.d/not-yet.conf", "[defaults]\n")
    found = check(h)
    contains(found["error", "users.d/not-yet.conf", 1], "this file is about not-yet")
    del found["warning", "users.d/not-yet.conf", None]
    contains(found["error", "nsbox.conf", 8], "did you mean hostname?")
    contains(found["error", "nsbox.conf", 9], "write a number from 10")
    contains(found["error", "nsbox.conf.d/10.conf", 2], "write none, host, bridge")
    contains(found["error", "users.d/carol.conf", 1], "this file is about carol")
    eq(len(found), 5, f"findings: {found}")
    r = h.run(["nsbox", "check"])
    contains(r.out, f"{ETC}/nsbox.conf:8: error: unknown key")
    contains(r.out, "5 errors, 1 warning\n")


@test
def a_section_that_another_file_sets_again_is_shadowed(h):
    h.policy(POLICY + "[user alice]\npids_max = 100\n[user bob]\npids_max = 100\npty_max = 3\n"
             "[user carol]\ncaps = chown\n")
    h.write(f"{ETC}/nsbox.conf.d/10.conf", "[user bob]\npids_max = 200\n[user carol]\ncaps = +kill\n")
    eq(check(h), {}, "findings where a key is left, or changed and not replaced")
    h.write(f"{ETC}/users.d/alice.conf", "pids_max = 200\nhostname = a\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("warning", "nsbox.conf", 7), "level, file and line")
    contains(message, "users.d/alice.conf: take it out of one of them")


@test
def a_profile_that_nothing_names_is_said(h):
    h.policy(POLICY + "[profile lab]\npids_max = 100\n[profile idle]\npids_max = 100\n")
    h.write(f"{ETC}/users.d/bob.conf", "profile = lab\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("warning", "nsbox.conf", 9), "level, file and line")
    contains(message, "no section names this profile: write profile = NAME where it is to count, or take it out")
    h.enable("su", "exempt_group=admins profile=idle")
    try:
        eq(check(h), {}, "findings of a profile that a line in pam.d names")
    finally:
        h.enable("su", "exempt_group=admins")


@test
def groups_and_users_that_do_not_exist_are_said(h):
    h.policy(POLICY + "[user nosuch]\n[group nosuch]\n[user 4711]\n[group 4711]\n[user 1001]\n")
    h.write(f"{ETC}/users.d/nobody-here.conf", "pids_max = 20\n")
    found = check(h)
    for line, text in ((7, "no user nosuch"), (8, "no group nosuch"), (9, "no user 4711"), (10, "no group 4711")):
        contains(found["warning", "nsbox.conf", line], text)
        contains(found["warning", "nsbox.conf", line], ", or take this out")
    contains(found["warning", "users.d/nobody-here.conf", None], "no user nobody-here")
    eq(len(found), 5, f"findings: {found}")


@test
def an_image_that_is_not_there_or_has_no_shell(h):
    h.policy(POLICY + "[user alice]\nrootfs = /srv/image\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 8), "level, file and line")
    contains(message, "/srv/image")
    os.makedirs("/srv/image/usr/bin")
    contains(only(h)[1], "no shell_fallback")
    # A link that leads out of the image, by the host's reading, leads to its own /usr/bin.
    os.symlink("/usr/bin", "/srv/image/bin")
    contains(only(h)[1], "no shell_fallback")
    h.write("/srv/image/usr/bin/sh", "", 0o755)
    eq(check(h), {}, "findings of an image with /bin/sh")
    h.policy(POLICY + "[user alice]\nrootfs = /srv/image\nshell_fallback = none\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 8), "level, file and line")
    contains(message, "has no /bin/bash, the shell of alice")
    contains(message, "install it there, or write a shell that is")
    os.chmod("/srv/image", 0o777)
    contains(only(h)[1], "can be written by others than root: chown it to root and chmod go-w")


@test
def an_image_that_is_a_file_is_looked_into(h):
    os.makedirs("/srv/image/bin")
    h.write("/srv/image.erofs", "no image\n")
    h.policy(POLICY + "[user alice]\nrootfs = /srv/image.erofs\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 8), "level, file and line")
    contains(message, "is neither a directory nor an erofs or squashfs file")
    images.loop_devices()
    before = observe.mounts(), h.run(["losetup", "-a"]).out
    for shell, findings in ((None, 1), ("/srv/image/bin/sh", 0)):
        if shell:
            h.write(shell, "", 0o755)
        os.unlink("/srv/image.erofs")
        h.run(["mkfs.erofs", "--quiet", "/srv/image.erofs", "/srv/image"]).check()
        found = check(h)
        eq(len(found), findings, f"findings: {found}")
    h.wait_until(lambda: (observe.mounts(), h.run(["losetup", "-a"]).out) == before, 5, "mounts and loop devices are as before")


@test
def a_box_that_only_some_services_give_is_looked_at(h):
    for services in ("services = su", "services = login,su", "deny_services = sshd"):
        h.policy(POLICY + f"[user alice]\n{services}\nrootfs = /srv/image\n")
        (level, file, line), message = only(h)
        eq((level, file, line), ("error", "nsbox.conf", 9), f"level, file and line, {services}")


@test
def members_by_their_primary_group_are_looked_at(h):
    """Of carol's group nothing in group(5) says that she is in it."""
    os.makedirs("/srv/image/bin")
    h.write("/srv/image/bin/sh", "", 0o755)
    h.write("/etc/passwd", open("/etc/passwd").read() + "erin:x:1009:1777::/home/erin:/bin/zsh\n")
    h.write("/etc/group", open("/etc/group").read() + "lab:x:1777:\n")
    h.policy(POLICY + "[group lab]\naction = box\nrootfs = /srv/image\nshell_fallback = /bin/sh\n")
    eq(check(h), {}, "findings")
    for group in ("lab", "1777"):
        h.policy(POLICY + f"[group {group}]\naction = box\nrootfs = /srv/image\nshell_fallback = none\n")
        r = h.run(["nsbox", "check"])
        contains(r.out, "nsbox.conf:9: error: ")
        contains(r.out, "has no /bin/zsh, the shell of erin")


@test
def a_disk_max_that_nobody_has_a_root_for_is_said(h):
    write = "rootfs = /srv/image\nrootfs_mode = persistent\nmemory_max = 1G\n"
    h.write("/srv/image/bin/sh", "", 0o755)
    for more in ("", "rootfs = /srv/image\n", "rootfs = host\nrootfs_mode = ro\n"):
        h.policy(POLICY + f"[user alice]\ndisk_max = 1G\n{more}")
        (level, file, line), message = only(h)
        eq((level, file, line), ("warning", "nsbox.conf", 8), "level, file and line")
        contains(message, "disk_max limits nothing")
    h.policy(POLICY + f"[user alice]\ndisk_max = 1G\n{write}")
    eq(check(h), {}, "findings where it limits a root")
    # One of [defaults] is for those whose root can be written.
    text = POLICY.replace("[defaults]\n", "[defaults]\ndisk_max = 1G\n")
    h.policy(text)
    eq(only(h)[0], ("warning", "nsbox.conf", 2), "level, file and line in [defaults]")
    for section in ("[user alice]", "[group students]"):
        h.policy(f"{text}{section}\n{write}")
        eq(check(h), {}, f"findings where {section} has a root that can be written")
    shutil.rmtree("/srv/image")


@test
def a_writable_root_wants_a_memory_max(h):
    os.makedirs("/srv/image/bin")
    h.write("/srv/image/bin/sh", "", 0o755)
    text = POLICY + "[group students]\nrootfs = /srv/image\nrootfs_mode = ephemeral\n"
    h.policy(text)
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 9), "level, file and line")
    contains(message, "write memory_max")
    h.policy(text + "memory_max = none\n")
    contains(only(h)[1], "write memory_max")
    h.policy(text + "memory_max = 1G\n")
    eq(check(h), {}, "findings")


@test
def an_id_range_with_somebody_in_it(h):
    h.policy(POLICY + "[user alice]\nid_range = 700000-900000\n")
    h.write("/etc/subuid", "bob:600000:65536\n")
    eq(check(h), {}, "findings beside a range")
    h.write("/etc/subuid", "bob:600000:65536\ncarol:899999:65536\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("warning", "nsbox.conf", 8), "level, file and line")
    contains(message, "/etc/subuid gives 899999-965534 of it to carol, and no box gets these: write a range without them")
    h.write("/etc/subuid", "")
    h.write("/etc/subgid", "carol:899999:65536\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("warning", "nsbox.conf", 8), "level, file and line")
    contains(message, "/etc/subgid gives")
    h.write("/etc/subgid", "")
    h.policy(POLICY)
    h.write("/etc/passwd", open("/etc/passwd").read() + "far:x:600000:600000::/home/far:/bin/sh\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("warning", "nsbox.conf", None), "level, file and line of the built-in range")
    contains(message, "uid 600000 of far is in it, and a box could have the same: write a range without users")
    h.policy(POLICY + "[user alice]\nid_range = 500000-1000000\n[user bob]\nid_range = 500000-1000000\n")
    eq([line for _, _, line in check(h) if line], [8, 10], "lines of the findings")
    shutil.copy2("/etc/passwd.kept", "/etc/passwd")
    h.write("/etc/group", open("/etc/group").read() + "directory:x:700001:\n")
    h.policy(POLICY + "[user alice]\nid_range = 700000-900000\n")
    found = check(h)
    contains(found["warning", "nsbox.conf", 8], "gid 700001 of group directory is in it")


@test
def two_names_of_one_uid_with_different_policies(h):
    h.write("/etc/passwd", open("/etc/passwd").read() + "alias:x:1001:1001::/home/alice:/bin/sh\n")
    h.write("/etc/group", open("/etc/group").read().replace("nsbox:x:1500:", "nsbox:x:1500:alias,"))
    eq(check(h), {}, "findings of one policy")
    h.policy(POLICY + "[user alias]\npids_max = 4000\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 8), "level, file and line")
    eq(message, "alias and alice are one uid, 1001, and pids_max is 4000 for the one and 512 for the other: write the same "
       "for both")
    h.policy(POLICY + "[user alice]\nservices = su\n")
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 8), "level, file and line")
    contains(message, "services is all for the one and su for the other")
    h.policy(POLICY + "services = su\n")
    eq(check(h), {}, "findings of one policy that boxes through su alone")
    h.policy(POLICY.replace("[group nsbox]", "[user alice]"))
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", "nsbox.conf", 6), "level, file and line")
    contains(message, "action is pass for the one and box for the other: write the same for both")


@test
def a_file_can_be_checked_before_it_counts(h):
    h.policy("nonsense\n")
    h.write("/root/new.conf", POLICY)
    eq(check(h, "/root/new.conf"), {}, "findings")
    h.write("/root/new.conf", POLICY + "[user alice]\naction = perhaps\n")
    r = h.run(["nsbox", "check", "/root/new.conf"])
    eq(r.code, ERRORS, "exit code")
    contains(r.out, "/root/new.conf:8: error: ")
    eq(h.run(["nsbox", "check", "a", "b"]).code, 2, "exit code of a wrong command line")


@test
def a_policy_that_may_not_be_trusted_is_an_error(h):
    os.chmod(f"{ETC}/nsbox.conf", 0o666)
    contains(only(h)[1], "writable by everyone")
    os.chmod(f"{ETC}/nsbox.conf", 0o644)
    h.write(f"{ETC}/users.d/alice.conf", "hostname = a\n", 0o666)
    (level, file, line), message = only(h)
    eq((level, file, line), ("error", None, None), "level, file and line of a user's file")
    contains(message, f"{ETC}/users.d/alice.conf is writable by everyone")
    os.unlink(f"{ETC}/nsbox.conf")
    contains(only(h)[1], "is missing")


# What of a policy refuses every login of alice's on this machine, and the words that both say.
REFUSED = (
    ("bind = /srv/lab:/home/alice", 'the home is there: write home = '),
    ("tmpfs = /home/alice:1M", "write home = tmpfs instead"),
    ("home = /srv/none", "the home directory: /srv/none: No such file or directory"),
    ("home = /srv/lab", "belongs to uid 0 and not to the user"),
    ("home = /srv/lab/file", "is not a directory"),
    ("bind = /srv/none", "bind: /srv/none: No such file or directory"),
    ("bind = /run/nsbox:/x", "is nsbox's own"),
    ("bind = /var/lib/nsbox/1001:/x", "is nsbox's own"),
    ("bind = /dev/null:/x", "is a device, which device = lends"),
    ("bind = /proc:/x", "shows the host's kernel"),
    ("bind = /srv/lab:/bin", "on the way there is a symlink"),
    ("bind = /srv/lab:/usr/new", "is not there and cannot be made in the box"),
    ("bind = /srv/lab/file:/usr", "a file cannot be bound over a directory"),
    ("bind = /srv/lab:/bin/sh", "is a symlink"),
    ("tmpfs = /var/run/x", "on the way there is a symlink"),
    ("mask = /bin", "is a symlink"),
    ("device = /dev/pts", ""),      # every box has it
    ("device = /dev/disk", "is a directory: write /dev/disk/*"),
    ("device = /dev/tty0x", "a terminal of the host"),
    ("device = /dev/file", "is no device"),
    ("net = join:alice", "that is the user himself"),
    ("net = join:nosuch", "there is no such user"),
    ("net = join:bob\n[user bob]\nnet = host", "that user's box has the host's network"),
    ("net = join:/run/netns/none", "/run/netns/none"),
    ("env = " + " ".join(f"V{i}={'%h' * 100}" for i in range(18)), "env is longer"),
)
# What looks like it and is not refused.
ACCEPTED = (
    "bind = /srv/none:/x:optional", "bind = /srv/lab:/home/alice\nhome = none", "bind = /srv/lab:/home/alice/lab",
    "bind = /srv/lab:/usr/local /srv/lab/sub:/usr/local/sub/new", "tmpfs = /opt/new\nbind = /srv/lab:/opt",
    "mask = /usr/nothing", "home = /srv/of-alice", "device = /dev/none", "rootfs = /srv/image\nbind = /srv/lab:/usr/new",
    "device = /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/fd /dev/std* /dev/pts "
    "/dev/shm /dev/mqueue",
)


@test(timeout=120)
def what_every_login_is_refused_for_is_said_before(h):
    for name in ("/srv/lab/sub/new", "/srv/of-alice", "/dev/disk"):
        os.makedirs(name, exist_ok=True)
    os.chown("/srv/of-alice", 1001, 1001)
    for name in ("/srv/lab/file", "/dev/file"):
        h.write(name, "")
    if not os.path.exists("/dev/tty0x"):
        os.mknod("/dev/tty0x", 0o600 | stat.S_IFCHR, os.makedev(4, 0))
    for lines, words in REFUSED:
        h.policy(POLICY + f"[user alice]\n{lines}\n")
        found, r = check(h), h.run(["nsbox", "run", "alice", "--", "true"])
        if not words:
            eq((found, r.code), ({}, 0), f"findings and exit code with {lines}")
            continue
        (level, file, line), message = list(found.items())[0]
        eq((level, file, line, len(found), r.code), ("error", "nsbox.conf", 8, 1, 254), f"with {lines}: {found}, {r}")
        contains(message, words)
        contains(r.err, words)
    h.wait_gone()


@test(timeout=120)
def what_no_login_is_refused_for_is_not_said(h):
    os.makedirs("/srv/image/bin")
    shutil.copy("/bin/busybox", "/srv/image/bin/sh")
    for name in ("/srv/lab/sub/new", "/srv/of-alice", "/srv/lab/new"):
        os.makedirs(name, exist_ok=True)
    os.chown("/srv/of-alice", 1001, 1001)
    for lines in ACCEPTED:
        h.policy(POLICY + f"[user alice]\n{lines}\n")
        found, r = check(h), h.run(["nsbox", "run", "alice", "--", "/bin/sh", "-c", ":"])
        eq((found, r.code), ({}, 0), f"findings and exit code with {lines}: {r}")
    h.wait_gone()


@test
def a_home_that_no_box_may_have_is_said_with_the_line_that_binds_it(h):
    h.policy(POLICY + "[user alice]\nhome = tmpfs\n")
    h.set_user("alice", home="/etc/")
    try:
        (level, file, line), message = only(h)
        eq((level, file, line), ("error", "nsbox.conf", 8), "level, file and line")
        contains(message, "is a system directory: write home = none")
    finally:
        h.set_user("alice", home="/home/alice")


# ------------------------------------------------------------ the manual

@test
def every_example_of_the_manual_is_policy(h):
    """As it is rendered: a backslash of scdoc's is gone."""
    network = "[network lab]\nbridge = lab0\nsubnet = 10.90.0.0/24\n"
    examples = re.findall(r"^(\t?)```\n(.*?)^\t?```$", MANUAL, re.S | re.M)
    assert len(examples) > 10, f"only {len(examples)} examples found"
    for indent, text in examples:
        text = re.sub(r"\\(.)", r"\1", "".join(line.removeprefix(indent) for line in text.splitlines(True)))
        text = text if text.startswith("[") else "[user alice]\n" + text
        if "bridge:lab" in text and "[network lab]" not in text:
            text += network
        h.policy(("" if "[defaults]" in text else "[defaults]\naction = box\n") + text)
        for (level, _, _), message in check(h).items():
            assert level == "warning" or re.search("No such file or directory|no network namespace", message), \
                f"{message}\nof:\n{text}"
        for user in ("alice", "carol"):
            code, answer = explain(h, user)
            eq((code, answer.get("error")), (0, None), f"explain {user} with:\n{text}")
        if text.startswith("[user alice]"):
            key = text.split("\n")[1].split()[0]
            eq(explain(h, "alice")[1]["keys"][key]["from"]["section"], "[user alice]", key)


# ------------------------------------------------------------ explain --json

@test
def explain_json_has_every_key_with_its_origin(h):
    h.policy(POLICY + "[user alice]\nprofile = lab\npids_max = 77\n[profile lab]\nhostname = %u-lab\n")
    h.write(f"{ETC}/users.d/alice.conf", "pids_max = 78\n")
    code, answer = explain(h, "alice", "--service", "su")
    eq(code, 0, "exit code")
    eq((answer["user"], answer["uid"], answer["service"], answer["action"], answer["would"]),
       ("alice", 1001, "su", "box", "box"), "who and what")
    eq(answer["keys"]["pids_max"], {
        "value": "78",
        "from": {"file": f"{ETC}/users.d/alice.conf", "line": 1, "section": "[user alice]"},
        "over": {"file": f"{ETC}/nsbox.conf", "line": 9, "section": "[user alice]"}}, "pids_max")
    eq(answer["keys"]["hostname"]["value"], "alice-lab", "hostname")
    eq(answer["keys"]["hostname"]["from"]["section"], "[profile lab] of [user alice]", "where it is from")
    eq(answer["keys"]["net"], {"value": "none", "from": {"file": None, "line": None, "section": "built-in default"},
                               "over": None}, "net")
    text = h.run(["nsbox", "explain", "alice"]).check().out
    for key in answer["keys"]:
        assert any(line.split()[:1] == [key] for line in text.splitlines()), f"no line for {key} in:\n{text}"


@test
def explain_counts_the_arguments_of_the_service_s_line(h):
    h.enable("su", "exempt_group=admins net=host hostname=%u-su")
    try:
        line = len(observe.read("/etc/pam.d/su").splitlines())
        for service, net, hostname in (("su", "host", "alice-su"), ("sshd", "none", "alice")):
            answer = explain(h, "alice", "--service", service)[1]
            eq((answer["keys"]["net"]["value"], answer["keys"]["hostname"]["value"]), (net, hostname), service)
            eq(h.run(["su", "alice", "-c", "hostname"]).check().out, "alice-su\n", "hostname through su")
        eq(explain(h, "alice", "--service", "su")[1]["keys"]["net"]["from"],
           {"file": "/etc/pam.d/su", "line": line, "section": "pam.d argument"}, "where net is from")
    finally:
        h.enable("su", "exempt_group=admins")


@test
def explain_json_of_odd_text_is_json(h):
    h.policy(POLICY + "[user alice]\ndeny_message = \"a\\b\" \u20ac /%h\naction = deny\n".replace('= "', "= x\""))
    code, answer = explain(h, "alice")
    eq((code, answer["action"]), (0, "deny"), "code and action")
    eq(answer["deny_message"], 'x"a\\b" \u20ac //home/alice', "deny_message")


@test
def explain_json_says_what_log_only_keeps_from_happening(h):
    h.policy(POLICY + "[user alice]\nlog_only = yes\n")
    answer = explain(h, "alice")[1]
    eq((answer["action"], answer["would"]), ("pass", "box"), "action and would")
    contains(answer["reason"], "log_only, would box")


@test
def explain_json_of_a_refused_user_is_json_too(h):
    h.policy(POLICY + "[user alice]\nhostnam = x\n")
    code, answer = explain(h, "alice")
    eq((code, sorted(answer)), (1, ["error", "service", "user"]), "code and members")
    contains(answer["error"], "nsbox.conf:8")
    lacks(answer["error"], "\x1b")


KEPT = ("/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid")


def before_each(h):
    for file in KEPT:
        if not os.path.exists(file + ".kept"):
            if os.path.exists(file):
                shutil.copy2(file, file + ".kept")
            else:
                h.write(file + ".kept", "")
        shutil.copy2(file + ".kept", file)
    for tree in (f"{ETC}/nsbox.conf.d", f"{ETC}/users.d", "/srv/image"):
        shutil.rmtree(tree, ignore_errors=True)
    if os.path.exists("/srv/image.erofs"):
        os.unlink("/srv/image.erofs")
    restore(h)
    for tree in (f"{ETC}/nsbox.conf.d", f"{ETC}/users.d"):
        os.makedirs(tree)


main(setup, before_each=before_each)
