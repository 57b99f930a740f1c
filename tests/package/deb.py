#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The Debian package in a clean root: installed, upgraded, removed, purged, and pam.d after each.

NSBOX_DEB      the package to test, instead of one that make deb makes first
"""

import glob
import os
import shutil
import stat
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), HERE]
import observe
import root
from host import KEY
from tap import contains, eq, lacks, main, test

REPO = os.path.realpath(os.path.join(HERE, "../.."))
WORK = os.path.join(REPO, os.environ.get("NSBOX_BUILD", "build"), "package")     # the throwaway host has it too
LINE = "session required pam_nsbox.so"
LOOK = "readlink /proc/self/ns/user"
R = None        # the root
SHIPPED = {}    # its pam.d before anything of ours came


def prepare():
    """On the machine, before the throwaway host: the packages."""
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    deb = os.environ.get("NSBOX_DEB")
    if not deb:
        made = subprocess.run(["make", "-s", "-C", REPO, "deb", f"DEB={WORK}/deb", "DEB_FLAGS=-b"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode:
            print(made.stdout, file=sys.stderr)
            sys.exit("make deb failed")
        deb = glob.glob(WORK + "/deb/libpam-nsbox_*.deb")[0]
    shutil.copy(deb, WORK + "/package.deb")
    subprocess.run(["dpkg-deb", "-R", deb, WORK + "/tree"], check=True)
    subprocess.run(["sed", "-i", r"s/^Version: .*/&+newer/", WORK + "/tree/DEBIAN/control"], check=True)
    subprocess.run(["dpkg-deb", "-b", WORK + "/tree", WORK + "/newer.deb"], check=True, stdout=subprocess.DEVNULL)
    for version in (1, 2):
        tree = f"{WORK}/service-{version}"
        os.makedirs(tree + "/DEBIAN")
        os.makedirs(tree + "/etc/pam.d")
        for name, text in (("DEBIAN/control", f"Package: a-service\nVersion: {version}\nArchitecture: all\n"
                            "Maintainer: tests <root@localhost>\nDescription: a PAM service\n"),
                           ("DEBIAN/conffiles", "/etc/pam.d/a-service\n"),
                           ("etc/pam.d/a-service", f"# version {version}\nsession required pam_unix.so\n")):
            with open(f"{tree}/{name}", "w") as f:
                f.write(text)
        subprocess.run(["dpkg-deb", "-b", tree, f"{WORK}/service-{version}.deb"], check=True, stdout=subprocess.DEVNULL)


def pam_d():
    found = {}
    for name in sorted(os.listdir(R.path("/etc/pam.d"))):
        with open(R.path("/etc/pam.d/" + name), "rb") as f:
            found[name] = f.read()
    return found


def unchanged():
    now = pam_d()
    eq({n for n in now if now[n] != SHIPPED.get(n)} | (set(SHIPPED) - set(now)), set(), "changed files in pam.d")


def install(deb="/root/package.deb"):
    return R.run(["dpkg", "-i", deb]).check()


def boxed(h):
    out = h.ssh("alice", LOOK + "; id -un").check().out.split()
    eq(out[1], "alice", "who it is")
    return out[0] != os.readlink("/proc/self/ns/user")


# ------------------------------------------------------------ in and out

@test
def installing_changes_no_service_and_boxes_nobody(h):
    install()
    unchanged()
    assert not boxed(h), "boxed"
    contains(R.run("nsbox explain alice").check().out, "box")
    eq(R.run(["nsbox", "doctor"]).code, 1, "doctor's exit code: nothing is enabled")


@test
def nothing_in_it_is_setuid_and_the_policy_is_a_conffile(h):
    for name in R.run("dpkg -L libpam-nsbox").check().out.split():
        if name.startswith("/usr/share/doc/"):
            continue    # this root has none
        mode = os.stat(R.path(name)).st_mode
        assert not stat.S_ISREG(mode) or not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH), name
    contains(R.run("dpkg-query -W -f '${Conffiles}' libpam-nsbox").out, "/etc/nsbox/nsbox.conf")
    assert glob.glob(R.path("/usr/lib/*/security/pam_nsbox.so")), "no module beside libpam's"
    os.stat(R.path("/usr/libexec/nsbox-keeper"))


@test
def enable_boxes_and_disable_does_not(h):
    R.run("nsbox enable sshd").check()
    eq(pam_d()["sshd"].decode().splitlines()[-1], LINE, "the last line")
    assert boxed(h), "not boxed"
    R.run("nsbox disable sshd").check()
    unchanged()
    assert not boxed(h), "boxed"


@test
def an_upgrade_leaves_what_was_enabled(h):
    R.run("nsbox enable sshd").check()
    R.run("nsbox enable su exempt_group=sudo").check()
    before = pam_d()
    install("/root/newer.deb")
    contains(R.run("dpkg-query -W libpam-nsbox").out, "+newer")
    eq(pam_d(), before, "pam.d")
    assert boxed(h), "not boxed"


@test
def removing_takes_every_line_out_before_the_module_goes(h):
    R.run("nsbox enable cron").check()
    contains(R.run("apt-get remove -y libpam-nsbox").check().out, "cron is disabled")
    unchanged()
    eq(glob.glob(R.path("/usr/lib/*/security/pam_nsbox.so")), [], "the module")
    os.stat(R.path("/etc/nsbox/nsbox.conf"))
    assert not boxed(h), "boxed"


@test
def installing_again_boxes_nobody(h):
    install()
    unchanged()
    assert not boxed(h), "boxed"


@test
def a_line_that_cannot_be_taken_out_keeps_the_module(h):
    R.run("nsbox enable sshd").check()
    shutil.copy(R.path("/etc/pam.d/sshd"), R.path("/root/elsewhere"))
    os.symlink("/root/elsewhere", R.path("/etc/pam.d/linked"))
    r = R.run("dpkg -r libpam-nsbox")
    assert r.code, r
    contains(r.err + r.out, "/etc/pam.d/linked")
    assert glob.glob(R.path("/usr/lib/*/security/pam_nsbox.so")), "the module has gone"
    os.unlink(R.path("/etc/pam.d/linked"))
    R.run("dpkg --configure -a").check()
    unchanged()


@test
def a_line_written_by_hand_goes_too(h):
    with open(R.path("/etc/pam.d/sudo"), "ab") as f:
        f.write(b"session required pam_nsbox.so pids_max=77\n")
    R.run("dpkg -r libpam-nsbox").check()
    unchanged()
    install()


@test
def purging_leaves_nothing(h):
    R.run("nsbox enable sshd").check()
    R.run("apt-get purge -y libpam-nsbox").check()
    unchanged()
    left = R.run("find / -xdev -name '*nsbox*' -not -path '/root/*' -not -path '/proc/*' -not -path '/sys/*' "
                 "-not -path '/run/*' -not -path '/dev/*' -not -path '/var/log/*'").out.split()
    eq(left, [], "files")
    assert not boxed(h), "boxed"
    install()


# ------------------------------------------------------------ the profile

@test
def the_profile_is_off_until_it_is_chosen_and_then_last(h):
    contains(R.run("cat /usr/share/pam-configs/nsbox").out, "Default: no")
    R.run("pam-auth-update --enable nsbox").check()
    for name in ("common-session", "common-session-noninteractive"):
        rules = [line for line in pam_d()[name].decode().splitlines() if line.startswith("session")]
        eq(rules[-1].split(), LINE.split(), f"the last rule of {name}")
    look = R.run(["su", "-", "alice", "-c", LOOK]).check().out.strip()
    assert look.startswith("user:") and look != os.readlink("/proc/self/ns/user"), f"not boxed: {look}"
    # sshd's own rules come after, in the box: refused, and not let in outside.
    r = h.ssh("alice", LOOK)
    assert r.code and "user:" not in r.out, r
    contains(R.run("nsbox doctor").out, "comes after nsbox's line in sshd")


@test
def removing_takes_the_profile_out(h):
    R.run("dpkg -r libpam-nsbox").check()
    now = pam_d()
    eq([n for n in now if b"pam_nsbox" in now[n]], [], "files that name the module")
    assert not boxed(h), "boxed"
    install()


# ------------------------------------------------------------ a service's own upgrade

def line_in_service():
    return [line for line in pam_d()["a-service"].decode().splitlines() if "pam_nsbox" in line]


@test
def an_upgrade_that_keeps_the_edited_file_keeps_the_line(h):
    R.run("dpkg -i /root/service-1.deb").check()
    R.run("nsbox enable a-service exempt_group=sudo").check()
    R.run("dpkg -i --force-confold /root/service-2.deb").check()
    eq(line_in_service(), [LINE + " exempt_group=sudo"], "our line")
    contains(pam_d()["a-service"].decode(), "version 1")


@test
def an_upgrade_that_brings_a_new_file_gets_the_line_back(h):
    R.run("dpkg -i --force-confnew /root/service-1.deb").check()
    eq(line_in_service(), [LINE + " exempt_group=sudo"], "our line")
    R.run("dpkg -i --force-confnew /root/service-2.deb").check()
    contains(pam_d()["a-service"].decode(), "version 2")
    eq(line_in_service(), [LINE + " exempt_group=sudo"], "our line")
    R.run("nsbox disable a-service").check()
    lacks(pam_d()["a-service"].decode(), "nsbox")
    R.run("dpkg -P a-service").check()


# ------------------------------------------------------------ what comes with it

@test(timeout=180)
def the_packages_own_tests_pass_under_autopkgtest(h):
    shutil.copytree(REPO + "/debian", R.path("/root/source/debian"))
    h.write(R.path("/root/source/debian/files"), "")    # by which it knows a tree that has been built
    # This root is not one that can be taken back, but it may be broken.
    r = R.run(["autopkgtest", "--ignore-restrictions=breaks-testbed", "--no-built-binaries", "--output-dir=/root/out",
               "/root/package.deb", "/root/source", "--", "null"], timeout=150)
    eq(r.code, 0, f"exit code of autopkgtest, which says {r}")
    eq(observe.read(R.path("/root/out/summary")).split(), ["login", "PASS"], "its summary")
    contains(observe.read(R.path("/root/out/login-stdout")), "a login is boxed")


@test
def words_are_completed(h):
    def complete(*words):
        script = ("_init_completion() { words=(\"${COMP_WORDS[@]}\"); cword=$COMP_CWORD; cur=${words[cword]}; "
                  "prev=${words[cword-1]}; }; . /usr/share/bash-completion/completions/nsbox; "
                  f"COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; _nsbox; "
                  "printf '%s\\n' \"${COMPREPLY[@]}\"")
        return R.run(["bash", "-c", script]).out.split()
    eq(complete("nsbox", "e"), ["explain", "enable"], "verbs")
    contains(complete("nsbox", "enable", "ss"), "sshd")
    eq(complete("nsbox", "enable", "--d"), ["--deny"], "options of enable")
    eq(complete("nsbox", "disable", "--a"), ["--all"], "options of disable")
    eq(complete("nsbox", "doctor", ""), ["--json"], "options of doctor")
    contains(complete("nsbox", "stop", "al"), "alice")


def setup(h):
    global R
    R = root.Root(h, TAR)
    for name in ("package.deb", "newer.deb", "service-1.deb", "service-2.deb"):
        shutil.copy(f"{WORK}/{name}", R.path("/root/"))
    R.run("useradd -m -u 1001 -s /bin/bash alice && groupadd -r nsbox && usermod -aG nsbox alice").check()
    os.makedirs(R.path("/home/alice/.ssh"), 0o700)
    shutil.copy(KEY + ".pub", R.path("/home/alice/.ssh/authorized_keys"))
    R.run("chown -R alice:alice /home/alice/.ssh").check()
    SHIPPED.update(pam_d())
    R.sshd = subprocess.Popen(["nsenter", "-t", str(R.pid), "-m", "-p", "-r", "-w", "/usr/sbin/sshd", "-D"],
                              stdin=subprocess.DEVNULL)
    h.wait_until(lambda: h.ssh("alice", "true").code == 0, 10, "sshd answers")


if __name__ == "__main__":
    if not shutil.which("mmdebstrap") or not shutil.which("dh"):
        print("ok 1 - a package is made # SKIP mmdebstrap or debhelper is not installed\n1..1")
        sys.exit(0)
    prepare()
    TAR = open(root.archive(WORK + "/package.deb"), "rb")      # the throwaway host has another /var
    main(setup)
