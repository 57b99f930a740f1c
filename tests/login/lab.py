#!/usr/bin/python3 -B
"""A shared lab machine as its administrator sees it: 300 students, 20 staff, guests, three images, one file.

    students    primary group students, uid 30000 and up; a directory as an image
    staff       in group tutors beside their own; a root of their own that is kept
    guests      an erofs file, a home in memory, no way in but ssh
    far         a student from a directory, with a uid and a gid near the end of 32 bits
"""

import json
import os
import re
import shutil

from common import LOOK, SERVICES, in_box, on_host
import images
import observe
from tap import contains, eq, main, test

STUDENTS, STAFF, GUESTS, PROJECT, FAR = 30000, 31000, 32000, 33000, 4000000000
ETC, CONF = "/etc/nsbox", "/etc/nsbox/nsbox.conf"
POLICY = """\
# The lab. Whoever is in none of these groups is not boxed.
[defaults]
action = pass
linger = 0
deny_message = %H is not for %u: ask the lab's staff.

[profile lab]
rootfs = /srv/images/lab
shell_fallback = /bin/sh
hostname = %H-%u
bind = /srv/course:/course:ro /srv/groups/%g:/shared:optional
env = LAB=%g/%u/%U MINE=%h/work SHARE=100%%
pids_max = 300
memory_max = 1G

[group students]
action = box
profile = lab

[group project]
pids_max = 400

[group tutors]
action = box
profile = lab
rootfs = /srv/images/work
rootfs_mode = persistent
bind = none

[group guests]
action = box
rootfs = /srv/images/guest.erofs
home = tmpfs
shell_fallback = /bin/sh
deny_services = systemd-user su su-l cron

[user s7]
pids_max = 500
"""
ROOTS = {"lab": "/srv/images/lab", "work": "/srv/images/work", "guest": "/srv/images/guest"}


def enroll(h, name, uid, gid, groups=(), home=False):
    """Most of them never log in here and need no home."""
    h.add_user(name, uid, gid, groups=groups, shell="/bin/bash", make_home=home, key=home)


def move_to_directory(h, user):
    """His entries to another source of the name service; there he is in one group more."""
    for database in ("passwd", "group", "shadow"):
        lines = observe.read(f"/etc/{database}").splitlines(True)
        own = [line for line in lines if line.startswith(f"{user}:")]
        more = [f"distant:x:{FAR + 1}:{user}\n"] if database == "group" else []
        h.write(f"/var/lib/extrausers/{database}", "".join(own + more))
        h.write(f"/etc/{database}", "".join(line for line in lines if line not in own))
    sources = observe.read("/etc/nsswitch.conf")
    h.write("/etc/nsswitch.conf", re.sub(r"(?m)^(passwd|group|shadow):.*", r"\1: files extrausers", sources))


def setup(h):
    for name, gid in (("students", STUDENTS), ("tutors", STAFF), ("guests", GUESTS), ("project", PROJECT), ("far", FAR)):
        h.add_group(name, gid)
    for n in range(300):
        enroll(h, f"s{n}", STUDENTS + n, STUDENTS, home=n < 10)
    for n in range(20):
        enroll(h, f"t{n}", STAFF + 100 + n, STAFF + 100 + n, groups=["tutors"], home=n < 2)
    for n in range(5):
        enroll(h, f"guest{n}", GUESTS + n, GUESTS, home=n < 2)
    enroll(h, "far", FAR, FAR, groups=["students"], home=True)
    move_to_directory(h, "far")
    h.add_user("visitor", 34000)
    for name, tree in ROOTS.items():
        images.busybox(tree)
        h.write(f"{tree}/image", name + "\n")
    images.loop_devices()
    h.run(["mkfs.erofs", "--quiet", "/srv/images/guest.erofs", ROOTS["guest"]]).check()
    h.write("/srv/course/task", "the task\n")
    os.makedirs("/srv/groups/students")
    os.chown("/srv/groups/students", 0, STUDENTS)
    os.chmod("/srv/groups/students", 0o2775)
    h.install()
    h.policy(POLICY)
    for service in SERVICES:
        h.enable(service)
    h.sshd()


def explain(h, user, service="sshd"):
    return json.loads(h.run(["nsbox", "explain", "--json", "--service", service, user]).out)


# ------------------------------------------------------------ before anybody logs in

@test
def check_has_nothing_to_say(h):
    r = h.run(["nsbox", "check"])
    eq((r.code, r.out, r.err), (0, "", ""), "nsbox check")


