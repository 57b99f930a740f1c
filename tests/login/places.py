#!/usr/bin/python3 -B
"""What the policy puts into a box: bind, tmpfs, mask, the sizes, and what a home is. Looked at from the host."""

import json
import os
import shutil
import stat

from common import LOOK, as_root, contains, eq, in_box, policy, setup as common_setup
import automount
import observe
from observe import to_host
from tap import lacks, main, test

STUDENTS = 1600
LAB = "/srv/lab"
TREE = "/srv/tree"
SHIFT = "idmap = shift, since no file system that the box writes to is without idmapped mounts"


def setup(h):
    common_setup(h)
    h.join_groups("bob", ["students"])


def before_each(h):
    """The usual policy, fresh sources, nothing of an earlier test in the home."""
    h.policy(policy())
    for name in os.listdir("/srv"):
        remove("/srv/" + name)
    for name in os.listdir("/home/alice"):
        if not name.startswith("."):
            remove("/home/alice/" + name)
    os.makedirs(LAB)
    os.chown(LAB, 0, STUDENTS)
    os.chmod(LAB, 0o2775)
    h.write(f"{LAB}/task", "the task\n")


def remove(path):
    shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def use(h, *lines):
    h.policy(policy(defaults="".join(line + "\n" for line in lines)))


def options(pid, where):
    """The options of what is mounted last at this place of the box."""
    found = [line.split() for line in observe.mounts(pid) if line.split()[1] == where]
    assert found, f"nothing is mounted on {where}: {observe.mounts(pid)}"
    return found[-1][3].split(",")


def refused(h, *patterns, user="alice"):
    """The login is refused and the log says why."""
    mark = h.log_mark()
    r = h.ssh(user, "echo in")
    assert r.code == 254 and "\nin\n" not in r.out, f"a login that should be refused: {r}"
    for pattern in patterns:
        h.wait_for_log(pattern, since=mark)


# ------------------------------------------------------------ bind

@test
def a_group_directory_keeps_owners_and_groups_on_both_sides(h):
    use(h, f"bind = {LAB}:/data")
    h.write(f"{LAB}/of-bob", "bob's\n", 0o660)
    os.chown(f"{LAB}/of-bob", 1002, STUDENTS)
    h.write(f"{LAB}/of-root", "root's\n", 0o600)
    out = h.ssh("alice", "cd /data; cat task; echo mine > of-alice; echo added >> of-bob; cat of-root; "
                         f"stat -c '%n %u %g %a' of-alice . of-bob; {LOOK}").out
    in_box(out)
    contains(out, "the task\n")
    contains(out, "of-alice 1001 1600 644")
    contains(out, ". 65534 1600 2775")
    contains(out, "of-bob 65534 1600 660")
    lacks(out, "root's\n")
    st = os.stat(f"{LAB}/of-alice")
    eq((st.st_uid, st.st_gid), (1001, STUDENTS), "owner on the disk")
    eq(observe.read(f"{LAB}/of-bob"), "bob's\nadded\n", "the group's file")
    contains(h.ssh("bob", "cat /data/of-alice; stat -c %u /data/of-bob").out, "mine\n1002\n", "as bob sees it")


@test
def a_user_who_is_not_in_the_group_stays_out(h):
    use(h, f"bind = {LAB}:/data")
    os.chmod(LAB, 0o2770)
    h.add_user("eve", 1010, groups=["nsbox"])
    out = h.ssh("eve", f"cat /data/task; touch /data/x; {LOOK}").out
    in_box(out)
    lacks(out, "the task")
    eq(sorted(os.listdir(LAB)), ["task"], "files of the group")


