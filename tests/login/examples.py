#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""conf/examples: each file as it is shipped, tried by the users it speaks of. Only the path of an image is another.

What a file's comments tell the administrator to do is done here: the services that they enable, the
lines that they have for sshd_config, the directories that they make.
"""

import glob
import os
import re
import stat
import subprocess

from common import LOOK, all_differ, in_box, looked, on_host
import host
import observe
from observe import wait_until
from tap import contains, eq, lacks, main, skip, test

EXAMPLES = os.path.join(host.REPO, "conf/examples")
CONNECT = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 22), 3); print(\"connected\")'"

try:
    import images
    DEBIAN = images.debian()    # made before the throwaway host hides where it is
except ImportError:
    DEBIAN = None

USERS = {
    "bob": ["users"], "eve": ["users"], "adam": ["users", "sudo"],
    "north": ["dropbox"], "south": ["dropbox"],
    "stu": ["students", "project-a"], "sam": ["students", "project-a"], "sue": ["students", "project-b"],
    "tea": ["teachers"], "tom": ["students", "teachers"],
    "dora": ["developers", "nsbox"], "dirk": ["developers", "nsbox"],
    "guest": ["guests"],
    "gina": ["gpu", "video", "render"], "gus": ["gpu", "video"],
    "carol": [],
}


def example(name):
    return observe.read(f"{EXAMPLES}/{name}.conf")


def comments(name):
    return "\n".join(line[1:] for line in example(name).splitlines() if line.startswith("#"))


def with_our_image(name):
    """The file with the one change that there has to be."""
    text = example(name)
    assert text, f"there is no conf/examples/{name}.conf"
    if re.search(r"^rootfs = /", text, re.M) and not DEBIAN:
        skip("there is no image here")
    return re.sub(r"^rootfs = /\S+$", f"rootfs = {DEBIAN}/root", text, flags=re.M)


def use(h, name):
    """The file is the policy, and its comments are followed."""
    h.policy(with_our_image(name))
    h.run(["nsbox", "disable", "--all"]).check()
    enabled = re.findall(r"^\s+nsbox enable (\S+)(.*)$", comments(name), re.M)
    contains([service for service, _ in enabled], "sshd", f"services that {name}.conf enables")
    for service, args in enabled:
        h.run(["nsbox", "enable", service, *args.split()]).check()
    for made in re.findall(r"^\s+install -d .*?(?=$|  +\()", comments(name), re.M):
        h.run(made.split()).check()
    match = re.search(r"^\s+Match .*\n(?:\s{6,}\w+ .*\n)+", comments(name), re.M)
    h.sshd(**({"Match": match[0].strip().removeprefix("Match ")} if match else {}))


def value(name, key):
    return re.findall(rf"^{key} = (.*)$", example(name), re.M)[-1]


def setup(h):
    known = h.group_ids()
    for number, group in enumerate(sorted({g for groups in USERS.values() for g in groups})):
        if group not in known:
            h.add_group(group, 2100 + number)
    for number, (name, groups) in enumerate(USERS.items()):
        h.add_user(name, 1100 + number, groups=groups)
    h.install()


def boxed_session(h, user, *words, net="none"):
    out = h.ssh(user, "; ".join([LOOK, *words])).check().out
    if net == "none":
        in_box(out)
    else:
        ours, theirs = observe.nsinos("self"), looked(out)
        eq([name for name in theirs if theirs[name] == ours[name]], ["net"], "namespaces that are the host's")
    return out


def cgroup_value(pid, controller, name):
    """A file of the box's cgroup, on the v1 hierarchy of the controller or on the only one there is."""
    paths = observe.cgroups_of(pid)
    group = paths.get(controller, paths.get("")).rstrip("/")
    top = f"/sys/fs/cgroup/{controller}" if controller in paths else "/sys/fs/cgroup"
    return observe.read(f"{top}{group}/{name}").strip()


# ------------------------------------------------------------ all of them

@test
def nsbox_check_has_nothing_to_say_about_any_of_them(h):
    if not re.search(r"nsbox check\b", h.run(["nsbox", "--help"]).out):
        skip("this nsbox has no check")
    names = sorted(os.path.basename(path)[:-5] for path in glob.glob(f"{EXAMPLES}/*.conf"))
    eq(len(names), 6, f"examples: {names}")
    for name in ("course", "projects"):
        os.makedirs(f"/srv/{name}", exist_ok=True)
    for name in names:
        h.policy(with_our_image(name))
        r = h.run(["nsbox", "check"])
        eq((r.code, r.out.strip(), r.err), (0, "", ""), f"nsbox check of {name}.conf")


