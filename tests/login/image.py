#!/usr/bin/python3 -B
"""rootfs = /dir: the administrator's image, here a busybox tree that has no /etc at all."""

import os
import shutil

from common import LOOK, all_differ, block, contains, eq, in_box, policy, setup as common_setup
import observe
from observe import to_host
from tap import lacks, main, test

TREE = "/srv/tree"
IMAGE = f"rootfs = {TREE}\n"


def make_tree(h):
    """busybox and its names in /bin, the directories that any image has, no /etc."""
    for name in ("bin", "sbin", "usr/bin", "usr/sbin", "proc", "sys", "dev", "tmp", "run", "home", "root", "var"):
        os.makedirs(f"{TREE}/{name}")
    shutil.copy("/bin/busybox", f"{TREE}/bin/busybox")
    for applet in h.run("busybox --list").out.split():
        if applet != "busybox":
            os.symlink("busybox", f"{TREE}/bin/{applet}")
    h.write(f"{TREE}/image-file", "of the image\n")
    h.write(f"{TREE}/root/image-secret", "for root of the box only\n", 0o600)


def setup(h):
    common_setup(h)
    make_tree(h)
    h.add_user("ash", 1201, groups=["nsbox", "students"], shell="/bin/sh", password="ash-secret")
    h.add_user("zoe", 1202, groups=["nsbox"], shell="/bin/bash")   # the host has it, the image does not


def before_each(h):
    h.policy(policy(defaults=IMAGE))


def listing(top):
    """Everything about a tree that a box could have changed."""
    found = {}
    for where, dirs, files in os.walk(top):
        for name in [*dirs, *files]:
            st = os.lstat(os.path.join(where, name))
            found[os.path.join(where, name)] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns)
    return found


@test
def a_login_sees_the_image(h):
    out = h.ssh("ash", f"cat /image-file; ls /; {LOOK}").check().out
    contains(out, "of the image\n")
    lacks(out, "work\n", "root directory")
    in_box(out)


@test
def the_users_name_groups_home_and_shell_are_there(h):
    out = h.ssh("ash", f"id; pwd; echo $HOME $SHELL; grep ash: /etc/passwd; {LOOK}").check().out
    for part in ("uid=1201(ash)", "gid=1201(ash)", "1600(students)", "1500(nsbox)", "/home/ash\n/home/ash /bin/sh\n"):
        contains(out, part)
    observe.field(out, r"^ash:x:1201:1201:[^:]*:/home/ash:/bin/sh$")
    in_box(out)


@test
def the_home_is_the_users_own(h):
    in_box(h.ssh("ash", f"echo from the image > note; mkdir -p sub; touch sub/x; {LOOK}").check().out)
    eq(observe.read("/home/ash/note"), "from the image\n", "the file on the host")
    st = os.stat("/home/ash/sub/x")
    eq((st.st_uid, st.st_gid), (1201, 1201), "owner on the disk")


@test
def hostname_hosts_and_resolver_files_are_made(h):
    out = h.ssh("ash", "hostname; cat /etc/hostname; grep ash /etc/hosts; ls /etc").check().out
    eq(out.split()[:2], ["ash", "ash"], "hostname")
    for name in ("passwd", "group", "hosts", "hostname", "resolv.conf"):
        contains(out.split(), name, "/etc")


@test
def etc_names_no_other_user(h):
    out = h.ssh("ash", "cat /etc/passwd /etc/group").check().out
    for name in ("alice", "bob", "carol", "zoe"):
        lacks(out, name)


@test
def a_terminal_and_password_login_work(h):
    t = h.pty(h.ssh_argv("ash", tty=True, password="ash-secret"), env=h.ssh_env("ash-secret"))
    t.expect(r"\$ ")
    contains(t.ask("tty"), "/dev/pts/")
    in_box(t.ask(LOOK))


@test
def su_sudo_and_runuser_work(h):
    for argv in (["su", "-", "ash", "-c", LOOK], ["sudo", "-u", "ash", "-i", "sh", "-c", LOOK],
                 ["runuser", "-l", "ash", "-c", LOOK]):
        in_box(h.run(argv).check().out)