@test
def a_bind_is_always_nosuid_and_nodev(h):
    use(h, f"bind = {LAB}:/data")
    shutil.copy("/usr/bin/id", f"{LAB}/id")
    os.chmod(f"{LAB}/id", 0o6755)
    os.mknod(f"{LAB}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(f"{LAB}/null", 0o666)
    s = h.session("alice")
    assert {"nosuid", "nodev", "rw"} <= set(options(s.pid, "/data")), options(s.pid, "/data")
    eq(h.ssh("alice", "/data/id -u; cat /data/null").out, "1001\n", "a setuid file and a device inside")


@test
def box_root_makes_no_gift_for_an_accomplice(h):
    use(h, f"bind = {LAB}:/data")
    os.chmod(LAB, 0o777)
    s = h.session("alice")
    out = as_root(h, s.pid, "cd /data; touch made; mkdir dir; cp /usr/bin/id su; chmod 6755 su; chown 0:0 task; cat task")
    contains(out.out, "the task")
    eq(sorted(os.listdir(LAB)), ["task"], "files in the bound directory")
    st = os.stat(f"{LAB}/task")
    eq((st.st_uid, st.st_gid, st.st_mode & 0o7777), (0, STUDENTS, 0o644), "the file on the disk")


@test
def ro_and_noexec(h):
    use(h, f"bind = {LAB}:/a:ro {LAB}:/b:noexec {LAB}:/c:ro,noexec")
    shutil.copy("/bin/true", f"{LAB}/true")
    s = h.session("alice")
    for where, wanted in (("/a", {"ro"}), ("/b", {"rw", "noexec"}), ("/c", {"ro", "noexec"})):
        assert wanted <= set(options(s.pid, where)), (where, options(s.pid, where))
    lacks(options(s.pid, "/a"), "noexec")
    r = h.ssh("alice", "touch /a/x || echo a; /a/true && echo runs; /b/true || echo b; touch /b/y && echo wrote; touch /c/x || echo c")
    eq(r.out.split(), ["a", "runs", "b", "wrote", "c"], "what worked")


@test
def a_file_can_be_bound(h):
    h.write("/srv/licence", "42\n")
    use(h, "bind = /srv/licence:/usr/share/doc/licence:optional /srv/licence:/opt-licence:ro /srv/licence:%h/licence")
    refused(h, "/usr/share/doc/licence is not there and cannot be made in the box: Read-only")
    use(h, "bind = /srv/licence:/opt-licence:ro /srv/licence:%h/licence /srv/licence:/etc/licence:ro")
    eq(h.ssh("alice", "cat /opt-licence ~/licence /etc/licence").check().out, "42\n" * 3, "the file")
    use(h, f"bind = /srv/licence:/data/licence {LAB}:/data")
    h.write(f"{LAB}/licence", "")
    eq(h.ssh("alice", "cat /data/licence /data/task").check().out, "42\nthe task\n", "a file in another bind")


@test
def a_file_is_not_put_over_a_directory_nor_the_other_way(h):
    h.write("/srv/file", "x")
    os.makedirs("/srv/dir")
    use(h, "bind = /srv/file:/opt")
    refused(h, "/opt: a file cannot be bound over a directory")
    use(h, "bind = /srv/dir:/etc/services")
    refused(h, "/etc/services: a file cannot be bound over a directory, nor")


@test
def a_source_that_is_not_there(h):
    use(h, "bind = /srv/nothing:/data")
    refused(h, "bind: /srv/nothing: No such file")
    use(h, "bind = /srv/nothing:/data:optional")
    mark = h.log_mark()
    in_box(h.ssh("alice", f"test -e /data || {LOOK}").out)
    h.wait_for_log("nsbox-keeper.*alice: bind: /srv/nothing is not there and left out", since=mark)


@test
def binds_and_tmpfs_lie_in_one_another_whatever_their_order(h):
    os.makedirs("/srv/outer/inner")
    os.makedirs("/srv/other")
    h.write("/srv/other/here", "other\n")
    use(h, "bind = /srv/other:/outer/inner /srv/outer:/outer:ro", "tmpfs = /outer/inner/deep:1M")
    os.makedirs("/srv/other/deep")
    s = h.session("alice")
    eq(h.ssh("alice", "cat /outer/inner/here; touch /outer/inner/deep/x && echo ok").out, "other\nok\n", "inner")
    assert "ro" in options(s.pid, "/outer")
    eq(os.listdir("/srv/other/deep"), [], "what the tmpfs should hide")


@test
def a_bind_over_home_leaves_the_home_in_it(h):
    os.makedirs("/srv/homes/alice")
    h.write("/srv/homes/notice", "all homes\n")
    use(h, "bind = /srv/homes:/home:ro")
    eq(h.ssh("alice", "cat /home/notice; ls -a | grep -c bashrc; pwd").check().out, "all homes\n1\n/home/alice\n", "homes")


@test
def what_is_mounted_below_is_not_in_the_box_and_the_log_says_so(h):
    for where in (f"{LAB}/sub", "/home/alice/sub"):
        os.makedirs(where)
        h.write(f"{where}/under", "under\n")
        h.run(["mount", "-t", "tmpfs", "sub", where]).check()
        h.idle()
        h.write(f"{where}/over", "over\n")
    try:
        use(h, f"bind = {LAB}:/data")
        mark = h.log_mark()
        eq(h.ssh("alice", "ls /data/sub sub").out.split(), ["/data/sub:", "under", "sub:", "under"], "files")
        h.wait_for_log(f"mounted below {LAB} are not in the box.*: {LAB}/sub$", since=mark)
        h.wait_for_log("mounted below /home/alice are not in the box.*: /home/alice/sub$", since=mark)
        h.wait_gone()
        use(h, f"bind = {LAB}:/data {LAB}/sub:/data/sub")
        eq(h.ssh("alice", "ls /data/sub").out, "over\n", "with a bind of its own")
    finally:
        for where in (f"{LAB}/sub", "/home/alice/sub"):
            h.run(["umount", where])


@test
def a_place_that_is_missing_is_made_with_the_rights_of_its_owner(h):
    use(h, f"bind = {LAB}:%h/a/lab {LAB}:/new/place {LAB}:/tmp/lab {LAB}:/opt")
    eq(h.ssh("alice", "cat ~/a/lab/task /new/place/task /tmp/lab/task /opt/task").check().out, "the task\n" * 4, "the bind")
    for path in ("/home/alice/a", "/home/alice/a/lab"):
        st = os.lstat(path)
        eq((st.st_uid, st.st_gid, oct(st.st_mode)), (1001, 1001, "0o40755"), path)
    eq(os.listdir("/home/alice/a/lab"), [], "what lies below the mount")


@test
def a_place_is_not_made_in_what_belongs_to_others(h):
    os.makedirs("/srv/mine")
    use(h, f"bind = {LAB}:/data /srv/mine:/data/mine")
    refused(h, "/data/mine is not there and cannot be made in the box: Operation not permitted")
    eq(sorted(os.listdir(LAB)), ["task"], "the group's directory")
    os.makedirs(f"{LAB}/mine")
    eq(h.ssh("alice", "cat /data/task").check().out, "the task\n", "when it is there")


@test
def a_place_behind_a_symlink_is_refused(h):
    use(h, f"bind = {LAB}:%h/lab")
    os.symlink("/etc", "/home/alice/lab")
    refused(h, "/home/alice/lab is not a place in the box: on the way there is a symlink")
    os.unlink("/home/alice/lab")
    use(h, f"bind = {LAB}:/bin/lab")
    refused(h, "/bin/lab is not a place in the box: on the way there is a symlink")


@test
def places_that_a_box_needs_are_refused(h):
    h.write("/srv/file", "x")
    for dst, why in (("/", "write a path below it"), ("/etc", "is made by nsbox"), ("/proc/sys", "is the kernel's"),
                     ("/sys", "is the kernel's"), ("/dev", "device = names"), ("/run", "has what nsbox puts there"),
                     ("/run/.nsbox", "tells a box from the host"), ("/dev/pts", "the box's own terminals"),
                     ("/dev/lab", "device = names"), ("/home/alice", "write home = ")):
        use(h, f"bind = {LAB}:{dst}")
        refused(h, f"nsbox.*{why}")
    for dst in ("/etc/passwd", "/etc/group", "/etc/nsswitch.conf"):
        use(h, f"bind = /srv/file:{dst}")
        refused(h, f'nsbox.conf:4: .*nothing may be put over "{dst}", which')
        use(h, f"mask = {dst}")
        refused(h, f'nsbox.conf:4: .*nothing may be put over "{dst}", which')
    use(h, "tmpfs = /home/alice:1M")
    refused(h, 'nsbox.conf:4: tmpfs = ".*": the home is there: write home = tmpfs')


@test
def sources_that_show_the_kernel_or_nsbox_are_refused(h):
    for src, why in (("/proc", "shows the host's kernel"), ("/sys/kernel", "shows the host's kernel"),
                     ("/sys/fs/cgroup/pids", "shows the host's kernel"), ("/dev/pts", "shows the host's kernel"),
                     ("/run/nsbox", "is nsbox's own"), ("/dev/null", "is a device")):
        if os.path.exists(src):
            use(h, f"bind = {src}:/data")
            refused(h, why)


@test
def hosts_and_resolv_conf_may_be_bound(h):
    h.write("/srv/hosts", "192.0.2.1 licences\n")
    use(h, "bind = /srv/hosts:/etc/hosts:ro")
    contains(h.ssh("alice", "getent hosts licences").check().out, "192.0.2.1")


# ------------------------------------------------------------ an image

def make_tree(h):
    for name in ("bin", "proc", "sys", "dev", "tmp", "run", "home", "root", "var", "srv/data"):
        os.makedirs(f"{TREE}/{name}")
    shutil.copy("/bin/busybox", f"{TREE}/bin/busybox")
    for applet in ("sh", "cat", "ls", "stat", "touch"):
        os.symlink("busybox", f"{TREE}/bin/{applet}")
    os.symlink("srv", f"{TREE}/link")
    h.write(f"{TREE}/srv/tool", "#!/bin/sh\necho runs\n", 0o755)
    os.makedirs(f"{TREE}/kept", 0o750)
    os.chown(f"{TREE}/kept", 0, 1600)
    h.write(f"{TREE}/srv/secret", "secret\n")
    h.write(f"{TREE}/kept/file", "kept\n")


@test
def binds_tmpfs_and_masks_in_an_image(h):
    make_tree(h)
    before = sorted(os.listdir(TREE))
    use(h, f"rootfs = {TREE}", f"bind = {LAB}:/srv/data {LAB}:/new/place {LAB}:/kept/lab {LAB}:%h/lab {LAB}:/tmp/x",
        "tmpfs = /cache:1M", "mask = /srv/secret /srv/none /srv/tool")
    out = h.ssh("alice", "cat /srv/data/task /new/place/task /kept/lab/task ~/lab/task /tmp/x/task; cat /kept/file; "
                         "echo > /cache/x && echo cached; stat -c '%u %g %a' /kept; cat /srv/secret; /srv/tool || echo masked").out
    eq(out, "the task\n" * 5 + "kept\ncached\n0 1600 750\nmasked\n", "what is in the box")
    eq(sorted(os.listdir(TREE)), before, "the image")
    use(h, f"rootfs = {TREE}", f"bind = {LAB}:/link/lab")
    refused(h, "/link/lab is not a place|/link is not a place")


# ------------------------------------------------------------ tmpfs, sizes

@test
def a_tmpfs_is_the_users_and_limited_in_size_and_inodes(h):
    use(h, "tmpfs = /scratch:8M %h/.cache:1M /opt", "tmp_size = 32M")
    s = h.session("alice")
    root = f"/proc/{s.pid}/root"
    for path, size in (("/scratch", 8 << 20), ("/home/alice/.cache", 1 << 20), ("/opt", 32 << 20)):
        fs = os.statvfs(root + path)
        eq(fs.f_blocks * fs.f_frsize, size, f"size of {path}")
        assert 0 < fs.f_files <= max(1024, size // 4096), f"inodes of {path}: {fs.f_files}"
        st = os.stat(root + path)
        eq((st.st_uid, oct(st.st_mode)), (to_host(s.pid, 1001), "0o40755"), f"owner of {path}")
        assert {"nosuid", "nodev"} <= set(options(s.pid, path)), options(s.pid, path)
    eq(h.ssh("alice", "echo x > /scratch/x; head -c 2000000 /dev/zero > ~/.cache/big || echo full; "
                      "cd /scratch; for i in $(seq 1100); do : > $i || { echo no inodes; break; }; done").out,
       "full\nno inodes\n", "what a tmpfs takes")
    eq(os.stat("/home/alice/.cache").st_uid, 1001, "owner of the mount point on the disk")


@test
def a_tmpfs_over_tmp_is_everybodys(h):
    use(h, "tmpfs = /tmp:4M")
    s = h.session("alice")
    st = os.stat(f"/proc/{s.pid}/root/tmp")
    eq((st.st_uid, oct(st.st_mode)), (to_host(s.pid, 0), "0o41777"), "owner of /tmp")
    eq(os.statvfs(f"/proc/{s.pid}/root/tmp").f_blocks * 4096, 4 << 20, "size")


@test
def tmp_run_and_shm_have_the_sizes_of_the_policy(h):
    use(h, "tmp_size = 3M", "run_size = 5M", "shm_size = 7M")
    s = h.session("alice")
    for path, size in (("/tmp", 3 << 20), ("/var/tmp", 3 << 20), ("/run", 5 << 20), ("/dev/shm", 7 << 20)):
        fs = os.statvfs(f"/proc/{s.pid}/root{path}")
        eq(fs.f_blocks * fs.f_frsize, size, f"size of {path}")
        assert 0 < fs.f_files <= 2048, f"inodes of {path}: {fs.f_files}"


# ------------------------------------------------------------ mask

@test
def a_mask_hides_files_and_directories(h):
    os.makedirs("/opt/tools", exist_ok=True)
    h.write("/opt/tools/key", "key\n", 0o644)
    try:
        use(h, "mask = /opt/tools /etc/services /usr/bin/git /nothing/here /proc/cpuinfo /sys/kernel /home/alice/.profile")
        s = h.session("alice")
        out = h.ssh("alice", "ls -A /opt/tools /sys/kernel; cat /etc/services /proc/cpuinfo ~/.profile; "
                             "git --version || echo no git; touch /opt/tools/x || echo read-only").out
        eq(out.split("\n"), ["/opt/tools:", "", "/sys/kernel:", "no git", "read-only", ""], "what is seen")
        eq(observe.read("/opt/tools/key"), "key\n", "the host's")
        r = as_root(h, s.pid, "setpriv --bounding-set -sys_admin umount /opt/tools /etc/services")
        assert r.code != 0, "box root took a mask off"
    finally:
        shutil.rmtree("/opt/tools")


@test
def a_mask_behind_a_symlink_says_what_to_write(h):
    use(h, "mask = /bin/git")
    refused(h, "mask: on the way to /bin/git is a symlink: write where it leads to")


# ------------------------------------------------------------ the home

@test
def a_home_can_be_read_only(h):
    use(h, "home_mode = ro")
    s = h.session("alice")
    assert {"ro", "nosuid", "nodev"} <= set(options(s.pid, "/home/alice")), options(s.pid, "/home/alice")
    eq(h.ssh("alice", "touch x || echo no; test -f .bashrc && echo yes").out, "no\nyes\n", "the home")


@test
def a_tmpfs_home_begins_with_skel_and_is_gone_with_the_box(h):
    h.write("/etc/skel/sub/script", "#!/bin/sh\necho skel\n", 0o755)
    h.write("/etc/skel/secret", "for root\n", 0o600)
    os.symlink("sub/script", "/etc/skel/link")
    os.mkfifo("/etc/skel/fifo")
    try:
        use(h, "home = tmpfs", "home_size = 4M", "linger = 0")
        h.write("/home/alice/of-the-host", "x")
        s = h.session("alice")
        out = h.ssh("alice", "pwd; echo $(ls -A | sort); ./link; stat -c '%u %g %a' . .bashrc sub sub/script; echo x > made").out
        eq(out.splitlines()[0], "/home/alice", "where the user lands")
        eq(out.splitlines()[1].split(), sorted({n for n in os.listdir("/etc/skel") if n not in ("secret", "fifo")}), "files")
        contains(out, "skel\n1001 1001 700\n1001 1001 644\n1001 1001 755\n1001 1001 755\n")
        fs = os.statvfs(f"/proc/{s.pid}/root/home/alice")
        eq(fs.f_blocks * fs.f_frsize, 4 << 20, "size of the home")
        assert 0 < fs.f_files <= 1024, f"inodes: {fs.f_files}"
        assert {"nosuid", "nodev", "rw"} <= set(options(s.pid, "/home/alice")), options(s.pid, "/home/alice")
        eq(os.stat(f"/proc/{s.pid}/root/home/alice").st_uid, to_host(s.pid, 1001), "owner")
        s.close()
        h.wait_gone()
        lacks(h.ssh("alice", "ls").out, "made", "the next home")
        assert not os.path.exists("/home/alice/made")
        use(h, "home = tmpfs", "home_mode = ro")
        eq(h.ssh("alice", "touch x || echo no; ls link").out, "no\nlink\n", "a read-only one")
    finally:
        for name in ("sub", "secret", "link", "fifo"):
            remove("/etc/skel/" + name)


@test
def a_tmpfs_home_that_is_too_small_for_skel_is_refused(h):
    h.write("/etc/skel/big", "x" * (3 << 20))
    try:
        use(h, "home = tmpfs", "home_size = 1M")
        refused(h, "/home/alice: filling the new home from /etc/skel: No space left")
    finally:
        os.unlink("/etc/skel/big")


@test
def a_tmpfs_home_needs_none_on_the_host(h):
    h.add_user("guest", 1020, groups=["nsbox"], make_home=False, password="guest-secret")
    use(h, "home = tmpfs")
    out = h.ssh("guest", f"pwd; test -f .bashrc && echo skel; {LOOK}", password="guest-secret").out
    contains(out, "/home/guest\nskel\n")
    in_box(out)


def callers(h, user):
    """What each caller's shell says: where it is and its HOME."""
    ask = "echo at=$(pwd) home=$HOME"
    yield "ssh", h.ssh(user, ask)
    yield "su -", h.run(["su", "-", user, "-c", ask])
    yield "su", h.run(["su", user, "-c", f"cd; {ask}"])
    yield "runuser -l", h.run(["runuser", "-l", user, "-c", ask])
    yield "sudo -i", h.run(["sudo", "-i", "-u", user, "sh", "-c", ask])


@test
def no_home_is_an_empty_directory_that_suits_every_caller(h):
    use(h, "home = none")
    for name, r in callers(h, "alice"):
        eq((r.code, r.out, r.err), (0, "at=/home/alice home=/home/alice\n", ""), name)
    eq(h.ssh("alice", f"ls -A; touch x || echo read-only; ls -A /home; {LOOK} >/dev/null && echo ok").out,
       "read-only\nalice\nok\n", "the home")
    t = h.pty(["/bin/login"])
    t.expect("login: ")
    t.line("alice")
    t.expect("Password: ")
    t.line("alice-secret")
    t.expect(r"\$ ")
    eq(t.ask("pwd"), "/home/alice", "where login lands")


@test
def a_home_can_be_a_directory_of_the_administrators_choice(h):
    os.makedirs("/srv/homes/alice")
    h.write("/srv/homes/alice/marker", "elsewhere\n")
    use(h, "home = /srv/homes/%u")
    refused(h, "/srv/homes/alice belongs to uid 0 and not to the user")
    os.chown("/srv/homes/alice", 1001, 1001)
    for name, r in callers(h, "alice"):
        eq((r.code, r.out, r.err), (0, "at=/home/alice home=/home/alice\n", ""), name)
    eq(h.ssh("alice", "cat marker; echo x > made").out, "elsewhere\n", "the home")
    eq(os.stat("/srv/homes/alice/made").st_uid, 1001, "owner on the disk")
    assert not os.path.exists("/home/alice/made"), "made in the usual home"
    use(h, "home = /srv/homes/%u", "home_mode = ro")
    eq(h.ssh("alice", "touch y || echo no").out, "no\n", "read-only")


# ------------------------------------------------------------ file systems without idmapped mounts

def explained(h, user="alice"):
    """What nsbox explain says of the machine: (idmap, why, notes, error); the text says the same."""
    said = json.loads(h.run(["nsbox", "explain", "--json", user]).check().out)["machine"]
    text = h.run(["nsbox", "explain", user]).check().out.partition("on this machine:\n")[2]
    expected = [said["why"], *said["notes"]] if said["why"] else ["refused: " + said["error"]]
    eq(text.splitlines(), ["  " + line for line in expected], "the text of nsbox explain")
    return said["idmap"], said["why"], said["notes"], said["error"]


def unmapped(h):
    """The paths that nsbox doctor warns about, and what it says to do."""
    found = [f for f in json.loads(h.run(["nsbox", "doctor", "--json"], timeout=60).out)["findings"]
             if f["check"] == "kernel.idmap" and f["severity"] != "ok"]
    for f in found:
        contains(f["message"], "has no idmapped mounts: ")
    return {f["message"].split(" has no ")[0].removeprefix("the file system of "): f["fix"] for f in found}


def overlay(h, lower, at):
    """A real overlay over @lower at @at."""
    for name in ("upper", "work"):
        os.makedirs(f"/srv/overlay/{name}")
    st = os.stat(lower)
    os.chown("/srv/overlay/upper", st.st_uid, st.st_gid)
    os.chmod("/srv/overlay/upper", st.st_mode & 0o7777)
    h.run(["mount", "-t", "overlay", "overlay", "-o",
           f"lowerdir={lower},upperdir=/srv/overlay/upper,workdir=/srv/overlay/work", at]).check()
    h.idle()


@test
def a_home_on_an_overlay_is_kept(h):
    overlay(h, "/home/alice", "/home/alice")
    try:
        mark = h.log_mark()
        s = h.session("alice")
        eq(observe.Process(s.pid).uids, [1001] * 4, "ids on the host")
        h.ssh("alice", "echo x > made; cat made").check()
        eq(os.stat("/home/alice/made").st_uid, 1001, "owner on the disk")
        why = "idmap = keep, since the file system of /home/alice has no idmapped mounts"
        h.wait_for_log("alice: " + why, since=mark)
        eq(explained(h), ("keep", why, [], None), "explain")
        eq(explained(h, "bob"), ("shift", SHIFT, [], None), "explain of another home")
        s.close()
        h.wait_gone()
        for line in ("net = host", "idmap = shift"):
            use(h, line)
            refused(h, "/home/alice has no idmapped mounts: use idmap = keep and not net = host")
            eq(explained(h), (None, None, [], "the file system of /home/alice has no idmapped mounts: use idmap = keep "
                              "and not net = host"), "explain, " + line)
        use(h, "idmap = keep")
        eq(explained(h)[:2], ("keep", "idmap = keep, as the policy says"), "explain")
        use(h, "home = tmpfs", "net = host")
        eq(explained(h)[0], "shift", "explain where the home is not of the disk")
        use(h, "log_only = yes")
        eq(explained(h)[0], "keep", "explain of what is only tried")
    finally:
        h.settle()
        h.run(["umount", "/home/alice"]).check()
        h.idle()


@test
def a_writable_bind_on_an_overlay_is_kept_and_a_read_only_one_is_nobodys(h):
    os.makedirs("/srv/low/dir")
    os.makedirs("/srv/merged")
    os.chown("/srv/low/dir", 1001, STUDENTS)
    overlay(h, "/srv/low", "/srv/merged")
    try:
        use(h, "bind = /srv/merged/dir:/data")
        mark = h.log_mark()
        s = h.session("alice")
        eq(observe.Process(s.pid).uids, [1001] * 4, "ids on the host")
        h.ssh("alice", "touch /data/made ~/home").check()
        eq([os.stat(p).st_uid for p in ("/srv/merged/dir/made", "/home/alice/home")], [1001] * 2, "owners on the disk")
        h.wait_for_log("alice: idmap = keep, since the file system of /srv/merged/dir", since=mark)
        eq(explained(h)[:2], ("keep", "idmap = keep, since the file system of /srv/merged/dir has no idmapped mounts"),
           "explain")
        s.close()
        h.wait_gone()
        use(h, "bind = /srv/merged/dir:/data:ro")
        mark = h.log_mark()
        s = h.session("alice")
        assert observe.Process(s.pid).uids[0] >= 524288, "the ids of a box"
        eq(h.ssh("alice", "ls /data; stat -c %u /data").out, "made\n65534\n", "the bind")
        h.wait_for_log("alice: bind: what is in /srv/merged/dir belongs to nobody in the box", since=mark)
        eq(explained(h), ("shift", SHIFT, ["bind: what is in /srv/merged/dir belongs to nobody in the box, since its file "
                                           "system has no idmapped mounts"], None), "explain")
        s.close()
        h.wait_gone()
        use(h, "bind = /srv/merged/dir:/data", "net = host")
        refused(h, "/srv/merged/dir has no idmapped mounts")
    finally:
        h.settle()
        h.run(["umount", "/srv/merged"]).check()
        h.idle()


@test
def a_usr_on_an_overlay_still_gives_a_working_box(h):
    os.makedirs("/srv/local")
    h.run(["mount", "--bind", "/usr/local", "/srv/local"]).check()
    overlay(h, "/usr", "/usr")
    h.run(["mount", "--bind", "/srv/local", "/usr/local"]).check()
    try:
        mark = h.log_mark()
        out = h.ssh("alice", f"stat -c %u /usr/bin/env; python3 -c 'print(6 * 7)'; {LOOK}").out
        in_box(out)
        contains(out, "65534\n42\n")
        h.wait_for_log("alice: /usr belongs to nobody in the box", since=mark)
        eq(explained(h), ("shift", SHIFT, ["/usr belongs to nobody in the box, since its file system has no idmapped "
                                           "mounts"], None), "explain")
        eq(unmapped(h), {"/usr": "move /usr to ext4, xfs or btrfs"}, "doctor")
        eq(h.ssh("alice", "touch /usr/x || echo no").out, "no\n", "/usr is read-only")
    finally:
        h.settle()
        h.run(["umount", "/usr/local"]).check()
        h.run(["umount", "-l", "/usr"]).check()
        h.run(["umount", "/srv/local"]).check()
        h.idle()


@test
def doctor_names_the_homes_and_images_that_cannot_be_mapped(h):
    """ramfs has no idmapped mounts."""
    for path in ("/srv/nfs", "/srv/image"):
        os.makedirs(path)
        h.run(["mount", "-t", "ramfs", "none", path]).check()
    h.idle()
    try:
        os.makedirs("/srv/image/bin")
        h.write("/srv/image/bin/sh", "", 0o755)
        os.makedirs("/srv/nfs/alice")
        os.chown("/srv/nfs/alice", 1001, 1001)
        eq(unmapped(h), {}, "doctor on a fit host")
        use(h, "home = /srv/nfs/%u")
        eq(unmapped(h), {"/srv/nfs": "move /srv/nfs to ext4, xfs or btrfs, or write idmap = keep"}, "doctor")
        eq(explained(h)[:2], ("keep", "idmap = keep, since the file system of /srv/nfs/alice has no idmapped mounts"), "explain")
        h.policy(policy("[group none-of-ours]\nrootfs = /srv/image\n[profile p]\nrootfs = /srv/image\n"))
        eq(unmapped(h), {"/srv/image": "/etc/nsbox/nsbox.conf:9: move the image to ext4, xfs or btrfs, or make it an "
                                       "erofs file"}, "doctor, of what two sections name")
        use(h, "rootfs = /srv/image")
        error = "the file system of the rootfs image has no idmapped mounts: move it to ext4, xfs or btrfs"
        refused(h, error)
        eq(explained(h), (None, None, [], error), "explain")
    finally:
        h.settle()
        for path in ("/srv/nfs", "/srv/image"):
            h.run(["umount", path]).check()
        h.idle()


@test
def explain_leaves_nothing_and_says_what_it_may_not_ask(h):
    before = observe.mounts(), observe.state_files()
    eq(explained(h), ("shift", SHIFT, [], None), "explain")
    eq((observe.mounts(), observe.state_files()), before, "mounts and state")
    eq(json.loads(h.run(["nsbox", "explain", "--json", "carol"]).check().out)["machine"], None, "of a user without a box")
    r = h.run(["setpriv", "--reuid", "1003", "--clear-groups", "nsbox", "explain", "--json", "alice"]).check()
    eq(json.loads(r.out)["machine"], {"idmap": None, "why": None, "notes": [], "error":
       "only root can ask the kernel what idmap is to be"}, "explain by a user")
    h.set_user("alice", home="/nowhere")
    try:
        eq(explained(h), (None, None, [], "the home directory: /nowhere: No such file or directory"), "explain")
    finally:
        h.set_user("alice", home="/home/alice")


@test
def a_home_on_fuse_is_kept(h):
    if not os.path.exists("/dev/fuse"):
        raise AssertionError("no /dev/fuse here")
    os.makedirs("/srv/low")
    os.chown("/srv/low", 1001, 1001)
    for name in ("upper", "work"):
        os.makedirs(f"/srv/f/{name}")
    h.start(["fuse-overlayfs", "-f", "-o", "allow_other,lowerdir=/srv/low,upperdir=/srv/f/upper,workdir=/srv/f/work",
             "/home/alice"])
    h.wait_until(lambda: os.path.ismount("/home/alice"), 10, "the home is on FUSE")
    try:
        os.chown("/home/alice", 1001, 1001)
        mark = h.log_mark()
        r = h.ssh("alice", f"echo x > made && cat made; {LOOK}", password="alice-secret")
        in_box(r.out)
        h.wait_for_log("alice: idmap = keep, since the file system of /home/alice", since=mark)
        eq(explained(h)[0], "keep", "explain")
        eq(os.stat("/home/alice/made").st_uid, 1001, "owner")
    finally:
        h.settle()
        h.run(["umount", "-l", "/home/alice"])


# ------------------------------------------------------------ odd homes and mounts

@test
def a_home_that_hides_what_a_box_needs_is_refused(h):
    """passwd has whatever was written there: /etc/ is /etc too."""
    for home in ("/etc/", "//etc", "/run/", "//", "/usr//", "/proc/self", "/dev/mine", "/sys/x", "/run/.nsbox", "/etc/passwd/"):
        h.set_user("alice", home=home)
        for mode in ("tmpfs", "/home/alice"):
            use(h, f"home = {mode}")
            r = h.run(["nsbox", "run", "alice", "--", "true"])
            assert r.code == 254 and "the home directory" in r.err, f"home = {mode} at {home}: {r}"
    h.set_user("alice", home="/home/alice/")
    use(h)
    eq(h.run(["nsbox", "run", "alice", "--", "ls", "-d", "/home/alice/.ssh"]).check().out, "/home/alice/.ssh\n", "a usual home")
    h.set_user("alice", home="/home/alice")


@test
def a_home_and_a_source_that_are_mounted_when_somebody_goes_there(h):
    os.mkdir("/srv/auto")
    os.mkdir("/srv/real")
    os.chown("/srv/real", 1001, 1001)
    h.write("/srv/real/marker", "mounted\n")
    try:
        with automount.at("/srv/auto", "/srv/real"):
            use(h, "bind = /srv/auto:/data")
            eq(h.run(["nsbox", "run", "alice", "--", "cat", "/data/marker"]).check().out, "mounted\n", "in a bind")
            h.settle()
        with automount.at("/srv/auto", "/srv/real"):
            use(h)
            h.set_user("alice", home="/srv/auto")
            eq(h.run(["nsbox", "run", "alice", "--", "cat", "/srv/auto/marker"]).check().out, "mounted\n", "in the home")
            h.settle()
    finally:
        h.set_user("alice", home="/home/alice")


@test
def a_mount_with_an_odd_name_writes_no_line_of_its_own_into_the_log(h):
    path = "/home/alice/a b\nnsbox-keeper[1]: forged"
    os.mkdir(path)
    h.run(["mount", "-t", "tmpfs", "odd", path]).check()
    h.idle()
    try:
        mark = h.log_mark()
        h.ssh("alice", "true").check()
        # The host's log shows a line's end within a message as \\n.
        h.wait_for_log(r"are not in the box, .*/home/alice/a\\040b\\012nsbox-keeper\[1\]:\\040forged$", since=mark)
    finally:
        h.settle()
        h.run(["umount", path]).check()
        h.idle()


main(setup, before_each=before_each)
