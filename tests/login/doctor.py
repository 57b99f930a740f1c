#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""nsbox doctor: what it finds on a host that is fit, and on one after the other that is not."""

import json
import os
import shutil

from common import LOOK, SERVICES, eq, get_in, on_host, policy
import common
import host
import observe
from tap import contains, lacks, main, skip, test

SHIPPED = {}
SEVERITIES = {"ok": 0, "warning": 1, "error": 2}


def doctor(h, wrap=()):
    """The findings; checks what holds of every answer."""
    r = h.run([*wrap, "nsbox", "doctor", "--json"], timeout=60)
    answer = json.loads(r.out)
    worst = max((f["severity"] for f in answer["findings"]), key=SEVERITIES.get)
    eq(answer["verdict"], worst, "verdict")
    eq(r.code, SEVERITIES[worst], "exit code")
    eq((answer["errors"], answer["warnings"]),
       tuple(sum(f["severity"] == s for f in answer["findings"]) for s in ("error", "warning")), "counts")
    for f in answer["findings"]:
        eq(sorted(f), ["check", "fix", "message", "severity"], "keys")
        assert f["message"] and "\n" not in f["message"], f
        if f["severity"] == "error" and not f["check"].startswith("policy"):
            assert f["fix"], f"an error without a line to write: {f}"
    return answer["findings"]


def find(h, check, severity, part="", fix="", **how):
    """The finding of this kind is there; returns it."""
    found = [f for f in doctor(h, **how) if f["check"] == check]
    for f in found:
        if f["severity"] == severity and part in f["message"] and fix in (f["fix"] or ""):
            return f
    raise AssertionError(f"no {severity} {check} with {part!r} and {fix!r} in {found}")


def absent(h, check, part="", **how):
    found = [f for f in doctor(h, **how) if f["check"] == check and f["severity"] != "ok" and part in f["message"]]
    eq(found, [], f"findings of {check}")


def enable_all(h):
    for service in SERVICES + ("other",):
        h.run(["nsbox", "enable", service]).check()


# ------------------------------------------------------------ the whole

@test
def a_host_with_everything_enabled_is_fine(h):
    enable_all(h)
    eq([f for f in doctor(h) if f["severity"] != "ok"], [], "warnings and errors")
    r = h.run(["nsbox", "doctor"])
    eq(r.code, 0, "exit code")
    contains(r.out.splitlines()[-1], "verdict: ok")
    lacks(r.out, "\x1b", "no colour without a terminal")


@test
def a_host_where_nothing_is_enabled_is_warned_about(h):
    f = find(h, "pam.none", "warning", fix="nsbox enable")
    for service in ("sshd", "su", "cron", "sudo", "login"):
        find(h, "pam.outside", "warning", f"{service}:", f"nsbox enable {service}")
    on_host(h.ssh("alice", LOOK).check().out)
    h.run(f["fix"]).check()
    get_in(h, "alice")
    absent(h, "pam.none")


@test
def the_text_has_every_finding_of_the_json(h):
    text = h.run(["nsbox", "doctor"]).out
    for f in doctor(h):
        contains(text, f["message"])
        contains(text, f["fix"] or "")


@test
def it_changes_nothing(h):
    enable_all(h)
    look = lambda: (observe.mounts(), observe.state_files(), h.run("find /etc /var/lib -newer /root/mark").out)
    h.write("/root/mark", "")
    before = look()
    doctor(h)
    eq(look(), before, "mounts, state and files")
    eq(observe.boxed() + observe.keepers(), [], "processes")


@test
def another_word_is_a_usage_error(h):
    r = h.run(["nsbox", "doctor", "--yaml"])
    eq((r.code, r.out), (2, ""), "code and stdout")
    contains(r.err, "usage: nsbox doctor")


# ------------------------------------------------------------ pam

@test
def a_service_left_outside_is_an_error_once_one_is_enabled(h):
    enable_all(h)
    h.run(["nsbox", "disable", "su"]).check()
    find(h, "pam.outside", "error", "su:", "nsbox enable su")
    find(h, "pam.outside", "error", "su-l:", "nsbox enable su-l")
    absent(h, "pam.outside", "sshd")


@test
def a_rule_after_ours_is_found_and_the_fix_is_right(h):
    enable_all(h)
    h.append("/etc/pam.d/sshd", "session optional pam_umask.so\n")
    f = find(h, "pam.order", "error", "/etc/pam.d/sshd:")
    h.run(f["fix"]).check()
    absent(h, "pam.order")


