"""Images for rootfs =, made once and kept below ${XDG_CACHE_HOME:-/var/cache}/nsbox-test.

    debian()    a directory with `root`, a Debian minbase with sudo and a package repository of its
                own in /srv/repo, and `root.erofs`, the same as a file

Call it before the throwaway host is made, which hides the cache: what it returns stays reachable.

    busybox(path)   makes a tree of busybox there
    loop_devices()  their nodes in /dev
"""

import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../vm"))
import image as vm_image
sys.path.pop(0)
import host

SUITE = "bookworm"
PACKAGES = ["sudo", "passwd", "adduser"]

# Package 1.0 is in the image, 2.0 in the repository: it brings a file that was a directory's
# content before, leaves a directory out, and its postinst makes another anew.
DEBS = {
    ("nsbox-old", "1.0"): {"usr/share/nsbox-old/gone/a": "a 1\n", "usr/share/nsbox-old/gone/deep/b": "b 1\n",
                           "usr/share/nsbox-old/stays/c": "c 1\n", "usr/bin/nsbox-old": "#!/bin/sh\necho old 1.0\n"},
    ("nsbox-old", "2.0"): {"usr/share/nsbox-old/stays/c": "c 2\n", "usr/share/nsbox-old/gone2/a": "a 2\n",
                           "usr/bin/nsbox-old": "#!/bin/sh\necho old 2.0\n"},
    ("nsbox-new", "1.0"): {"usr/share/nsbox-new/file": "new\n", "usr/bin/nsbox-new": "#!/bin/sh\necho new 1.0\n"},
}
POSTINST = """#!/bin/sh
set -e
rm -rf /usr/share/nsbox-made
mkdir -p /usr/share/nsbox-made/again
touch "/usr/share/nsbox-made/again/$DPKG_MAINTSCRIPT_PACKAGE-$2"
getent group nsbox-sys >/dev/null || addgroup --system --gid 333 nsbox-sys
"""
SUDOERS = "Defaults !requiretty\n%nsbox ALL=(ALL:ALL) NOPASSWD: ALL\n"


def _write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def make_deb(to, name, version, files):
    """One package; returns its paragraph of the Packages file."""
    with tempfile.TemporaryDirectory() as tree:
        os.chmod(tree, 0o755)
        for path, text in files.items():
            _write(f"{tree}/{path}", text, 0o755 if "/bin/" in path else 0o644)
        control = (f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n"
                   "Description: for a test\n")
        _write(f"{tree}/DEBIAN/control", control)
        _write(f"{tree}/DEBIAN/postinst", POSTINST, 0o755)
        deb = f"{to}/{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, deb], check=True,
                       stdout=subprocess.DEVNULL)
    with open(deb, "rb") as f:
        data = f.read()
    return (f"{control}Filename: ./{os.path.basename(deb)}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n")


def _finish(root, out):
    repo = root + "/srv/repo"
    os.makedirs(repo)
    index = {deb: make_deb(repo, *deb, files) for deb, files in DEBS.items()}
    subprocess.run(["dpkg", "--root=" + root, "-i", f"{repo}/nsbox-old_1.0_all.deb"], check=True, stdout=sys.stderr)
    _write(f"{repo}/Packages", "".join(index.values()))
    _write(f"{root}/etc/apt/sources.list", "deb [trusted=yes] file:/srv/repo ./\n")
    _write(f"{root}/etc/sudoers.d/nsbox", SUDOERS, 0o440)
    for name, text in {"hostname": "", "resolv.conf": "", "hosts": "127.0.0.1 localhost\n"}.items():
        _write(f"{root}/etc/{name}", text)     # were this machine's
    subprocess.run(["mkfs.erofs", "--quiet", f"{out}/root.erofs", root], check=True, stdout=sys.stderr)


def debian():
    with open(os.path.abspath(__file__), "rb") as f:
        key = hashlib.sha256(f.read()).hexdigest()[:16]
    base = vm_image.cache_dir()
    place = os.path.join(base, f"rootfs-{SUITE}-{key}")
    os.makedirs(base, exist_ok=True)
    with open(os.path.join(base, "rootfs.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(place):
            print(f"# making the {SUITE} image of a box, once", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=base) as tmp:
                out = os.path.join(tmp, "out")
                os.mkdir(out)
                cmd = ["mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=minbase",
                       "--include=" + ",".join(PACKAGES), "--dpkgopt=path-exclude=/usr/share/doc/*",
                       "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
                cmd += ["--aptopt=" + option for option in vm_image.apt_options()]
                subprocess.run([*cmd, SUITE, f"{out}/root", *vm_image.apt_sources(SUITE)], check=True,
                               stdout=sys.stderr, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8"))
                _finish(f"{out}/root", out)
                os.rename(out, place)
    host.KEEP.append(place)
    return place


def busybox(path, applets=()):
    """busybox and its names in PATH/bin, the directories that any image has."""
    for name in ("bin", "sbin", "usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "tmp", "run", "home", "root", "var/tmp"):
        os.makedirs(f"{path}/{name}", exist_ok=True)
    shutil.copy("/bin/busybox", f"{path}/bin/busybox")
    for applet in applets or subprocess.run(["busybox", "--list"], check=True, capture_output=True, text=True).stdout.split():
        if not os.path.lexists(f"{path}/bin/{applet}"):
            os.symlink("busybox", f"{path}/bin/{applet}")
    return path


def loop_devices(n=32):
    """The nodes of loop devices, which an image file may need; a throwaway host has none."""
    for number in range(n):
        if not os.path.exists(f"/dev/loop{number}"):
            os.mknod(f"/dev/loop{number}", stat.S_IFBLK | 0o600, os.makedev(7, number))


if __name__ == "__main__":
    print(debian())
