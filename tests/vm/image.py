#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The root image of the virtual machine tests.

A Debian root made by mmdebstrap from the apt sources of this machine, packed
as an ext4 image, with its kernel and initrd beside it. It is kept below
${XDG_CACHE_HOME:-/var/cache}/nsbox-test/ under a key made of everything that
shapes it, and never written to again: a test boots it with -snapshot and
brings what is under test on a second disk, whose /init the image's own init
script starts. With nsbox.systemd on the kernel command line the script starts
systemd instead, for a suite that wants the whole system.

    tests/vm/image.py [SUITE]      makes the image if need be, prints its place
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

SUITE = "bookworm"

# What a small real server has, and what the parts of nsbox are linked with.
PACKAGES = [
    "busybox", "cron", "dbus", "e2fsprogs", "git", "initramfs-tools", "iproute2", "kmod", "less",
    "libcap2", "libcap2-bin", "libnftables1", "libnl-3-200", "libnl-route-3-200", "libpam-modules",
    "libpam-runtime", "libpam-systemd", "libpam0g", "libseccomp2", "linux-image-amd64", "login", "make",
    "nftables", "openssh-client", "openssh-server", "passwd", "procps", "python3", "strace", "sudo",
    "systemd-sysv", "tmux", "udev", "util-linux", "zstd",
]

# Enough for the initrd to find the root disk; the rest is in the root.
INITRD_MODULES = ["virtio_pci", "virtio_blk", "ext4"]

INIT_PATH = "/usr/local/sbin/nsbox-test-init"
INIT = """#!/bin/sh
# Starts what the second disk brings; or systemd, if the command line says so.
set -e
mount -t proc proc /proc
mkdir -p /payload
mount -o ro /dev/vdb /payload
grep -qw nsbox.systemd /proc/cmdline && exec /sbin/init
exec /payload/init
"""

SIZE = "3G"
HOSTNAME = "testvm"


def cache_dir():
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "nsbox-test")


def key(suite):
    shape = [suite, SIZE, HOSTNAME, INIT] + sorted(PACKAGES) + INITRD_MODULES
    return hashlib.sha256("\0".join(shape).encode()).hexdigest()[:16]


def apt_sources(suite):
    """The machine's own sources of this suite (with -updates, -security), as one-line entries."""
    fmt = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    out = subprocess.run(["apt-get", "indextargets", "--format", fmt, "Created-By: Packages"],
                         check=True, capture_output=True, text=True).stdout
    lines = []
    for line in sorted(set(out.splitlines())):
        uri, release, component = line.split()
        if release == suite or release.startswith(suite + "-"):
            lines.append("deb %s %s %s" % (uri, release, component))
    if not lines:
        raise SystemExit("apt on this machine has no source for %s" % suite)
    return lines


def apt_options():
    """How the machine reaches them: proxies, time-outs, checks of the date."""
    out = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return [line for line in out.splitlines() if line.startswith(wanted) and '""' not in line]


def bootstrap(suite, root):
    modules = "\\n".join(INITRD_MODULES)
    # The initrd is made by the kernel's postinst: its configuration has to be there before.
    hooks = [
        'mkdir -p "$1"/etc/initramfs-tools/conf.d',
        'echo MODULES=list > "$1"/etc/initramfs-tools/conf.d/nsbox-test',
        'printf "%s\\n" > "$1"/etc/initramfs-tools/modules' % modules,
    ]
    cmd = ["mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=minbase",
           "--include=" + ",".join(PACKAGES)]
    cmd += ["--aptopt=" + opt for opt in apt_options()]
    cmd += ["--dpkgopt=force-confold", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    cmd += ["--essential-hook=" + hook for hook in hooks]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    subprocess.run(cmd + [suite, root] + apt_sources(suite), check=True, env=env,
                   stdout=sys.stderr)


def finish(root, out):
    init = root + INIT_PATH
    with open(init, "w") as f:
        f.write(INIT)
    os.chmod(init, 0o755)
    files = {"fstab": "/dev/vda / ext4 rw,relatime 0 1\n", "hostname": HOSTNAME + "\n",
             "hosts": "127.0.0.1 localhost %s\n" % HOSTNAME, "resolv.conf": ""}
    for name, text in files.items():    # some were this machine's
        with open(os.path.join(root, "etc", name), "w") as f:
            f.write(text)
    for name in ("vmlinuz", "initrd.img"):
        shutil.copyfile(os.path.realpath(os.path.join(root, name)), os.path.join(out, name))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, os.path.join(out, "root.ext4"), SIZE],
                   check=True, stdout=sys.stderr)


def ensure(suite=SUITE):
    """Returns the directory that has root.ext4, vmlinuz and initrd.img; makes it if need be."""
    base = cache_dir()
    place = os.path.join(base, "%s-%s" % (suite, key(suite)))
    os.makedirs(base, exist_ok=True)
    with open(os.path.join(base, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(os.path.join(place, "root.ext4")):
            return place
        print("# making the %s image, once" % suite, file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=base) as tmp:
            root, out = os.path.join(tmp, "root"), os.path.join(tmp, "out")
            os.mkdir(out)
            bootstrap(suite, root)
            finish(root, out)
            os.rename(out, place)
    return place


if __name__ == "__main__":
    print(ensure(*sys.argv[1:2]))