@test
def internal_sftp_works_without_anything_in_the_image(h):
    h.sshd(2222, Subsystem="sftp internal-sftp")
    r = h.run(["sftp", "-q", "-b", "-", "-P", "2222", "ash@127.0.0.1"], input="ls /\nget /image-file /root/got\n")
    assert r.code == 0, r
    eq(observe.read("/root/got"), "of the image\n", "file")


@test
def proc_dev_tmp_and_run_are_there(h):
    out = h.ssh("ash", "cat /proc/1/comm; echo x > /dev/null; test -c /dev/tty && touch /tmp/x && ls -ld /run/user/1201; "
                       "mount").check().out
    contains(out, "nsbox")
    contains(out, "drwx------")


@test
def the_image_is_read_only_even_for_root_of_the_box(h):
    before = listing(TREE)
    s = h.session("ash")
    for command in ("touch /made", "echo x >> /image-file", "chmod 4755 /bin/busybox", "rm /image-file", "mkdir /bin/x",
                    "chown 1201 /image-file"):
        assert h.enter(s.pid, "/bin/sh", "-c", command).code != 0, f"{command!r} worked for root of the box"
        assert h.enter(s.pid, "/bin/sh", "-c", command, uid=1201).code != 0, f"{command!r} worked for the user"
    s.close()
    eq(listing(TREE), before, "the image on the disk")


@test
def a_login_leaves_nothing_in_the_image(h):
    before = listing(TREE)
    in_box(h.ssh("ash", f"echo x > ~/x; tty; {LOOK}", tty=True).check().out)
    h.wait_gone()
    eq(listing(TREE), before, "the image on the disk")


@test
def files_of_root_in_the_image_belong_to_root_of_the_box(h):
    s = h.session("ash")
    eq(os.stat(f"/proc/{s.pid}/root/image-file").st_uid, to_host(s.pid, 0), "owner seen through the box's mount")
    eq(h.enter(s.pid, "/bin/sh", "-c", "cat /root/image-secret").out, "for root of the box only\n", "what box root reads")
    eq(h.ssh("ash", "cat /root/image-secret").out, "", "what the user reads")


@test
def a_setuid_file_of_the_image_is_never_root_of_the_host(h):
    shutil.copy("/bin/busybox", f"{TREE}/bin/busybox-suid")
    os.chmod(f"{TREE}/bin/busybox-suid", 0o4755)
    try:
        h.start(h.ssh_argv("ash", "exec /bin/busybox-suid sleep 77777"))
        p = observe.wait_until(lambda: [p for p in observe.processes() if p.boxed and "77777" in p.cmdline
                                        and "suid" in p.cmdline], 10, "the setuid program runs")[0]
        base, size = block(p.pid)
        for number in p.uids + p.gids:
            assert base <= number < base + size, f"{p}: {p.uids} {p.gids}"
    finally:
        os.unlink(f"{TREE}/bin/busybox-suid")


@test
def the_images_own_accounts_stay_and_the_users_entry_wins(h):
    h.write(f"{TREE}/etc/passwd", "root:x:0:0:image root:/root:/bin/sh\nimgd:x:300:300::/:/bin/false\n"
                                  "ash:x:4444:4444:other ash:/elsewhere:/bin/false\nclash:x:1201:1201::/:/bin/false\n")
    h.write(f"{TREE}/etc/group", "root:x:0:\nimgd:x:300:ash\ndisk:x:6:ash\ndocker:x:999:ash\n")
    h.write(f"{TREE}/etc/motd", "image motd\n")
    try:
        out = h.ssh("ash", "id; id -un; id imgd; cat /etc/motd; echo $HOME").check().out
        contains(out, "uid=1201(ash) gid=1201(ash)")
        contains(out, "imgd")
        contains(out, "image motd")
        contains(out, "/home/ash")
        s = h.session("ash")
        base, size = block(s.pid)
        for p in [observe.Process(s.pid), s.caller]:
            assert all(base <= g < base + size for g in p.groups + p.gids), f"groups of {p}: {p.groups}"
    finally:
        shutil.rmtree(f"{TREE}/etc")