@test
def a_bad_argument_is_found_before_a_login_is_refused_for_it(h):
    enable_all(h)
    line = len(open("/etc/pam.d/su").read().splitlines())
    h.run(["sed", "-i", "$s/$/ exempt_grup=admins/", "/etc/pam.d/su"]).check()
    find(h, "pam.arguments", "error", f'/etc/pam.d/su:{line}: pam.d argument "exempt_grup=admins": unknown key')
    r = h.run(["su", "alice", "-c", "true"])
    contains(r.err, "exempt_grup")
    h.run(["sed", "-i", "$s/ exempt_grup=admins/ exempt_group=nosuch/", "/etc/pam.d/su"]).check()
    find(h, "pam.arguments", "warning", f"/etc/pam.d/su:{line}: exempt_group=nosuch: there is no such group")
    h.run(["su", "alice", "-c", "true"]).check()
    h.run(["sed", "-i", "$s/=nosuch/=admins/", "/etc/pam.d/su"]).check()
    absent(h, "pam.arguments")


@test
def a_control_that_fails_open_is_found(h):
    for rule in (f"session optional {host.MODULE}", f"session [success=ok default=ignore] {host.MODULE}",
                 f"-session required {host.MODULE}"):
        h.write("/etc/pam.d/sshd", SHIPPED["sshd"] + rule + "\n")
        find(h, "pam.control", "error", "/etc/pam.d/sshd:", "session required")
    for rule in (f"session required {host.MODULE}", f"session requisite {host.MODULE}",
                 f"session [success=ok new_authtok_reqd=ok ignore=ignore default=bad] {host.MODULE}"):
        h.write("/etc/pam.d/sshd", SHIPPED["sshd"] + rule + "\n")
        absent(h, "pam.control")


@test
def a_way_past_our_line_is_found(h):
    h.write("/etc/pam.d/sshd", f"session sufficient pam_permit.so\nsession required {host.MODULE}\n")
    find(h, "pam.order", "error", "/etc/pam.d/sshd:1")
    h.write("/etc/pam.d/sshd", "session [success=1 default=ignore] pam_permit.so\n"
            f"session required {host.MODULE}\nsession optional pam_umask.so\n")
    find(h, "pam.order", "error", "/etc/pam.d/sshd:1")


@test
def a_module_that_is_not_there_is_found(h):
    h.run(["nsbox", "enable", "su"]).check()
    os.rename(host.MODULE, host.MODULE + ".away")
    try:
        f = find(h, "pam.module", "error", "/etc/pam.d/su:", "nsbox disable su")
        h.run(f["fix"]).check()
        eq(observe.read("/etc/pam.d/su"), SHIPPED["su"], "su")
    finally:
        os.rename(host.MODULE + ".away", host.MODULE)


@test
def a_line_that_went_away_is_missed(h):
    h.run(["nsbox", "enable", "sshd", "exempt_group=admins"]).check()
    h.write("/etc/pam.d/sshd", SHIPPED["sshd"])
    f = find(h, "pam.gone", "error", "sshd", "exempt_group=admins")
    h.run(f["fix"]).check()
    absent(h, "pam.gone")
    h.run(["nsbox", "disable", "sshd"]).check()
    absent(h, "pam.gone")


@test
def a_service_that_cannot_be_read_is_named(h):
    h.write("/etc/pam.d/odd", "session whatever pam_unix.so\n")
    find(h, "pam.unread", "warning", "/etc/pam.d/odd:1:")


@test
def an_sshd_without_pam_is_an_error(h):
    config = observe.read("/etc/ssh/sshd_config")
    h.write("/etc/ssh/sshd_config", "UsePAM no\n" + config)
    try:
        find(h, "sshd.usepam", "error", "boxes nobody", "UsePAM yes")
        h.write("/etc/ssh/sshd_config", "Nonsense\n" + config)
        find(h, "sshd.usepam", "warning", "does not answer")
    finally:
        h.write("/etc/ssh/sshd_config", config)


# ------------------------------------------------------------ the kernel, cgroups and files

def with_sysctl(h, name, value):
    """A doctor that reads another value there."""
    h.write("/root/value", f"{value}\n")
    path = "/proc/sys/" + name.replace(".", "/")
    return ["unshare", "-m", "sh", "-c", f"mount --bind /root/value {path} && exec nsbox doctor --json", "sh"]


