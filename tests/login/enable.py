#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""nsbox enable and nsbox disable: the bytes in /etc/pam.d, and real logins after."""

import os
import re
import stat

from common import LOOK, POLICY, eq, get_in, on_host
import host
import observe
from tap import contains, lacks, main, test

LINE = f"session required {host.MODULE}"
SHIPPED = {}        # the services as this machine's packages ship them
BACKSLASH = chr(92)
ENABLED = "/var/lib/nsbox/enabled"

# Debian 13's, where they differ from Debian 12's.
TRIXIE = {
    "su-l": "auth\t\tinclude\t\tsu\naccount\t\tinclude\t\tsu\npassword\tinclude\t\tsu\n"
            "session\t\toptional\tpam_keyinit.so force revoke\nsession\t\tinclude\t\tsu\n",
    "login": "auth       requisite  pam_nologin.so\n@include common-auth\n@include common-account\n"
             "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so close\n"
             "session    required     pam_loginuid.so\n"
             "session [success=ok ignore=ignore module_unknown=ignore default=bad] pam_selinux.so open\n"
             "session    required   pam_limits.so\n@include common-session\n@include common-password\n",
    "runuser-l": "auth\t\tinclude\t\trunuser\nsession\t\toptional\tpam_keyinit.so force revoke\n"
                 "-session\toptional\tpam_systemd.so\nsession\t\tinclude\t\trunuser\n",
    "sudo": "#%PAM-1.0\n\n# Set up user limits from /etc/security/limits.conf.\n"
            "session    required   pam_limits.so\n\n@include common-auth\n@include common-account\n"
            "@include common-session-noninteractive\n",
}

# Odd, and good: a session through each comes to the end.
ODD = ("session required pam_unix.so",                       # no newline at the end
       "session required pam_unix.so\n\n\n# end",
       "session required " + BACKSLASH + "\n\tpam_unix.so\n",
       "session required pam_permit.so # a comment " + BACKSLASH + "\nsession optional pam_permit.so\n",
       "-session\toptional pam_no_such.so\nSESSION Required pam_unix.so\n",
       "session [success=1 default=ignore] pam_permit.so\nsession required pam_unix.so\n",
       "session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_permit.so\n",
       "session [default=1] pam_permit.so\nsession sufficient pam_permit.so\nsession required pam_permit.so\n",
       "session substack ends-early\nsession required pam_unix.so\n",
       "session [success=1 default=ignore] pam_permit.so\nsession substack ends-early\n",
       "session [success=ok default=bad] pam_permit.so\n@include ends-well\n")

# What enable has to leave alone: text, and what its message must have.
REFUSED = {
    "a stack that success ends": ("session sufficient pam_permit.so\nsession required pam_unix.so\n", ":1:"),
    "one that ends by a bracket": ("session required pam_unix.so\nsession [success=done default=ignore] pam_permit.so\n", ":2:"),
    "one that ends in an include": ("session include ends-early\nsession required pam_unix.so\n", "ends-early:1:"),
    "a jump over the end": ("session required pam_unix.so\nsession [default=ignore success=1] pam_permit.so\n", ":2:"),
    "an unknown control": ("session required pam_unix.so\nsession whatever pam_permit.so\n", ":2:"),
    "an unknown result": ("session [success=perhaps] pam_permit.so\n", ":1:"),
    "an unknown type": ("session required pam_unix.so\nsesion required pam_permit.so\n", ":2:"),
    "a rule without a module": ("session required pam_unix.so\nsession required\n", ":2:"),
    "an include that is not there": ("session required pam_unix.so\n@include no-such-file\n", "/etc/pam.d/odd:2: open"),
    "an include of itself": ("session include odd\n", "too deep"),
    "a backslash at the end of the file": ("session required pam_unix.so\nauth required pam_deny.so " + BACKSLASH, ":2:"),
    "a comment in a continued line": ("session required " + BACKSLASH + "\n# why\n pam_unix.so\n", ":1:"),
    "blanks after a backslash": ("session required pam_unix.so " + BACKSLASH + " \nsession required pam_env.so\n", ":1:"),
    "a carriage return": ("session required pam_permit.so\nsession required pam_unix.so\r\n", ":2:"),
    "a line too long for libpam": ("session required pam_unix.so " + "a" * 1100 + "\n", ":1:"),
    "a service without sessions": ("auth required pam_deny.so\n", "no session rules"),
}


def nsbox(h, *argv, **how):
    return h.run(["nsbox", *argv], **how)


