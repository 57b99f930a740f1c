"""A file system that is a program (FUSE), as a user mounts it by fusermount with allow_other.

    with userfs.liar("/home/alice/mnt", 1001, link="/root"):    # a directory "of root's", link in it

It says that all is root's: what it says is the user's word and no more.
"""

import contextlib
import ctypes
import os
import signal
import stat
import struct

LOOKUP, FORGET, GETATTR, READLINK, STATFS, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 5, 17, 26, 36, 42
ENOENT, ENOSYS = 2, 38
TOP, LINK = 1, 2
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _attr(node, target):
    mode = stat.S_IFDIR | 0o755 if node == TOP else stat.S_IFLNK | 0o777
    size = 0 if node == TOP else len(target)
    return struct.pack("=6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(opcode, node, body, links):
    """(error, reply); None: this request wants none."""
    names = list(links)
    target = links[names[node - LINK]] if node >= LINK else ""
    if opcode == INIT:
        return 0, struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0, *[0] * 7)
    if opcode == LOOKUP:
        name = body.rstrip(b"\0").decode()
        if name not in links:
            return ENOENT, b""
        found = LINK + names.index(name)
        return 0, struct.pack("=QQQQII", found, 0, 0, 0, 0, 0) + _attr(found, links[name])
    if opcode == GETATTR:
        return 0, struct.pack("=QII", 0, 0, 0) + _attr(node, target)
    if opcode == STATFS:
        return 0, bytes(80)
    if opcode == READLINK:
        return 0, target.encode()
    return None if opcode in (FORGET, BATCH_FORGET, INTERRUPT) else (ENOSYS, b"")


def _serve(fd, links):
    while True:
        request = os.read(fd, 1 << 17)
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        answer = _answer(opcode, node, request[40:], links)
        if answer:
            error, reply = answer
            os.write(fd, struct.pack("=IiQ", 16 + len(reply), -error, unique) + reply)


@contextlib.contextmanager
def liar(path, uid, **links):
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id={uid},group_id={uid},allow_other"
    if _libc.mount(b"liar", path.encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode()):
        raise OSError(ctypes.get_errno(), "mount fuse")
    pid = os.fork()
    if pid == 0:
        try:
            _serve(fd, links)
        finally:
            os._exit(0)
    os.close(fd)
    try:
        yield
    finally:
        _libc.umount2(path.encode(), MNT_DETACH)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