@test
def sysctls_that_refuse_every_box_are_errors(h):
    find(h, "sysctl.userns", "ok")
    find(h, "sysctl.dumpable", "ok")
    find(h, "sysctl.userns", "error", "= 0", "sysctl -w user.max_user_namespaces",
         wrap=with_sysctl(h, "user.max_user_namespaces", 0))
    find(h, "sysctl.dumpable", "error", "= 1", "fs.suid_dumpable=0", wrap=with_sysctl(h, "fs.suid_dumpable", 1))
    absent(h, "sysctl.dumpable", wrap=with_sysctl(h, "fs.suid_dumpable", 2))


@test
def a_kernel_that_makes_no_namespaces_is_an_error(h):
    find(h, "kernel.namespaces", "ok")
    find(h, "kernel.namespaces", "error", "user", "sysctl -w user.max_user_namespaces",
         wrap=["strace", "-f", "-o", "/dev/null", "-e", "inject=unshare:error=ENOSPC"])


@test(timeout=240)     # three times under strace, in an emulated machine too
def a_kernel_that_lacks_a_call_is_an_error(h):
    for check, call, error in (("kernel.pidfd", "pidfd_open", "ENOSYS"), ("kernel.clone3", "clone3", "ENOSYS"),
                               ("kernel.seccomp", "seccomp", "EINVAL")):
        find(h, check, "error", wrap=["strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:error={error}"])


@test
def a_file_system_without_idmapped_mounts_is_a_warning(h):
    find(h, "kernel.idmap", "ok", "/home")
    find(h, "kernel.idmap", "warning", "/home", "idmap = keep",
         wrap=["strace", "-f", "-o", "/dev/null", "-e", "inject=mount_setattr:error=EINVAL:when=2"])
    find(h, "kernel.overlay", "ok")
    find(h, "kernel.overlay", "warning", wrap=["strace", "-f", "-o", "/dev/null", "-e", "inject=mount:error=ENODEV:when=3"])


@test
def a_machine_without_the_pids_controller_is_an_error(h):
    find(h, "cgroup.controller", "ok", "pids")
    script = "umount -l -a -t cgroup,cgroup2; exec nsbox doctor --json"
    find(h, "cgroup.controller", "error", "pids", "mount -t cgroup2", wrap=["unshare", "-m", "sh", "-c", script, "sh"])


@test
def files_that_others_can_write_are_errors(h):
    for path in (host.MODULE, host.KEEPER, "/etc/nsbox"):
        mode = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode | 0o020)
        find(h, "files.owner", "error", path, "chmod go-w " + path)
        os.chmod(path, mode)
        os.chown(path, 1001, 0)
        find(h, "files.owner", "error", path, "chown root")
        os.chown(path, 0, 0)
    os.chmod(host.KEEPER, 0o4755)
    find(h, "files.owner", "error", "setuid")
    os.chmod(host.KEEPER, 0o755)
    absent(h, "files.owner")


@test
def a_missing_keeper_is_an_error(h):
    os.rename(host.KEEPER, host.KEEPER + ".away")
    try:
        find(h, "files.missing", "error", host.KEEPER)
    finally:
        os.rename(host.KEEPER + ".away", host.KEEPER)


@test
def every_mistake_in_the_policy_is_an_error(h):
    h.policy("[user alice]\nbogus = 1\n[user bob]\npids_max = many\n")
    find(h, "policy.error", "error", "nsbox.conf:2")
    find(h, "policy.error", "error", "nsbox.conf:4")
    os.unlink(host.CONF)
    find(h, "policy.error", "error", "missing")


# ------------------------------------------------------------ ways around

@test
def a_boxed_user_in_a_group_that_is_root_is_named(h):
    h.join_groups("bob", ["disk"])
    h.join_groups("carol", ["disk"])
    try:
        find(h, "around.group", "warning", "bob", "gpasswd -d bob disk")
        absent(h, "around.group", "carol")
    finally:
        h.leave_group("bob", "disk")
        h.leave_group("carol", "disk")


@test
def a_lingering_user_is_named(h):
    for name in ("bob", "carol"):
        h.write("/var/lib/systemd/linger/" + name, "")
    find(h, "around.linger", "error", "bob", "loginctl disable-linger bob")
    absent(h, "around.linger", "carol")


@test
def a_crontab_is_named_while_cron_is_outside(h):
    for name in ("bob", "carol"):
        h.write("/var/spool/cron/crontabs/" + name, "")
    f = find(h, "around.cron", "error", "bob", "nsbox enable cron")
    absent(h, "around.cron", "carol")
    h.run(f["fix"]).check()
    absent(h, "around.cron")


