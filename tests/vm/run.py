#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Runs tests/vm/inside.py on a real system: Debian's own kernel, plain cgroup v2, ext4.

Boots the image of image.py in qemu, emulated and without a network, with a
second disk that holds what `make install` installs and the tests. The test
program's TAP comes back over the second serial port and is printed as it is;
what the kernel says on the console is shown when the machine did not get to
the end, and the journal when a test failed. The third and the fourth serial
port are each other's other end: a console inside to log in at.

    tests/vm/run.py [-v] [WORD...]            runs the tests whose names contain a WORD
    tests/vm/run.py --run PROGRAM [WORD...]   runs another suite there, in a throwaway host of its
                                              own: tests/login/callers.py, say
    tests/vm/bookworm.py, tests/vm/trixie.py  boot that Debian under systemd with the package, the
                                              one in NSBOX_DEB if that is given, and run
                                              tests/vm/systemd.py
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import image

REPO = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BUILD = os.path.join(REPO, os.environ.get("NSBOX_BUILD", "build"))
EMULATED = "tcg,thread=multi"
TIMEOUT = int(os.environ.get("NSBOX_VM_TIMEOUT", "1200"))


def product_built():
    return all(os.path.exists(os.path.join(BUILD, name)) for name in ("pam_nsbox.so", "nsbox-keeper"))


def make_images(tree):
    """Small images, as files: a busybox that says what it is."""
    root = os.path.join(tree, "busybox")
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "usr/dir/deep"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin"))
    for name in ("sh", "cat", "ls", "rm", "mkdir", "mv", "env", "dd", "sleep", "chmod", "chown", "touch", "ln"):
        os.symlink("busybox", os.path.join(root, "bin", name))
    with open(os.path.join(root, "image-file"), "w") as f:
        f.write("of the image\n")
    subprocess.run(["mkfs.erofs", "--quiet", tree + "/busybox.erofs", root], check=True, stdout=sys.stderr)
    subprocess.run(["mksquashfs", root, tree + "/busybox.squashfs", "-quiet", "-no-progress"], check=True,
                   stdout=sys.stderr)


def make_deb(tmp):
    """The package's file; without its own tests, which have run or will."""
    deb = os.environ.get("NSBOX_DEB")
    if not deb:
        env = dict(os.environ, DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=2")
        made = subprocess.run(["make", "-s", "-C", REPO, "deb", "DEB=%s/deb" % tmp, "DEB_FLAGS=-b"], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode:
            print(made.stdout, file=sys.stderr)
            raise SystemExit("make deb failed")
        deb = glob.glob(tmp + "/deb/libpam-nsbox_*.deb")[0]
    return deb


def make_packages(deb, tree):
    """package.deb, and newer.deb: the same with a higher version. Not compressed, for the machine's sake."""
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["dpkg-deb", "-R", deb, tmp], check=True)
        for name, suffix in (("package", ""), ("newer", "+newer")):
            subprocess.run(["sed", "-i", "s/^Version: .*/&" + suffix + "/", tmp + "/DEBIAN/control"], check=True)
            subprocess.run(["dpkg-deb", "-Znone", "-b", tmp, f"{tree}/{name}.deb"], check=True,
                           stdout=subprocess.DEVNULL)


def make_payload(tmp, systemd):
    """The second disk: the work tree with what was built, /init, and /dest to copy over the root.

    Under systemd the package in the place of /dest."""
    tree = os.path.join(tmp, "payload")
    shutil.copytree(REPO, tree, symlinks=True,
                    ignore=shutil.ignore_patterns(".git", "__pycache__", "build-*"))
    shutil.copy(os.path.join(tree, "tests/vm/init"), os.path.join(tree, "init"))
    make_images(tree)
    if systemd:
        make_packages(make_deb(tmp), tree)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-pthread", "-o", tree + "/caller",
                        os.path.join(REPO, "tests/pam/caller.c"), "-lpam"], check=True)
    elif product_built():
        subprocess.run(["make", "-s", "-C", REPO, "install", "BUILD=" + BUILD, "PREFIX=/usr/local",
                        "PAMDIR=/usr/local/lib/security", "SYSCONFDIR=/etc",
                        "DESTDIR=" + tree + "/dest"], check=True, stdout=sys.stderr)
    size = int(subprocess.run(["du", "-sm", tree], check=True, capture_output=True,
                              text=True).stdout.split()[0])
    disk = os.path.join(tmp, "payload.ext4")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, disk,
                    "%dM" % (2 * size + 32)], check=True, stdout=subprocess.DEVNULL)
    return disk


