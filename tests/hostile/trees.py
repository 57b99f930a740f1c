#!/usr/bin/python3 -B
"""Trees that a user owns: whatever they make of a home, a rootfs or a name, the keeper follows nothing of it."""

import os
import shutil
import socket
import subprocess

from common import both, compile_probe, host, observe, policy, prepare
from tap import eq, lacks, main, test

POOL = "/srv/pool"              # alice may rename in it
HOME = f"{POOL}/alice"
QUARANTINE = "/root/quarantine/alice"   # her own directory, where she cannot go


def setup(h):
    prepare("symlink")(h)
    os.makedirs(POOL)
    os.chown(POOL, 1001, 1001)
    os.makedirs(QUARANTINE)
    for path, text in ((QUARANTINE, "quarantine"), ("/home/bob", "bob")):
        h.write(f"{path}/marker", text + "\n")
    os.chown(QUARANTINE, 1001, 1001)
    h.write("/root/marker", "root\n")


def before_each(h):
    h.policy(policy())
    h.set_user("alice", home=HOME)
    for name in os.listdir(POOL):
        remove(f"{POOL}/{name}")
    real_home(h, HOME)


def real_home(h, path):
    os.makedirs(path, exist_ok=True)
    h.write(f"{path}/marker", "mine\n")
    os.chown(path, 1001, 1001)


def link(target, path):
    os.symlink(target, path)
    os.lchown(path, 1001, 1001)