@test
def each_boxes_whom_it_is_for_and_passes_everybody_else(h):
    for name, user in (("shell-host", "bob"), ("sftp-only", "north"), ("student-lab", "stu"),
                       ("persistent-debian", "dora"), ("guests", "guest"), ("gpu", "gina")):
        h.policy(with_our_image(name))
        r = h.run(["nsbox", "explain", user]).check()
        contains(r.out.splitlines()[0], "through sshd: box", f"{name}.conf, {user}")
        contains(h.run(["nsbox", "explain", "carol"]).check().out.splitlines()[0], "through sshd: pass", f"{name}.conf, carol")


# ------------------------------------------------------------ shell-host.conf

@test
def shell_host_users_see_nobody_but_themselves(h):
    use(h, "shell-host")
    h.start(h.ssh_argv("eve", "sleep 4711"))
    wait_until(lambda: [p for p in observe.boxed() if "4711" in p.cmdline], 10, "eve is logged in")
    out = boxed_session(h, "bob", "ls -x /home", "ps -eo user=,args=", "getent passwd 1101 || echo unknown", "hostname")
    contains(out, "\nbob\n", "/home")
    lacks(out, "eve", "what bob sees")
    lacks(out, "4711", "what bob sees")
    contains(out, "unknown\nthrowaway\n", "getent, hostname")


@test
def shell_host_administrators_and_strangers_to_the_group_are_not_boxed(h):
    use(h, "shell-host")
    for user in ("adam", "carol", "root"):
        on_host(h.ssh(user, LOOK).check().out)


@test
def shell_host_every_service_that_it_enables_leads_into_the_box(h):
    use(h, "shell-host")
    in_box(h.run(["su", "-", "bob", "-c", LOOK]).check().out)
    h.home_file("bob", "job", f"#!/bin/sh\n({LOOK}) > ~/seen.new 2>&1; mv ~/seen.new ~/seen\n", 0o755)
    with open("/var/spool/cron/crontabs/bob", "w") as f:
        f.write("@reboot $HOME/job\n")
    os.chown(f.name, h.users["bob"].uid, h.group_ids()["crontab"])
    os.chmod(f.name, 0o600)
    try:
        h.start(["cron", "-f"])
        in_box(wait_until(lambda: observe.read("/home/bob/seen"), 20, "the job ran"))
    finally:
        os.unlink(f.name)


@test
def shell_host_has_no_network_and_the_limits_it_says(h):
    use(h, "shell-host")
    out = boxed_session(h, "bob", f"{CONNECT} 2>/dev/null", "ulimit -n", "df -k --output=size /tmp | tail -1",
                        "grep NoNewPrivs /proc/self/status", "ls /sys/class/net")
    lacks(out, "connected")
    eq(out.split()[-5:], [value("shell-host", "nofile"), str(512 * 1024), "NoNewPrivs:", "1", "lo"], "limits and network")
    s = h.session("bob")
    eq(cgroup_value(s.pid, "pids", "pids.max"), value("shell-host", "pids_max"), "pids.max")


@test
def shell_host_what_was_left_running_is_there_at_the_next_login(h):
    use(h, "shell-host")
    h.ssh("bob", "tmux -L left new-session -d 'exec sleep 4242'").check()
    wait_until(lambda: [p for p in observe.boxed() if "4242" in p.cmdline], 10, "it runs on")
    contains(h.ssh("bob", "tmux -L left list-sessions").check().out, "1 windows", "sessions of tmux")


# ------------------------------------------------------------ sftp-only.conf

@test
def sftp_only_partners_leave_files_that_are_theirs_on_the_disk(h):
    use(h, "sftp-only")
    h.write("/root/offer", "an offer\n")
    r = h.run(["sftp", "-q", "-b", "-", "north@127.0.0.1"], input="put /root/offer\nls -1 /home\n")
    assert r.code == 0, r
    lacks(r.out, "south", "what north sees")
    st = os.stat("/home/north/offer")
    eq((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)), (h.users["north"].uid, h.users["north"].gid, 0o640), "the file")
    r = h.run(["sftp", "-q", "-b", "-", "north@127.0.0.1"], input="ls /home/south\n")
    assert r.code != 0, r
    h.wait_gone()