@test
def an_at_job_is_named_while_atd_is_outside(h):
    h.write("/etc/pam.d/atd", SHIPPED["cron"])
    h.write("/var/spool/cron/atjobs/a00001", "")
    absent(h, "around.at")
    os.chown("/var/spool/cron/atjobs/a00001", 1002, 1002)
    f = find(h, "around.at", "error", "bob", "nsbox enable atd")
    h.run(f["fix"]).check()
    absent(h, "around.at")


@test
def mail_that_runs_programs_is_named(h):
    h.home_file("bob", ".forward", "|/bin/sh\n")
    wrap = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt && cp -a /usr/sbin/sshd /mnt/ && cp -a /usr/sbin/nologin /mnt/sendmail && "
            "mount --bind /mnt /usr/sbin && exec nsbox doctor --json", "sh"]
    if os.path.exists("/usr/sbin/sendmail"):
        skip("this machine has a mail system")
    absent(h, "around.mail")
    find(h, "around.mail", "warning", "/home/bob/.forward", wrap=wrap)
    os.unlink("/home/bob/.forward")


@test
def a_user_manager_outside_is_named_and_the_fix_is_right(h):
    enable_all(h)
    h.write("/etc/pam.d/systemd-user", "session required pam_unix.so\n")
    absent(h, "around.manager")     # no systemd runs here
    os.makedirs("/run/systemd/system")
    try:
        f = find(h, "around.manager", "error", fix="nsbox enable --deny systemd-user")
        h.run(f["fix"]).check()
        absent(h, "around.manager")
    finally:
        shutil.rmtree("/run/systemd")


@test
def an_attempt_at_a_user_manager_is_named_and_the_fix_is_right(h):
    drop_ins = "/etc/systemd/system/user@.service.d"
    enable_all(h)
    h.write("/etc/pam.d/systemd-user", "session required pam_unix.so\n")
    os.makedirs("/run/systemd/system")
    try:
        absent(h, "around.condition")       # the line is missing, which is said
        h.run(["nsbox", "enable", "--deny", "systemd-user"]).check()
        # Whatever the machine has itself; an empty file takes its place.
        h.write(drop_ins + "/nsbox.conf", "")
        f = find(h, "around.condition", "warning", "user@UID.service", drop_ins)
        # Only systemctl is missing here.
        fix = f["fix"].removesuffix(" && systemctl daemon-reload")
        assert fix != f["fix"], fix
        h.run(["sh", "-c", fix]).check()
        find(h, "around.condition", "ok")
        written, = [name for name in os.listdir(drop_ins) if name != "nsbox.conf"]
        eq(observe.read(f"{drop_ins}/{written}").splitlines(),
           ["[Service]", f"ExecCondition=+{shutil.which('nsbox')} manager %i"], "what is written")
        # The same by another directory, unless an empty file of that name comes before it.
        h.write("/run/systemd/system/user@.service.d/x.conf", observe.read(f"{drop_ins}/{written}"))
        os.unlink(f"{drop_ins}/{written}")
        find(h, "around.condition", "ok")
        os.symlink("/dev/null", drop_ins + "/x.conf")
        find(h, "around.condition", "warning")
        h.policy("[defaults]\naction = host\n")
        absent(h, "around.condition")       # nobody is boxed
    finally:
        shutil.rmtree(drop_ins)
        shutil.rmtree("/run/systemd")


@test
def a_user_with_the_hosts_network_is_named(h):
    h.policy(policy("[user bob]\nnet = host\n"))
    find(h, "around.net", "warning", "bob", "net = none")
    absent(h, "around.net", "alice")


def setup(h):
    common.setup(h)
    for group in ("disk", "docker"):    # the second has another name where its gid is taken
        h.leave_group("alice", group)
    for service in SERVICES:
        h.disable(service)
    for service in os.listdir("/etc/pam.d"):
        SHIPPED[service] = observe.read("/etc/pam.d/" + service)
    shutil.copy("/etc/ssh/ssh_host_ed25519_key.pub", "/root/key.pub")


def before_each(h):
    common.restore(h)
    for service in os.listdir("/etc/pam.d"):
        os.unlink("/etc/pam.d/" + service)
    for service, text in SHIPPED.items():
        h.write("/etc/pam.d/" + service, text)
    for path in ("/var/lib/nsbox", "/var/lib/systemd/linger", "/var/spool/cron/atjobs"):
        shutil.rmtree(path, ignore_errors=True)
    for name in os.listdir("/var/spool/cron/crontabs"):
        os.unlink("/var/spool/cron/crontabs/" + name)


main(setup, before_each=before_each)