def remove(path):
    """Whatever it is; rmtree would wait for ever to open a FIFO."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def marker(h):
    """What alice finds in the place of her home: '' when she is refused."""
    r = h.run(["nsbox", "run", "alice", "--", "cat", f"{HOME}/marker"], timeout=10)
    return r.out.strip()


@test
def a_usual_home_works(h):
    eq(marker(h), "mine", "the home")


# ------------------------------------------------------------ symlinks

@test
def a_home_that_is_a_symlink_in_a_place_of_the_users_is_not_followed(h):
    remove(HOME)
    link(QUARANTINE, HOME)
    both(h, "symlink", lambda h: marker(h) == "quarantine")
    r = h.run(["nsbox", "run", "alice", "--", "true"])
    assert r.code and "symlink in a directory that others than root can write" in r.err, r


@test
def nor_is_a_parent_of_the_home(h):
    inner = f"{POOL}/a/b"
    os.makedirs("/root/quarantine/b", exist_ok=True)
    h.write("/root/quarantine/b/marker", "quarantine\n")
    os.chown("/root/quarantine/b", 1001, 1001)
    link("/root/quarantine", f"{POOL}/a")
    h.set_user("alice", home=inner)
    both(h, "symlink", lambda h: h.run(["nsbox", "run", "alice", "--", "cat", f"{inner}/marker"]).out == "quarantine\n")


@test
def nor_a_symlink_that_root_made_to_one_of_the_users(h):
    link(QUARANTINE, f"{POOL}/second")
    if not os.path.lexists("/srv/first"):
        os.symlink(f"{POOL}/second", "/srv/first")
    h.set_user("alice", home="/srv/first")
    both(h, "symlink", lambda h: h.run(["nsbox", "run", "alice", "--", "cat", "/srv/first/marker"]).out == "quarantine\n")


@test
def a_symlink_that_root_made_is_followed(h):
    os.symlink("/home/alice", "/srv/moved")
    h.write("/home/alice/marker", "mine\n")
    h.set_user("alice", home="/srv/moved")
    eq(h.run(["nsbox", "run", "alice", "--", "cat", "/srv/moved/marker"]).check().out, "mine\n", "the home")


@test
def a_home_that_leads_to_another_users_or_roots_is_refused(h):
    for target in ("/home/bob", "/root", "/", "/etc", "../../root", "bob/../../../home/bob"):
        remove(HOME)
        link(target, HOME)
        eq(marker(h), "", f"what is lent for a link to {target}")
    for home in ("/home/bob", "/root", "/", "/etc", "/usr", "/home/bob/", "/home/../home/bob", "/home/alice/../bob",
                 f"{POOL}/../../root", "/proc/self/root/home/bob", "/home/./bob", "//home//bob"):
        h.set_user("alice", home=home)
        r = h.run(["nsbox", "run", "alice", "--", "cat", f"{home}/marker", "/home/bob/marker", "/root/marker"])
        for name in ("bob", "root"):
            assert name not in r.out.split(), f"home {home}: {r}"


@test(timeout=150)
def a_home_swapped_while_logging_in_is_hers_or_refused(h):
    swap = shutil.copy(compile_probe("swap"), "/usr/local/bin/swap")
    other = f"{POOL}/other"
    link(QUARANTINE, other)

    def rounds(h, count):
        swapper = h.start(["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", swap, HOME, other],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # A box in every round of its own: several at once would be one.
        seen = [marker(h) for _ in range(count)]
        swaps = int(swapper.communicate(b"x", 10)[0])
        assert swaps > count, f"{swaps} swaps in {count} rounds"
        return {what: seen.count(what) for what in sorted(set(seen))}

    def attack(h):
        found = rounds(h, 60)
        assert set(found) <= {"mine", "quarantine", ""}, found
        return "quarantine" in found
    both(h, "symlink", attack)
    found = rounds(h, 250)
    assert set(found) == {"mine", ""}, f"homes that were lent: {found}"


# ------------------------------------------------------------ odd files

@test
def a_home_that_is_no_directory_is_refused_at_once(h):
    for make in (os.mkfifo, lambda p: h.write(p, "file"), lambda p: socket.socket(socket.AF_UNIX).bind(p)):
        remove(HOME)
        make(HOME)
        os.chown(HOME, 1001, 1001)
        r = h.run(["nsbox", "run", "alice", "--", "true"], timeout=8)
        assert r.code != 0, f"{make}: {r}"


@test
def odd_files_in_the_home_neither_hang_nor_stop_a_login(h):
    h.set_user("alice", home="/home/alice")
    for name in (".ssh", ".bashrc.d", ".config", ".hushlogin", "run", "proc", "dev"):
        path = f"/home/alice/{name}"
        remove(path)
        os.mkfifo(path)
        os.chown(path, 1001, 1001)
    eq(h.ssh("alice", "echo in", password="alice-secret", timeout=15).check().out, "in\n", "login")
    eq(h.run(["su", "alice", "-c", "echo in"], timeout=10).check().out, "in\n", "su")


@test
def links_in_the_home_lead_to_the_box_only(h):
    for name in ("etc", "usr", "dev", "proc"):
        link(f"/proc/1/root/{name}", f"{HOME}/{name}")
    link("/proc/self/root", f"{HOME}/root")
    r = h.run(["nsbox", "run", "alice", "--", "sh", "-c", f"ls {HOME}/root/ {HOME}/root/..; cat {HOME}/root/etc/shadow"])
    lacks(r.out, "work", "what the links lead to")


# ------------------------------------------------------------ rootfs

def image(path, owner=0, mode=0o755):
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "home", "root"):
        os.makedirs(f"{path}/{name}", exist_ok=True)
    shutil.copy("/bin/busybox", f"{path}/bin/busybox")
    for applet in ("sh", "cat", "ls", "touch"):
        if not os.path.lexists(f"{path}/bin/{applet}"):
            os.symlink("busybox", f"{path}/bin/{applet}")
    os.chown(path, owner, owner)
    os.chmod(path, mode)
    return path


def run_in(h, rootfs, *argv):
    h.policy(policy(defaults=f"rootfs = {rootfs}\n"))
    return h.run(["nsbox", "run", "alice", "--", *argv])


@test
def a_rootfs_that_a_user_can_write_is_refused(h):
    for path, owner, mode in (("/srv/i-user", 1001, 0o755), ("/srv/i-group", 0, 0o775), ("/srv/i-world", 0, 0o777)):
        r = run_in(h, image(path, owner, mode), "cat", f"{HOME}/marker")
        assert r.code != 0 and "mine" not in r.out, f"{path}: {r}"
    eq(run_in(h, image("/srv/i-root"), "cat", f"{HOME}/marker").check().out, "mine\n", "with a rootfs of root's")


@test
def a_symlink_of_a_users_is_not_followed_to_a_rootfs(h):
    image("/root/image")
    link("/root/image", f"{POOL}/image")
    both(h, "symlink", lambda h: "mine" in run_in(h, f"{POOL}/image", "cat", f"{HOME}/marker").out)


@test
def an_image_with_hostile_links_shows_nothing_of_the_host(h):
    """Unpacked by root from who knows where: its links are links of the box, never of the host."""
    path = image("/srv/i-links")
    for name, target in (("etc/passwd", "/etc/shadow"), ("etc/group", "/etc/shadow"), ("etc/hostname", "/etc/shadow"),
                         ("etc/shells", "/root/marker"), ("etc/nsswitch.conf", "/root/marker")):
        os.symlink(target, f"{path}/{name}")
    r = run_in(h, path, "sh", "-c", "cat /etc/passwd /etc/group /etc/shells /etc/nsswitch.conf /etc/hostname")
    assert "alice:x:1001:" in r.out, f"the box did not run: {r}"
    for secret in ("$5$", "root\n"):
        lacks(r.out.replace("root:x", ""), secret, "files in the box's /etc")
    for name in ("etc", "home", "proc", "dev", "run", "tmp", "sys"):
        path = image(f"/srv/i-{name}-link")
        shutil.rmtree(f"{path}/{name}")
        os.symlink("/root", f"{path}/{name}")
        r = run_in(h, path, "cat", "/root/marker", f"/{name}/marker")
        lacks(r.out, "root\n", f"an image whose /{name} is a link")
        assert not [n for n in os.listdir("/root") if n in ("passwd", "group", "alice", "pts", "lock")], os.listdir("/root")


# ------------------------------------------------------------ the keeper's own places

@test
def nobody_but_root_gets_at_the_keepers(h):
    s = h.hold(lambda command: ["su", "alice", "-c", command])
    mallory = ["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups"]
    places = observe.state_files()
    assert places, "no file below /run/nsbox"
    for path in places:
        code = ("import socket, sys\np = sys.argv[1]\ntry: open(p).close(); print('open')\nexcept OSError: pass\n"
                "for t in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):\n"
                "  try: socket.socket(socket.AF_UNIX, t).connect(p); print('connected')\n  except OSError: pass\n")
        eq(h.run([*mallory, "/usr/bin/python3", "-c", code, path]).out, "", f"mallory and {path}")
    for argv in (["nsbox", "run", "alice", "--", "id"], ["nsbox", "stop", "alice"], [host.KEEPER], [host.KEEPER, "alice"]):
        r = h.run([*mallory, *argv], timeout=10)
        assert r.code != 0 and "uid=" not in r.out, r
    assert s.popen.poll() is None, "mallory ended alice's session"
    names = [line.split()[-1] for line in observe.read("/proc/net/unix").splitlines() if "@" in line]
    eq([n for n in names if "nsbox" in n], [], "abstract sockets, which have no permissions")


main(setup, before_each=before_each)