@test
def sftp_only_the_server_is_in_the_box(h):
    use(h, "sftp-only")
    p = h.start(["sftp", "-q", "north@127.0.0.1"], stdin=subprocess.PIPE)
    server = wait_until(lambda: [q for q in observe.boxed() if len(q.nspid) > 1 and not q.is_init], 10, "sftp is served")[0]
    all_differ(observe.nsinos(server.pid), observe.nsinos("self"))
    eq(cgroup_value(server.pid, "pids", "pids.max"), value("sftp-only", "pids_max"), "pids.max")
    p.stdin.close()
    h.wait_gone()


@test
def sftp_only_there_is_no_shell_no_forwarding_and_no_other_way_in(h):
    use(h, "sftp-only")
    r = h.ssh("north", "id", input="", timeout=20)
    lacks(r.out, "uid=", "what a command prints")
    r = h.run([*h.ssh_argv("north", options=["-W", "127.0.0.1:22"])], timeout=20)
    lacks(r.out, "SSH-2.0", "what a forwarding reaches")
    for argv in (["su", "north", "-c", "id"], ["su", "-", "north", "-c", "id"]):
        r = h.run(argv)
        assert r.code != 0 and "uid=" not in r.out, r
        contains(r.err, value("sftp-only", "deny_message"), "what su says")
    eq(observe.boxed(), [], "boxed processes")


# ------------------------------------------------------------ student-lab.conf

def lab(h):
    use(h, "student-lab")
    for project in "ab":
        h.run(["install", "-d", "-m", "2770", "-g", f"project-{project}", f"/srv/projects/{project}"]).check()


@test
def student_lab_is_the_image_with_the_students_own_home(h):
    lab(h)
    out = boxed_session(h, "stu", "nsbox-old", "hostname", "pwd", "echo mine > note", "echo $COURSE $PROJECTS")
    for part in ("old 1.0\n", "lab-stu\n", "/home/stu\n", "/course /projects\n"):
        contains(out, part)
    st = os.stat("/home/stu/note")
    eq((st.st_uid, st.st_gid), (h.users["stu"].uid, h.users["stu"].gid), "owner on the disk")


@test
def student_lab_a_project_shares_its_files_and_nobody_else_has_them(h):
    lab(h)
    boxed_session(h, "stu", "umask 007; echo work > /projects/a/work")
    st = os.stat("/srv/projects/a/work")
    eq((st.st_uid, st.st_gid), (h.users["stu"].uid, h.group_ids()["project-a"]), "owner and group on the disk")
    contains(boxed_session(h, "sam", "cat /projects/a/work", "ls -l /projects/a"), "project-a")
    r = h.ssh("sue", "cat /projects/a/work")
    assert r.code != 0 and "work\n" not in r.out, r
    # And the host's side of it, unboxed: ids mean what they say.
    eq(h.run(["setpriv", "--reuid=1199", f"--regid={h.group_ids()['project-a']}", "--clear-groups", "cat",
              "/srv/projects/a/work"]).check().out, "work\n", "what a member reads on the host")


@test
def student_lab_teachers_write_the_course_and_students_read_it(h):
    lab(h)
    s = h.session("stu")
    boxed_session(h, "tea", "echo one > /course/sheet")
    eq(os.stat("/srv/course/sheet").st_gid, h.group_ids()["teachers"], "group on the disk")
    contains(h.ssh("stu", "cat /course/sheet").check().out, "one\n")
    r = h.ssh("stu", "echo no > /course/sheet; touch /course/new")
    assert r.code != 0, r
    eq((observe.read("/srv/course/sheet"), os.listdir("/srv/course")), ("one\n", ["sheet"]), "the course")
    boxed_session(h, "tom", "echo two > /course/of-a-tutor")
    s.close()


# ------------------------------------------------------------ persistent-debian.conf

@test(timeout=120)
def persistent_debian_what_sudo_installs_is_there_at_the_next_login(h):
    use(h, "persistent-debian")
    contains(boxed_session(h, "dora", "sudo -n id -u", net="host"), "\n0\n", "sudo")
    h.ssh("dora", "sudo -n apt-get -qq update && sudo -n apt-get -qq -y install nsbox-new", timeout=90).check()
    contains(h.ssh("dora", "nsbox-new").check().out, "new 1.0")
    h.run(["nsbox", "stop", "dora"]).check()
    h.wait_gone(uid=h.users["dora"].uid)
    contains(boxed_session(h, "dora", "nsbox-new", net="host"), "new 1.0")
    assert h.ssh("dirk", "nsbox-new").code == 127, "dirk has what dora installed"
    assert not os.path.exists(f"{DEBIAN}/root/usr/bin/nsbox-new"), "the image was changed"