@test(timeout=240)
def explain_says_of_everybody_what_he_will_get_and_why(h):
    lines = {text: n for n, text in enumerate(POLICY.splitlines(), 1)}
    where = lambda text: {"file": CONF, "line": lines[text]}
    for user, root, pids in [(f"s{n}", "/srv/images/lab", "500" if n == 7 else "300") for n in range(300)] + \
            [(f"t{n}", "/srv/images/work", "300") for n in range(20)] + [("far", "/srv/images/lab", "300")] + \
            [(f"guest{n}", "/srv/images/guest.erofs", "512") for n in range(5)]:
        answer = explain(h, user)
        keys = answer["keys"]
        eq((answer["action"], keys["rootfs"]["value"], keys["pids_max"]["value"]), ("box", root, pids), user)
    keys = explain(h, "s7")["keys"]
    eq(keys["pids_max"]["from"], {**where("pids_max = 500"), "section": "[user s7]"}, "pids_max of s7")
    eq(keys["pids_max"]["over"], {**where("pids_max = 300"), "section": "[profile lab] of [group students]"}, "what it beat")
    keys = explain(h, "t0")["keys"]
    eq(keys["rootfs"]["from"], {**where("rootfs = /srv/images/work"), "section": "[group tutors]"}, "rootfs of t0")
    eq(keys["hostname"]["value"], "throwaway-t0", "hostname")
    eq(explain(h, "guest0", "cron")["action"], "deny", "a guest's cron job")
    eq(explain(h, "visitor")["action"], "pass", "who is in no group")


# ------------------------------------------------------------ logins

@test
def everybody_is_in_his_own_image_with_what_is_his(h):
    out = h.ssh("s3", f"cat /image /course/task; hostname; env | grep -E '^(LAB|MINE|SHARE)=' | sort; id -gn; {LOOK}").check().out
    contains(out, "lab\nthe task\nthrowaway-s3\nLAB=students/s3/30003\nMINE=/home/s3/work\nSHARE=100%\nstudents\n")
    in_box(out)
    out = h.ssh("t0", f"cat /image; echo kept > /tmp/x; ls -d /course; {LOOK}")
    contains(out.out, "work\n")
    contains(out.err, "/course", "staff has no course")
    in_box(out.out)
    out = h.ssh("guest0", f"cat /image; touch ~/made; pwd; {LOOK}").check().out
    contains(out, "guest\n/home/guest0\n")
    in_box(out)
    h.wait_gone()
    assert not os.path.exists("/home/guest0/made"), "a guest's file outlived his box"
    on_host(h.ssh("visitor", LOOK).check().out)


@test
def students_share_by_their_group_and_the_ids_mean_the_same_on_both_sides(h):
    h.ssh("s1", "umask 002; echo one > /shared/file; chmod 664 /shared/file").check()
    st = os.stat("/srv/groups/students/file")
    eq((st.st_uid, st.st_gid), (STUDENTS + 1, STUDENTS), "owner and group on the disk")
    eq(h.ssh("s2", "echo two >> /shared/file; cat /shared/file; stat -c %G /shared/file").check().out, "one\ntwo\nstudents\n",
       "another student")
    r = h.ssh("far", "ls /shared 2>&1; id -gn")
    contains(r.out, "far\n", "the primary group decides what %g is")


@test
def an_id_near_the_end_of_32_bits_is_an_id_like_another(h):
    for database in ("passwd", "group"):
        assert h.run(["getent", "-s", "files", database, "far"]).code == 2, f"far is in /etc/{database}"
    eq(h.ssh("far", "id -nG").check().out.split(), ["far", "students", "distant"], "groups, from two sources")
    eq(h.ssh("far", "id -u; id -g; touch made; cat /image; env | grep LAB").check().out,
       f"{FAR}\n{FAR}\nlab\nLAB=far/far/{FAR}\n", "inside")
    st = os.stat("/home/far/made")
    eq((st.st_uid, st.st_gid), (FAR, FAR), "owner on the disk")
    h.append(CONF, f"[user {FAR}]\nhostname = far-away\n[group {FAR}]\npids_max = 444\n")
    eq(h.ssh("far", "hostname").check().out, "far-away\n", "a section by the number")
    eq(explain(h, "far")["keys"]["pids_max"]["value"], "444", "a section by the group's number")
    h.write(f"{ETC}/users.d/{FAR}.conf", "hostname = by-file\n")
    eq(h.ssh("far", "hostname").check().out, "by-file\n", "a file by the number")
    s = h.session("far")
    listed = h.run(["nsbox", "list"]).check().out
    contains(listed, "far ", "nsbox list")
    h.wait_until(lambda: "far " in h.run(["who"]).out, 5, "who shows far")
    contains(h.run(["last", "-w", "-f", "/var/log/wtmp"]).out, "far ", "last")
    h.run(["nsbox", "stop", "far"]).check()
    h.wait_until(lambda: s.popen.poll() is not None, 5, "nsbox stop has ended it")
    h.wait_gone()