def has_kvm():
    """A /dev/kvm on a processor without virtualisation is there, opens, and gets nowhere."""
    with open("/proc/cpuinfo") as f:
        return bool(re.search(r"^flags.*\b(vmx|svm)\b", f.read(), re.M)) and os.path.exists("/dev/kvm")


def qemu_command(place, payload, tmp, systemd, program, words):
    append = ["root=/dev/vda", "rw", "console=ttyS0", "panic=-1", "quiet", "mitigations=off",
              "init=" + image.INIT_PATH, "nsbox.run=" + program]
    accel = os.environ.get("NSBOX_VM_ACCEL") or ("kvm" if has_kvm() else EMULATED)
    if accel == EMULATED:
        # A tenth of the time: a clock that is a device (hpet), and what the kernel does for safety's sake.
        append += ["tsc=reliable", "clocksource=tsc", "init_on_alloc=0", "nokaslr"]
    if systemd:
        append += ["nsbox.systemd", "nsbox.journal=" + os.environ.get("NSBOX_VM_JOURNAL", "300"),
                   "systemd.show_status=no", "audit=1",
                   "systemd.mask=systemd-journald-audit.socket",
                   "modprobe.blacklist=kvm,kvm_amd,kvm_intel,powernow_k8,pcspkr,i2c_piix4"]
    if words:
        append.append("nsbox.words=" + ",".join(words))
    drive = "if=virtio,format=raw,cache=unsafe,file="
    return ["qemu-system-x86_64", "-accel", accel, "-cpu", "max", "-smp", "2", "-m", "2G",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-snapshot",
            "-kernel", os.path.join(place, "vmlinuz"), "-initrd", os.path.join(place, "initrd.img"),
            "-append", " ".join(append),
            "-drive", drive + os.path.join(place, "root.ext4"), "-drive", drive + payload,
            "-device", "virtio-rng-pci",
            "-serial", "file:%s/console" % tmp, "-serial", "stdio", "-monitor", "none",
            "-chardev", "socket,id=one,server=on,wait=off,path=%s/cable" % tmp, "-serial", "chardev:one",
            "-chardev", "socket,id=other,path=%s/cable" % tmp, "-serial", "chardev:other"]


class Tap:
    """Passes TAP lines on and keeps count."""

    def __init__(self):
        self.seen = self.failed = 0
        self.planned = None

    def line(self, line):
        if re.match(r"(not )?ok\b", line):
            self.seen += 1
            self.failed += line.startswith("not")
        elif re.match(r"1\.\.\d+$", line):
            self.planned = int(line[3:])
        print(line, flush=True)

    def finish(self):
        """A machine that died counts as one more failure."""
        if self.planned != self.seen:
            self.seen += 1
            self.failed += 1
            print("not ok %d - the machine gets to the end of its tests" % self.seen)
            print("1..%d" % self.seen, flush=True)
        return self.failed == 0


def panicked_early(console, tap):
    """Did the kernel die before anything was tested? The emulator's processors tear the kernel's patches of itself."""
    if tap.seen or tap.planned is not None or not os.path.exists(console):
        return False
    with open(console, errors="replace") as f:
        return "Kernel panic" in f.read()


def boot(command, console, tap, again=True):
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    watch = threading.Timer(TIMEOUT, machine.kill)
    watch.start()
    try:
        for line in machine.stdout:
            tap.line(line.decode(errors="replace").rstrip("\r\n"))
        machine.wait()
    finally:
        watch.cancel()
        machine.kill()
        machine.wait()
    if again and panicked_early(console, tap):
        print("# the kernel panicked before the first test: once more", flush=True)
        return boot(command, console, tap, again=False)
    good = tap.finish()
    if not good and os.path.exists(console):
        with open(console, errors="replace") as f:
            for line in f.read().splitlines()[-60:]:
                print("# console: " + line)
    return good


def main(suite=image.SUITE, systemd=False):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-v", action="store_true", help="say how long it took")
    parser.add_argument("--run", default="tests/vm/systemd.py" if systemd else "tests/vm/inside.py",
                        metavar="PROGRAM")
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    for tool in ("mmdebstrap", "qemu-system-x86_64"):
        if not shutil.which(tool):
            print("ok 1 - a machine is made # SKIP %s is not installed\n1..1" % tool)
            return
    start = time.monotonic()
    place = image.ensure(suite)
    with tempfile.TemporaryDirectory(prefix="nsbox-vm-") as tmp:
        payload = make_payload(tmp, systemd)
        made = time.monotonic()
        command = qemu_command(place, payload, tmp, systemd, args.run, args.words)
        good = boot(command, tmp + "/console", Tap())
    if args.v:
        print("# %.0f s to make it, %.0f s in the machine" % (made - start, time.monotonic() - made))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
