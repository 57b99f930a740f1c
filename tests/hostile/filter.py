#!/usr/bin/python3 -B
"""The filter: terminal input, sockets that pass a network namespace, keys, user namespaces."""

import re

from common import both, compile_probe, give_probe, policy, prepare, restore, without
import observe
from tap import eq, main, skip, test


def said(text):
    """{call: result} of what probe/calls printed."""
    return dict(re.findall(r"=> ([\w-]+): (\w+)", text))


def try_calls(h, names, tty=False, flags=(), prefix=""):
    """The calls made by alice in her box."""
    path = give_probe(h, "alice", "calls", *flags)
    r = h.ssh("alice", f"{prefix}{path} {' '.join(names)}", tty=tty)
    found = said(r.out)
    eq(sorted(found), sorted(names), f"calls that were made: {r}")
    return found


def outside(h, names, flags=()):
    """The same calls made by alice on the host, with no box and no filter: what the kernel itself says."""
    path = give_probe(h, "alice", "calls", *flags)
    r = h.run(["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", path, *names])
    return said(r.out)


def refused(h, names, errno, unfiltered="ok", **how):
    """Each call works in a box without the filter, and gets this errno with it."""
    with without(h, "seccomp"):
        found = try_calls(h, names, **how)
        eq({n: r for n, r in found.items() if r != unfiltered}, {}, "results although there is no filter")
    found = try_calls(h, names, **how)
    for name in names:
        eq(found[name], errno, f"result of {name} under the filter")


# ------------------------------------------------------------ the terminal

# Since Linux 6.2 a switch can refuse it to everyone but CAP_SYS_ADMIN, then with EIO.
STI = "EIO" if observe.read("/proc/sys/dev/tty/legacy_tiocsti").strip() == "0" else "ok"


@test
def characters_cannot_be_put_into_the_terminals_input(h):
    refused(h, ["tiocsti"], "EPERM", STI, tty=True)
    eq(try_calls(h, ["winsize"], tty=True), {"winsize": "ok"}, "an innocent ioctl")


@test
def nor_with_garbage_in_the_upper_half_of_the_request(h):
    refused(h, ["tiocsti-high"], "EPERM", STI, tty=True)


@test
def nor_by_the_32_bit_entry(h):
    refused(h, ["tiocsti-80"], "EPERM", STI, tty=True)
    eq(try_calls(h, ["winsize-80"], tty=True), {"winsize-80": "ok"}, "an innocent ioctl")


@test
def nor_by_a_32_bit_program(h):
    try:
        compile_probe("calls", "-m32")
    except Exception as error:
        skip(f"no 32-bit compiler: {error}")
    refused(h, ["tiocsti"], "EPERM", STI, tty=True, flags=["-m32"])


@test
def nor_by_an_x32_number(h):
    # A kernel without CONFIG_X86_X32_ABI knows none of them; the filter must not need that.
    found = try_calls(h, ["getpid-x32", "tiocsti-x32"], tty=True)
    eq(found, {"getpid-x32": "ENOSYS", "tiocsti-x32": "ENOSYS"}, "x32 calls in the box")


@test
def the_console_cannot_be_made_to_paste(h):
    # Only a virtual console knows TIOCLINUX: without the filter the terminal says ENOTTY.
    with without(h, "seccomp"):
        eq(try_calls(h, ["tioclinux"], tty=True)["tioclinux"], "ENOTTY", "TIOCLINUX without the filter")
    eq(try_calls(h, ["tioclinux"], tty=True)["tioclinux"], "EPERM", "TIOCLINUX with the filter")


# ------------------------------------------------------------ sockets

@test
def no_vsock_by_any_entry(h):
    names = ["vsock", "vsock-high", "vsock-80", "vsock-socketcall-80"]
    if outside(h, ["vsock"])["vsock"] != "ok":
        skip("this kernel has no AF_VSOCK")
    refused(h, names, "EAFNOSUPPORT")


@test
def no_audit_socket(h):
    refused(h, ["audit", "audit-high"], "EPROTONOSUPPORT")


@test
def sockets_that_programs_need_work(h):
    eq(try_calls(h, ["inet", "unix", "route"]), {"inet": "ok", "unix": "ok", "route": "ok"}, "sockets")


@test
def io_uring_makes_no_socket_that_socket_2_refuses(h):
    if outside(h, ["uring-inet"]).get("uring-inet") != "ok":
        skip("this kernel has no IORING_OP_SOCKET, or io_uring is disabled")
    both(h, "seccomp", lambda h: "ok" in try_calls(h, ["uring-vsock", "uring-audit"]).values())


# ------------------------------------------------------------ keys

@test
def no_call_about_keys(h):
    refused(h, ["keyctl", "add_key", "request_key", "keyctl-80"], "ENOSYS")


# ------------------------------------------------------------ user namespaces: the filter, and the limit behind it

NAMESPACE_CALLS = ["unshare", "clone", "clone3", "unshare-80", "clone-80", "clone3-80"]


@test(timeout=120)
def no_user_namespace_by_any_call(h):
    both(h, ("usernsmax", "seccomp"),
         lambda h: "ok" in try_calls(h, NAMESPACE_CALLS).values())
    with without(h, "usernsmax", "seccomp"):
        eq(set(try_calls(h, NAMESPACE_CALLS).values()), {"ok"}, "calls without both defences")
    eq(try_calls(h, NAMESPACE_CALLS),
       {n: "ENOSYS" if "clone3" in n else "EPERM" for n in NAMESPACE_CALLS}, "calls with both")
    r = h.ssh("alice", "unshare -Ur id -u")
    assert r.code != 0, f"unshare -Ur worked: {r}"


@test
def the_limit_on_user_namespaces_is_the_boxs_and_cannot_be_raised(h):
    before = observe.read("/proc/sys/user/max_user_namespaces")
    s = h.session("alice")
    r = h.enter(s.pid, "sh", "-c", "echo 9 > /proc/sys/user/max_user_namespaces")
    assert r.code != 0, "box root raised the limit"
    eq(h.enter(s.pid, "cat", "/proc/sys/user/max_user_namespaces").out.strip(), "0", "the box's limit")
    eq(observe.read("/proc/sys/user/max_user_namespaces"), before, "the host's limit")


main(prepare("seccomp", "usernsmax", ("usernsmax", "seccomp")), before_each=restore)