# ------------------------------------------------------------ a change counts at once

@test
def deny_and_pass_count_at_once_and_the_box_with_the_next_new_box(h):
    s = h.session("s4")
    h.write(f"{ETC}/users.d/s4.conf", "action = deny\n")
    eq(h.ssh("s4", "echo in").code, 254, "exit code of a denied login")
    contains(h.run(["su", "-", "s4", "-c", "true"]).err, "throwaway is not for s4: ask the lab's staff.", "what he reads")
    eq(s.popen.poll(), None, "the session that was there")
    h.write(f"{ETC}/users.d/s4.conf", "action = pass\n")
    on_host(h.ssh("s4", LOOK).check().out)
    os.unlink(f"{ETC}/users.d/s4.conf")
    h.append(CONF, "[user s4]\nhostname = other\n")
    eq(h.ssh("s4", "hostname").check().out, "other\n", "the next login")
    contains(h.run(["nsbox", "list"]).check().out, "changed\n", "nsbox list")
    eq(h.enter(s.pid, "hostname").out, "throwaway-s4\n", "the box that was there")
    s.close()


@test
def another_group_is_another_box_and_the_old_one_drains(h):
    old = h.session("s5")
    h.join_groups("s5", ["project"])
    new = h.session("s5")
    eq(len(observe.inits()), 2, "boxes")
    look = {s.pid: observe.nsinos(s.pid)["mnt"] for s in (old, new)}
    eq(len(set(look.values())), 2, "the two sessions' mount namespaces")
    eq(h.ssh("s5", "id -Gn").check().out.split(), ["students", "project"], "groups in the new box")
    eq(explain(h, "s5")["keys"]["pids_max"]["value"], "400", "the new group's key")
    contains(h.run(["nsbox", "list"]).check().out, "changed\n", "nsbox list")
    old.close()
    h.wait_until(lambda: len(observe.inits()) == 1, 5, "the old box has ended")
    eq(h.ssh("s5", "echo in").check().out, "in\n", "the new box goes on")
    h.leave_group("s5", "project")


@test
def a_key_on_the_pam_line_has_the_last_word(h):
    h.enable("su", "pids_max=333 profile=lab hostname=by-su")
    try:
        eq(h.run(["su", "-", "s7", "-c", "hostname"]).check().out, "by-su\n", "through su")
        eq(h.ssh("s7", "hostname").check().out, "throwaway-s7\n", "through ssh")
    finally:
        h.enable("su")


# ------------------------------------------------------------ whose files

@test
def a_file_of_users_d_that_others_can_write_refuses_that_user_alone(h):
    path = f"{ETC}/users.d/s6.conf"

    def spoil(how):
        h.write(path, "pids_max = 100\n")
        how()
        mark = h.log_mark()
        eq(h.ssh("s6", "echo in").code, 254, "exit code")
        h.wait_for_log(r"s6.*users\.d/s6\.conf", since=mark)
        eq(h.ssh("s8", "echo in").check().out, "in\n", "another student")
        r = h.run(["nsbox", "check"])
        eq(r.code, 4, "exit code of nsbox check")
        contains(r.out, "users.d/s6.conf", "nsbox check")
        os.unlink(path)

    def link():
        os.rename(path, f"{ETC}/real")
        os.symlink(f"{ETC}/real", path)

    spoil(lambda: os.chown(path, STUDENTS + 6, 0))
    spoil(lambda: os.chmod(path, 0o664))
    spoil(lambda: os.chmod(path, 0o646))
    spoil(link)


@test
def each_mistake_is_told_with_its_line_and_refuses_those_it_concerns(h):
    n = POLICY.count("\n")
    for text, line, sentence, refused in (
            ("[user s9]\npid_max = 5\n", n + 2, "unknown key \"pid_max\" (did you mean pids_max?)", ["s9"]),
            ("[group guests]\nhome = bind\n", n + 1, "\"[group guests]\" is already at line 30: write both into one section", ["guest1"]),
            ("[user s9]\nrootfs = srv\n", n + 2, "begins with /", ["s9"]),
            ("[group studnets]\naction = deny\n", n + 1, "there is no group studnets", [])):
        h.policy(POLICY + text)
        out = h.run(["nsbox", "check"]).out
        contains(out, f"{CONF}:{line}: ", "nsbox check")
        contains(out, sentence, "nsbox check")
        for user in ("s9", "guest1", "t1"):
            eq(h.ssh(user, "true").code, 254 if user in refused else 0, f"{user} with {text!r}")


def before_each(h):
    shutil.rmtree(f"{ETC}/users.d", ignore_errors=True)
    os.makedirs(f"{ETC}/users.d")
    h.policy(POLICY)


main(setup, before_each=before_each)