@test
def a_shell_that_the_image_lacks_is_replaced(h):
    r = h.ssh("zoe", f"echo shell works; {LOOK}").check()
    contains(r.out, "shell works")
    in_box(r.out)
    t = h.pty(h.ssh_argv("zoe", tty=True))
    t.expect(r"\$ ")
    eq(t.ask("echo $((6 * 7))"), "42", "an interactive shell")
    in_box(h.run(["su", "-", "zoe", "-c", LOOK]).check().out)
    in_box(h.run(["sudo", "-u", "zoe", "-i", *LOOK.split()]).check().out)


@test
def shell_fallback_names_the_replacement(h):
    h.policy(policy(defaults=IMAGE + "shell_fallback = /bin/ash\n"))
    in_box(h.ssh("zoe", LOOK).check().out)


@test
def without_any_shell_the_user_is_told(h):
    h.policy(policy(defaults=IMAGE + "shell_fallback = /bin/nosuch\n"))
    mark = h.log_mark()
    r = h.ssh("zoe", "touch came-in")
    eq(r.code, 254, "exit code")
    assert not os.path.exists("/home/zoe/came-in"), "the command ran"
    h.wait_for_log(r"nsbox.*(/bin/bash|/bin/nosuch)", since=mark)
    r = h.run(["su", "-", "zoe", "-c", "echo in"])
    assert r.code != 0 and "in\n" not in r.out, r
    contains(r.out + r.err, "shell", "what the user is told")
    h.wait_gone()


@test
def each_user_has_their_own_image(h):
    h.policy(policy(f"[user ash]\nrootfs = {TREE}\n[user alice]\nrootfs = host\n"))
    contains(h.ssh("ash", "ls /").out, "image-file")
    lacks(h.ssh("alice", "ls /").out, "image-file")


@test
def two_users_of_one_image_are_apart(h):
    a, b = h.session("ash"), h.session("zoe")
    all_differ(observe.nsinos(a.pid), observe.nsinos(b.pid), "shared by two users")
    lacks(h.ssh("ash", "cat /etc/passwd").out, "zoe")


@test
def an_image_that_is_a_mounted_tmpfs_or_ext4_works_too(h):
    os.makedirs("/srv/other", exist_ok=True)
    h.run("mount -t tmpfs -o mode=755 image /srv/other").check()
    h.idle()
    try:
        h.run(["cp", "-a", f"{TREE}/.", "/srv/other/"]).check()
        h.policy(policy(defaults="rootfs = /srv/other\n"))
        in_box(h.ssh("ash", LOOK).check().out)
        h.wait_gone()
    finally:
        h.settle()
        h.run("umount /srv/other").check()


@test
def what_is_mounted_below_an_image_is_not_in_the_box_and_said(h):
    """A chroot that somebody has used: its /proc has no idmapped mounts."""
    os.makedirs(f"{TREE}/srv")
    for words in (["-t", "proc", "proc", f"{TREE}/proc"], ["--bind", "/home", f"{TREE}/srv"]):
        h.run(["mount", *words]).check()
    h.idle()
    try:
        mark = h.log_mark()
        out = h.ssh("ash", f"ls /srv; cat /proc/1/comm; {LOOK}").check().out
        lacks(out, "alice")
        contains(out, "nsbox")
        in_box(out)
        h.wait_for_log(rf"below {TREE} are not in the box, .*: {TREE}/proc {TREE}/srv$", since=mark)
    finally:
        h.settle()
        h.run(["umount", f"{TREE}/proc", f"{TREE}/srv"]).check()
        h.idle()
        os.rmdir(f"{TREE}/srv")


@test
def an_image_with_a_passwd_of_any_size_takes_no_memory_for_it(h):
    """A terabyte of nothing takes no place on the disk."""
    h.write(f"{TREE}/etc/passwd", "")
    os.truncate(f"{TREE}/etc/passwd", 1 << 40)
    try:
        r = h.run(["nsbox", "run", "ash", "--", "true"])
        eq(r.code, 254, "exit code")
        contains(r.err, "/etc/passwd: read: File too large")
    finally:
        shutil.rmtree(f"{TREE}/etc")


main(setup, before_each=before_each)