def path(service):
    return "/etc/pam.d/" + service


def raw(service):
    with open(path(service), "rb") as f:
        return f.read()


def write(service, text):
    with open(path(service), "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())


def rules(service, seen=()):
    """The session rules of a service, by another reader than nsbox's."""
    found = []
    text = re.sub(r"\\\n", " ", raw(service).decode())
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["@include"] or words[:2] in (["session", "include"], ["session", "substack"]):
            found += rules(words[-1], (*seen, service))
        elif words and words[0].lstrip("-") == "session":
            found.append(" ".join(words))
    return found


def refused(h, service, *parts, argv=()):
    before = raw(service) if os.path.exists(path(service)) else None
    r = nsbox(h, "enable", *argv, service)
    eq(r.code, 1, f"exit code ({r})")
    for part in parts:
        contains(r.err, part, "stderr")
    eq(raw(service) if os.path.exists(path(service)) else None, before, "the file")
    return r


# ------------------------------------------------------------ logins

@test
def a_login_is_boxed_after_enable_and_not_after_disable(h):
    on_host(h.ssh("alice", LOOK).check().out)
    nsbox(h, "enable", "sshd").check()
    get_in(h, "alice")
    on_host(h.ssh("carol", LOOK).check().out)
    nsbox(h, "disable", "sshd").check()
    on_host(h.ssh("alice", LOOK).check().out)


@test
def an_argument_gets_to_the_module(h):
    nsbox(h, "enable", "sshd", "exempt_group=admins").check()
    on_host(h.ssh("dave", LOOK).check().out)
    get_in(h, "alice")
    nsbox(h, "enable", "sshd", "hostname=elsewhere").check()
    eq(h.ssh("alice", "hostname").check().out, "elsewhere\n", "hostname")
    get_in(h, "dave")
    eq(raw("sshd").count(b"pam_nsbox"), 1, "lines of ours")


@test
def an_argument_that_would_refuse_every_login_is_refused(h):
    h.policy(POLICY + "[profile lab]\nhostname = lab\n[user alice]\nprofile = lab\n")
    for words, why in ((["exempt_grup=admins"], 'pam.d argument "exempt_grup=admins": unknown key'),
                       (["hostnam=x"], "did you mean hostname?"), (["net=moon"], "write none, host"),
                       (["debug"], "write key=value"), (["profile=lob"], "lob"),
                       (["exempt_group=admins", "exempt_group=nosuch"], "exempt_group=nosuch: there is no such group")):
        r = nsbox(h, "enable", "sshd", *words)
        eq(r.code, 1, f"exit code with {words}")
        contains(r.err, why)
        eq(raw("sshd"), SHIPPED["sshd"], f"the file after {words}")
        if "exempt_group=nosuch" not in words:
            # The login says the same.
            write("su", SHIPPED["su"] + f"session required {host.MODULE} {words[0]}\n".encode())
            contains(h.run(["su", "alice", "-c", "true"]).err, why)
    nsbox(h, "enable", "sshd", "profile=lab", "exempt_group=admins", "net=host").check()


@test
def su_and_sudo_and_their_login_forms_are_boxed(h):
    for service in ("su", "sudo", "sudo-i"):
        nsbox(h, "enable", service).check()
    for argv in (["su", "alice", "-c", LOOK], ["su", "-", "alice", "-c", LOOK],
                 ["sudo", "-u", "alice", "sh", "-c", LOOK], ["sudo", "-i", "-u", "alice", "sh", "-c", LOOK]):
        found = dict(re.findall(r"\b(\w+):\[(\d+)\]", h.run(argv).check().out))
        assert int(found["user"]) != observe.nsinos("self")["user"], f"{argv}: on the host"


@test
def a_broken_policy_refuses_the_login_through_an_enabled_service(h):
    nsbox(h, "enable", "sshd").check()
    h.policy(POLICY + "[user alice]\nbogus = 1\n")
    r = h.ssh("alice", "echo came-in")
    lacks(r.out, "came-in")
    assert r.code != 0, r


# ------------------------------------------------------------ bytes

def parts():
    write("ends-early", "session sufficient pam_permit.so\nsession required pam_deny.so\n")
    write("ends-well", "session required pam_permit.so\n")


def ran(h, service):
    """libpam itself: does a session of the service come to our line? The policy denies alice."""
    mark = h.log_mark()
    r = h.run(["pamtester", service, "alice", "open_session"])
    if r.code:
        h.wait_for_log(rf"pam_nsbox\({service}:session\): no box for alice: the policy denies", since=mark)
    return r.code != 0


@test
def libpam_comes_to_our_line_in_what_is_enabled(h):
    h.policy(POLICY + "[user alice]\naction = deny\n")
    parts()
    for text in ODD:
        write("odd", text)
        nsbox(h, "enable", "odd").check()
        assert ran(h, "odd"), f"libpam does not come to our line: {raw('odd')}"


@test
def libpam_misses_our_line_in_what_is_refused(h):
    h.policy(POLICY + "[user alice]\naction = deny\n")
    parts()
    for what in ("a stack that success ends", "one that ends by a bracket", "one that ends in an include"):
        write("odd", REFUSED[what][0])
        refused(h, "odd")
        write("odd", REFUSED[what][0] + LINE + "\n")
        assert not ran(h, "odd"), f"refused for nothing: {what}"


@test
def every_service_of_this_debian_gets_the_line_last_and_back(h):
    for service in ("sshd", "su", "su-l", "sudo", "sudo-i", "login", "runuser", "runuser-l", "cron"):
        before = raw(service)
        nsbox(h, "enable", service).check()
        contains(rules(service)[-1], LINE, f"the last rule of {service}")
        assert raw(service).startswith(before), f"{service}: {raw(service)}"
        nsbox(h, "disable", service).check()
        eq(raw(service), before, service)


@test
def every_service_of_the_next_debian_gets_the_line_last_and_back(h):
    for service, text in TRIXIE.items():
        write(service, text)
        nsbox(h, "enable", service).check()
        contains(rules(service)[-1], LINE, f"the last rule of {service}")
        nsbox(h, "disable", service).check()
        eq(raw(service).decode(), text, service)


@test
def odd_files_come_back_byte_for_byte(h):
    parts()
    for text in ODD:
        write("odd", text)
        nsbox(h, "enable", "odd").check()
        eq(raw("odd").decode().splitlines()[-1], LINE, "the last line")
        nsbox(h, "disable", "odd").check()
        eq(raw("odd").decode(), text, "after disable")


@test
def enable_twice_is_once_and_keeps_the_arguments(h):
    nsbox(h, "enable", "sshd", "exempt_group=admins").check()
    once = raw("sshd")
    contains(nsbox(h, "enable", "sshd").check().out, "already")
    eq(raw("sshd"), once, "after the second time")
    contains(nsbox(h, "disable", "sshd").check().out, "disabled")
    contains(nsbox(h, "disable", "sshd").check().out, "was not enabled")
    eq(raw("sshd"), SHIPPED["sshd"], "after the second disable")


@test
def disable_takes_only_our_lines_from_a_file_that_was_edited(h):
    nsbox(h, "enable", "sshd").check()
    contains(rules("sshd")[-1], LINE)
    write("sshd", raw("sshd").replace(b"pam_mail.so", b"pam_echo.so") + b"session optional pam_umask.so\n")
    nsbox(h, "disable", "sshd").check()
    eq(raw("sshd"), SHIPPED["sshd"].replace(b"pam_mail.so", b"pam_echo.so") + b"session optional pam_umask.so\n",
       "after disable")


@test
def a_line_after_ours_makes_enable_move_it(h):
    nsbox(h, "enable", "sshd").check()
    write("sshd", raw("sshd") + b"session optional pam_umask.so\n")
    nsbox(h, "enable", "sshd").check()
    contains(rules("sshd")[-1], LINE)
    eq(raw("sshd").count(b"pam_nsbox"), 1, "lines of ours")


@test
def a_line_written_by_hand_is_ours_too(h):
    write("sshd", SHIPPED["sshd"] + f"session  required {BACKSLASH}\n   {host.MODULE} exempt_group=admins # mine\n".encode())
    nsbox(h, "enable", "sshd").check()
    eq(raw("sshd").count(b"pam_nsbox"), 1, "lines of ours")
    contains(raw("sshd").decode().splitlines()[-1], "exempt_group=admins")
    nsbox(h, "disable", "sshd").check()
    eq(raw("sshd"), SHIPPED["sshd"], "after disable")


@test
def owner_mode_and_attributes_stay(h):
    os.chmod(path("sshd"), 0o640)
    os.chown(path("sshd"), 0, 42)
    os.setxattr(path("sshd"), "user.note", b"kept")
    nsbox(h, "enable", "sshd").check()
    contains(rules("sshd")[-1], LINE)
    st = os.stat(path("sshd"))
    eq((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0o640, 0, 42), "mode, owner, group")
    eq(os.getxattr(path("sshd"), "user.note"), b"kept", "attribute")
    eq([n for n in os.listdir("/etc/pam.d") if "nsbox" in n], [], "temporary files")


@test
def a_kill_in_the_middle_leaves_the_old_or_the_new(h):
    nsbox(h, "enable", "sshd").check()
    new = raw("sshd")
    assert new != SHIPPED["sshd"], "nothing was enabled"
    nsbox(h, "disable", "sshd").check()
    # The list of enabled services is written first, in the same way.
    for call, when in (("fchown", 1), *(("fsync", n) for n in range(1, 5)), *(("renameat", n) for n in (1, 2))):
        write("sshd", SHIPPED["sshd"])
        h.run(["strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={when}",
               "nsbox", "enable", "sshd"])
        assert raw("sshd") in (new, SHIPPED["sshd"]), f"killed at {call} {when}: {raw('sshd')}"
    nsbox(h, "enable", "sshd").check()
    eq(raw("sshd"), new, "after it ran to the end")
    eq([n for n in os.listdir("/etc/pam.d") if "nsbox" in n], [], "temporary files")


@test
def a_full_disk_leaves_the_old(h):
    r = h.run(["strace", "-o", "/dev/null", "-P", path(".sshd.nsbox-new"), "-e", "inject=write:error=ENOSPC",
               "nsbox", "enable", "sshd"])
    eq(r.code, 1, f"exit code ({r})")
    contains(r.err, "No space left")
    eq(raw("sshd"), SHIPPED["sshd"], "the file")


# ------------------------------------------------------------ refusals

@test
def what_it_does_not_understand_it_refuses_with_file_and_line(h):
    parts()
    for what, (text, part) in REFUSED.items():
        write("odd", text)
        try:
            refused(h, "odd", part)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None


@test
def names_that_are_no_services_are_refused(h):
    for name in ("../passwd", "a/b", "", ".hidden", "sshd.dpkg-old"):
        r = nsbox(h, "enable", name)
        eq(r.code, 1, f"exit code for {name!r}")
        contains(r.err, "not the name of a service")
    r = refused(h, "no-such-service", "no service no-such-service")
    for service in ("sshd", "cron", "su-l"):
        contains(r.err, service, "the list of services")


@test
def links_are_refused(h):
    h.write("/root/elsewhere", SHIPPED["sshd"].decode())
    os.symlink("/root/elsewhere", path("linked"))
    refused(h, "linked", "symbolic link")
    os.link(path("odd"), path("second"))
    refused(h, "second", "another name")
    eq(observe.read("/root/elsewhere").encode(), SHIPPED["sshd"], "what the link leads to")


@test
def a_file_that_others_continue_after_is_refused(h):
    refused(h, "common-session", "would come after")
    refused(h, "common-auth", "no session rules" if not rules("common-auth") else "would come after")


@test
def a_service_that_the_policy_denies_is_refused_with_the_reason(h):
    write("systemd-user", "session required pam_unix.so\n")
    refused(h, "systemd-user", "deny_services", "--deny")
    nsbox(h, "enable", "--deny", "systemd-user").check()
    contains(rules("systemd-user")[-1], LINE)
    h.policy("[defaults]\ndeny_services = cron sshd\n")
    refused(h, "sshd", "deny_services")
    nsbox(h, "enable", "sudo").check()


@test
def manager_says_whose_manager_the_module_would_refuse(h):
    def may(user):
        r = nsbox(h, "manager", user)
        eq(r.code, 1 if r.err else 0, f"exit code: {r}")
        return r.err.replace("nsbox: no systemd manager outside the box for ", "").strip() or "may"
    users = ("alice", str(h.users["alice"].uid), "carol", "0")
    write("systemd-user", "session required pam_unix.so\n")
    eq([may(u) for u in users], ["may"] * 4, "without the line")
    nsbox(h, "enable", "--deny", "systemd-user").check()
    no = "alice: the policy denies it: service systemd-user is in deny_services (built-in default)"
    eq([may(u) for u in users], [no, no, "may", "may"], "with it")
    nsbox(h, "enable", "--deny", "systemd-user", "exempt_group=admins", "action=deny").check()
    contains(may("carol"), "carol: the policy denies it: action = deny", "an argument of the line")
    eq(may("dave"), "may", "a member of exempt_group")
    h.policy("[defaults]\nnonsense = 1\n")
    contains(may("alice"), "/etc/nsbox/nsbox.conf:2: ", "a mistake in the policy")
    eq(may("0"), "may", "root")
    contains(may("nobody-of-that-name"), "nobody-of-that-name", "somebody unknown")


@test
def without_policy_module_or_keeper_nothing_is_enabled(h):
    for thing in (host.CONF, host.MODULE, host.KEEPER):
        os.rename(thing, thing + ".away")
        try:
            refused(h, "sshd")
        finally:
            os.rename(thing + ".away", thing)
    refused(h, "sshd", "/no/such.so", argv=("--module", "/no/such.so"))
    h.policy("nonsense\n")
    refused(h, "sshd", "nsbox.conf:1")


@test
def arguments_that_break_the_line_are_refused(h):
    for argument in ("a b", "a\nauth sufficient pam_permit.so", "x#", "x" + BACKSLASH, "[x]", ""):
        r = nsbox(h, "enable", "sshd", argument)
        eq(r.code, 1, f"exit code for {argument!r}")
        eq(raw("sshd"), SHIPPED["sshd"], "the file")


@test
def an_ordinary_user_cannot(h):
    r = h.run(["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", "nsbox", "enable", "sshd"], cwd="/")
    contains(r.err, "only root")
    eq(raw("sshd"), SHIPPED["sshd"], "the file")


# ------------------------------------------------------------ includes, upgrades, removal

@test
def a_service_that_includes_an_enabled_one_is_enabled(h):
    nsbox(h, "enable", "su").check()
    contains(nsbox(h, "enable", "su-l").check().out, "/etc/pam.d/su:")
    eq(raw("su-l"), SHIPPED["su-l"], "su-l")
    r = nsbox(h, "disable", "su-l")
    eq(r.code, 1, "disable su-l")
    contains(r.err, "/etc/pam.d/su:")


@test
def a_line_that_an_upgrade_took_comes_back(h):
    nsbox(h, "enable", "sshd", "exempt_group=admins").check()
    edited = raw("sshd")
    write("sshd", SHIPPED["sshd"] + b"# of a newer version\n")
    write("sshd.dpkg-old", edited)          # as dpkg keeps what it replaces
    nsbox(h, "enable", "--again").check()
    contains(rules("sshd")[-1], LINE + " exempt_group=admins")
    contains(raw("sshd").decode(), "of a newer version")


@test
def a_line_that_somebody_took_is_missed_and_not_put_back(h):
    nsbox(h, "enable", "sshd").check()
    write("sshd", SHIPPED["sshd"])
    r = nsbox(h, "enable", "--again")
    eq(r.code, 1, "exit code")
    contains(r.err, "sshd was enabled")
    eq(raw("sshd"), SHIPPED["sshd"], "the file")
    nsbox(h, "disable", "sshd").check()
    nsbox(h, "enable", "--again").check()


@test
def disable_all_leaves_no_file_that_names_the_module(h):
    nsbox(h, "enable", "sshd").check()
    nsbox(h, "enable", "cron", "exempt_group=admins").check()
    write("odd", f"session required pam_unix.so\nauth optional {host.MODULE}\n-session optional pam_nsbox.so\n")
    write("common-session", SHIPPED["common-session"] + b"session required pam_nsbox.so\n")
    nsbox(h, "disable", "--all").check()
    for service in ("sshd", "cron", "common-session"):
        eq(raw(service), SHIPPED[service], service)
    eq(raw("odd"), b"session required pam_unix.so\n", "odd")
    eq(observe.read(ENABLED), "", "the list")


@test
def disable_all_says_so_when_a_line_stays(h):
    h.write("/root/elsewhere", f"session required {host.MODULE}\n")
    os.symlink("/root/elsewhere", path("linked"))
    nsbox(h, "enable", "sshd").check()
    r = nsbox(h, "disable", "--all")
    eq(r.code, 1, "exit code")
    contains(r.err, "linked")
    eq(raw("sshd"), SHIPPED["sshd"], "sshd")


def setup(h):
    import common
    for name in ("odd", "systemd-user"):
        h.write(path(name), "session required pam_unix.so\n")
    common.setup(h)
    for service in common.SERVICES:
        h.disable(service)
    for service in os.listdir("/etc/pam.d"):
        SHIPPED[service] = raw(service)


def before_each(h):
    h.policy(POLICY)
    for service in os.listdir("/etc/pam.d"):
        os.unlink(path(service))
    for service, text in SHIPPED.items():
        write(service, text)
    if os.path.exists(ENABLED):
        os.unlink(ENABLED)


main(setup, before_each=before_each)