@test
def persistent_debian_its_root_is_nobody_outside(h):
    use(h, "persistent-debian")
    h.start(h.ssh_argv("dora", "sudo -n sleep 4343"))
    p = wait_until(lambda: [p for p in observe.boxed() if p.cmdline == "sleep 4343"], 10, "it runs as root inside")[0]
    eq({u for u in p.uids}, {observe.to_host(p.pid, 0)}, "its uids outside")
    assert p.uids[0] >= 65536, p.uids
    r = h.ssh("dora", "sudo -n sh -c 'cp /bin/sh ~/sh && chmod 4755 ~/sh'")
    st = os.stat("/home/dora/sh") if os.path.exists("/home/dora/sh") else None
    assert not st or not (st.st_uid == 0 and st.st_mode & stat.S_ISUID), f"a setuid file of root: {r}"


# ------------------------------------------------------------ guests.conf

@test
def guests_two_at_once_do_not_meet(h):
    use(h, "guests")
    a, b = h.session("guest"), h.session("guest")
    all_differ(observe.nsinos(a.pid), observe.nsinos(b.pid), "shared by two guests")
    uid = h.users["guest"].uid
    h.enter(a.pid, "sh", "-c", "echo of-a > /home/guest/note", uid=uid).check()
    eq(h.enter(b.pid, "ls", "-A", "/home/guest", uid=uid).check().out.split(), sorted(os.listdir("/etc/skel")),
       "the home of the other")
    eq(h.enter(b.pid, "hostname", uid=uid).out, "guest\n", "hostname")


@test
def guests_nothing_remains(h):
    use(h, "guests")
    before = sorted(os.listdir("/home/guest"))
    out = boxed_session(h, "guest", "echo x > note", "cat note", "df -k --output=size . | tail -1")
    eq(out.split()[-2:], ["x", str(64 * 1024)], "the home")
    eq(sorted(os.listdir("/home/guest")), before, "the home on the disk")
    h.wait_gone()
    eq(h.ssh("guest", "ls -A").check().out.split(), sorted(os.listdir("/etc/skel")), "the home at the next login")


@test
def guests_have_no_crontab(h):
    use(h, "guests")
    contains(h.run(["nsbox", "explain", "guest", "--service", "cron"]).check().out, "through cron: deny")


# ------------------------------------------------------------ gpu.conf

def cards(h):
    """Nodes as udev makes them. There is nothing behind them; what matters is who may open them."""
    os.makedirs("/dev/dri", exist_ok=True)
    for minor, name, group in ((0, "card0", "video"), (128, "renderD128", "render")):
        path = "/dev/dri/" + name
        if not os.path.exists(path):
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(226, minor))
        os.chown(path, 0, h.group_ids()[group])
        os.chmod(path, 0o660)


@test
def gpu_the_cards_are_for_whoever_is_in_their_groups(h):
    use(h, "gpu")
    cards(h)
    look = 'for d in /dev/dri/*; do test -r $d -a -w $d && echo "$d"; done'
    for user, has in (("gina", ["/dev/dri/card0", "/dev/dri/renderD128"]), ("gus", ["/dev/dri/card0"])):
        out = boxed_session(h, user, look, "ls -l /dev/dri")
        eq(re.findall(r"^/dev/dri/\w+$", out, re.M), has, f"what {user} has of the cards")
        contains(out, "video", f"groups of what {user} has")
        # Open, and be told by the kernel that there is no card, not by the mode that it is another's.
        r = h.ssh(user, "exec 3</dev/dri/card0")
        contains(r.err, "No such device", f"what {user} is told")
    for device in ("/dev/fuse", "/dev/kvm"):
        assert h.ssh("gina", f"test -e {device}").code != 0, f"{device} is in the box"


@test
def gpu_room_to_work_and_data_where_there_is_some(h):
    use(h, "gpu")
    cards(h)
    out = boxed_session(h, "gina", "df -k --output=size /dev/shm | tail -1", "df -k --output=size /scratch | tail -1",
                        "echo $TMPDIR", "touch $TMPDIR/x && echo writable", "ls -d /srv/datasets 2>/dev/null || echo none")
    eq(out.split()[-5:], [str(16 << 20), str(8 << 20), "/scratch", "writable", "none"], "sizes and places")
    h.run(["nsbox", "stop", "gina"])
    h.write("/srv/datasets/iris", "5.1\n")
    out = boxed_session(h, "gina", "cat /srv/datasets/iris", "touch /srv/datasets/x 2>/dev/null || echo read-only")
    contains(out, "5.1\nread-only\n")


main(setup)
