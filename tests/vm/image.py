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
import re
import shutil
import subprocess
import sys
import tempfile

SUITE = "bookworm"

# What a small real server has, and what the parts of nsbox are linked with.
PACKAGES = [
    "at", "auditd", "busybox", "cron", "dbus", "e2fsprogs", "git", "initramfs-tools", "iproute2", "kbd", "kmod",
    "less", "libcap2", "libcap2-bin", "libnftables1", "libnl-3-200", "libnl-route-3-200", "libnss-systemd",
    "libpam-modules", "libpam-runtime", "libpam-systemd", "libpam0g", "libseccomp2", "linux-image-amd64", "login",
    "make", "nftables", "openssh-client", "openssh-server", "passwd", "procps", "python3", "strace", "sudo",
    "systemd-container", "systemd-sysv", "tmux", "udev", "util-linux", "xfsprogs", "zstd",
]

# What only one suite's tests need (suite.py); on trixie also what keeps the records of logins, not utmp(5).
ONLY = {
    "bookworm": ["libnss-extrausers", "network-manager", "sssd-common", "sssd-proxy"],
    "trixie": ["firewalld", "lastlog2", "libpam-lastlog2", "libpam-wtmpdb", "ufw", "wtmpdb"],
}


def packages(suite):
    return sorted(PACKAGES + ONLY.get(suite, []))


# Enough for the initrd to find the root disk; the rest is in the root.
INITRD_MODULES = ["virtio_pci", "virtio_blk", "ext4"]

INIT_PATH = "/usr/local/sbin/nsbox-test-init"
INIT = """#!/bin/sh
# Starts what the second disk brings, or systemd if the command line says so, with the same as a unit.
set -e
mountpoint -q /proc || mount -t proc proc /proc
mkdir -p /payload
mount -o ro /dev/vdb /payload
grep -qw nsbox.systemd /proc/cmdline || exec /payload/init
mountpoint -q /run || mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mkdir -p /run/systemd/system/multi-user.target.wants
cp /payload/tests/vm/nsbox-test.service /run/systemd/system/
ln -s ../nsbox-test.service /run/systemd/system/multi-user.target.wants/
exec /sbin/init
"""

# Nothing here is updated or kept tidy, and an emulated processor has better to do. What takes care of
# the network or guards it the tests start themselves.
MASKED = ["NetworkManager.service", "firewalld.service", "systemd-networkd.service", "ufw.service",
          "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
          "e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "motd-news.timer",
          "systemd-tmpfiles-clean.timer"]

SIZE = "3G"
HOSTNAME = "testvm"


def cache_dir():
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "nsbox-test")


def key(suite):
    shape = [suite, SIZE, HOSTNAME, INIT] + packages(suite) + INITRD_MODULES + MASKED
    return hashlib.sha256("\0".join(shape).encode()).hexdigest()[:16]


def own_suite():
    """The suite that this machine has itself; its mirrors have the others too."""
    with open("/etc/os-release") as f:
        return re.search(r"^VERSION_CODENAME=(\w+)", f.read(), re.M)[1]


def apt_sources(suite):
    """The machine's own sources of its suite (with -updates, -security), for this suite, as one-line entries."""
    fmt = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    out = subprocess.run(["apt-get", "indextargets", "--format", fmt, "Created-By: Packages"],
                         check=True, capture_output=True, text=True).stdout
    lines, own = [], own_suite()
    for line in sorted(set(out.splitlines())):
        uri, release, component = line.split()
        if release == own or release.startswith(own + "-"):
            lines.append("deb %s %s %s" % (uri, suite + release[len(own):], component))
    if not lines:
        raise SystemExit("apt on this machine has no source for %s" % own)
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
           "--include=" + ",".join(packages(suite))]
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
    for unit in MASKED:
        os.symlink("/dev/null", os.path.join(root, "etc/systemd/system", unit))
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
