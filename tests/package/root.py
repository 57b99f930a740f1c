#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""A clean Debian root to install packages into.

Made by mmdebstrap from the apt sources of this machine and kept as a tar archive below
${XDG_CACHE_HOME:-/var/cache}/nsbox-test/, as the images of tests/vm are; never written to again.
Root unpacks it in the throwaway host and starts a pid 1 that has it as its root, for the keeper
starts from pid 1's namespaces and root.
"""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../vm"), os.path.join(HERE, "../lib")]
import image
import throwaway

SUITE = "bookworm"
PACKAGES = ["autopkgtest", "cron", "libpam-modules", "libpam-runtime", "login", "openssh-client", "openssh-server", "passwd",
            "procps", "python3-minimal", "sudo", "util-linux"]

# pid 1: reaps whatever loses its parent.
REAPER = """
import os, signal
signal.signal(signal.SIGCHLD, lambda *_: None)
while True:
    signal.sigwaitinfo([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""

PIVOT = """
cd "$1" && mkdir -p old proc sys dev run tmp
mount --rbind /sys sys && mount --rbind /dev dev && mount --bind /run run
pivot_root . old && mount -t proc proc /proc && umount -l /old
exec /usr/bin/python3 -c "$2"
"""


def depends(deb):
    """The names of what a package depends on, the first of alternatives."""
    field = subprocess.run(["dpkg-deb", "--field", deb, "Depends"], check=True, stdout=subprocess.PIPE, text=True)
    return {clause.split("|")[0].split("(")[0].strip() for clause in field.stdout.split(",")}


def archive(deb, suite=SUITE):
    """The path of the archive of a root where `deb` can be installed; makes it if need be."""
    packages = sorted({*PACKAGES, *depends(deb)})
    key = hashlib.sha256("\\0".join([suite, *packages]).encode()).hexdigest()[:16]
    base = image.cache_dir()
    path = os.path.join(base, f"package-{suite}-{key}.tar")
    os.makedirs(base, exist_ok=True)
    with open(os.path.join(base, "package-lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            print(f"# making the {suite} root, once", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=base) as tmp:
                cmd = ["mmdebstrap", "--quiet", "--mode=root", "--format=tar", "--variant=minbase",
                       "--include=" + ",".join(packages), "--dpkgopt=path-exclude=/usr/share/doc/*"]
                cmd += ["--aptopt=" + option for option in image.apt_options()]
                subprocess.run(cmd + [suite, tmp + "/root.tar"] + image.apt_sources(suite), check=True,
                               env=dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8"),
                               stdout=sys.stderr)
                os.rename(tmp + "/root.tar", path)
    return path


class Root:
    """The unpacked root, with a pid 1 of its own."""

    def __init__(self, h, tar):
        self.h = h
        self.dir = "/srv/root"
        os.mkdir(self.dir)
        throwaway.mount("package", self.dir, "tmpfs", 0, "mode=755,size=2g")
        subprocess.run(["tar", "-x", "-C", self.dir, "--exclude=./dev/*", "-f", "-"], stdin=tar, check=True)
        self.popen = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", PIVOT, "sh", self.dir,
             REAPER], stdin=subprocess.DEVNULL)
        self.pid = h.wait_until(self._init, 20, "the root has a pid 1")

    def _init(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"pid 1 ended with {self.popen.returncode}")
        with open(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children") as f:
            pid = f.read().strip()
        if not pid:
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return int(pid) if f.read().startswith(b"/usr/bin/python3") else None

    def run(self, argv, **how):
        """A command with this root, to its end."""
        argv = argv if isinstance(argv, list) else ["sh", "-c", argv]
        return self.h.run(["nsenter", "-t", str(self.pid), "-m", "-p", "-r", "-w", *argv],
                          env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                          **{"timeout": 120, **how})

    def path(self, name):
        return f"/proc/{self.pid}/root{name}"

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        self.popen.wait()


if __name__ == "__main__":
    print(archive(*sys.argv[1:]))
