"""A place that the kernel mounts when somebody goes there (autofs), as systemd's .automount units are.

    with automount.at("/srv/auto", "/srv/real"):    # /srv/real, as soon as somebody opens /srv/auto
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import subprocess

PACKET = "iiIIQIIIII"           # struct autofs_v5_packet before its name
PACKET_SIZE = 304
AUTOFS_IOC_READY = 0x9360
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _serve(path, target, requests, ready):
    # Our group may go there without being asked to mount it first.
    os.setpgid(0, 0)
    pipe = requests[1]
    options = f"fd={pipe},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
    if _libc.mount(b"automount", path.encode(), b"autofs", 0, options.encode()):
        return
    top = os.open(path, os.O_RDONLY)
    os.close(pipe)
    os.write(ready, b"x")
    while packet := os.read(requests[0], PACKET_SIZE):
        subprocess.run(["mount", "--bind", target, path], check=False)
        fcntl.ioctl(top, AUTOFS_IOC_READY, struct.unpack_from(PACKET, packet)[2])


@contextlib.contextmanager
def at(path, target):
    requests, ready = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _serve(path, target, requests, ready[1])
        finally:
            os._exit(0)
    os.close(requests[0])
    os.close(requests[1])
    os.close(ready[1])
    try:
        if os.read(ready[0], 1) != b"x":
            raise OSError("mount autofs")
        yield
    finally:
        os.close(ready[0])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while _libc.umount2(path.encode(), MNT_DETACH) == 0:
            pass
