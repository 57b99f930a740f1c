#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""What a login costs under systemd, and what other ways to start a keeper would cost; for
docs/benchmarks.md and docs/architecture.md.

    tests/vm/bookworm.py --run tests/vm/measure.py
"""

import os
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import systemd
import host
import tap
import throwaway
from observe import wait_until
from tap import test

tap._tests.clear()      # systemd's own
TIMES = 20
SOCKET = """\
[Socket]
ListenSequentialPacket=/run/measure.sock
Accept=yes
TriggerLimitIntervalSec=0
"""
SERVICE = """\
[Unit]
CollectMode=inactive-or-failed
StartLimitIntervalSec=0
[Service]
Delegate=yes
StandardInput=socket
ExecStart=/bin/true
"""


def took(function):
    """Milliseconds."""
    start = time.monotonic()
    function()
    return 1000 * (time.monotonic() - start)


def p50(function, times=TIMES):
    return statistics.median(took(function) for _ in range(times))


def compare(times, **functions):
    """In rounds, so that what the machine does otherwise meets them all. A ratio is to the first."""
    rounds = [[took(f) for f in functions.values()] for _ in range(times)]
    columns = dict(zip(functions, zip(*rounds)))
    first = statistics.median(next(iter(columns.values())))
    for name, column in columns.items():
        tenths = statistics.quantiles(column, n=10)
        middle = statistics.median(column)
        print(f"# {middle:6.0f} ms  {middle / first:.2f}  {name}: p10 {tenths[0]:.0f}, p90 {tenths[-1]:.0f}, "
              f"n = {times}", flush=True)


def say(what, ms):
    print(f"# {ms:6.0f} ms  {what}", flush=True)


@test(timeout=300)
def the_ways_to_start_a_keeper(h):
    h.write("/run/systemd/system/measure.socket", SOCKET)
    h.write("/run/systemd/system/measure@.service", SERVICE)
    h.run("systemctl daemon-reload").check()
    h.run("systemctl start measure.socket").check()

    def connect():
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect("/run/measure.sock")
            s.recv(1)           # its end: the service has run
    say("/bin/true by fork and exec", p50(lambda: h.run(["/bin/true"])))
    say("/bin/true by a socket unit with Accept=yes", p50(connect))
    say("/bin/true in a scope (systemd-run --scope)", p50(lambda: h.run(["systemd-run", "-q", "--scope", "true"])))


def su(h, user):
    return lambda: h.run(systemd.as_user(user)("true")).check()


def ssh(h, user):
    return lambda: h.ssh(user, "true").check()


DROP_IN = "/run/systemd/system/user@.service.d/nsbox.conf"


def both(h, what):
    """Of users who have a session already: alice is boxed and carol is not."""
    compare(10, **{"su, not boxed": su(h, "carol"), "su, box exists, " + what: su(h, "alice")})
    compare(5, **{"ssh, not boxed": ssh(h, "carol"), "ssh, box exists, " + what: ssh(h, "alice")})


def drop_in(h, text):
    """In the place of the one of the same name that the package brings."""
    h.write(DROP_IN, "[Unit]\n" + text)
    h.run("systemctl daemon-reload").check()
    h.run("systemctl stop nsbox-user@1001.target").check()


@test(timeout=600)
def a_later_login(h):
    for name in ("carol", "alice"):
        h.hold(systemd.as_user(name))
    both(h, "as installed")
    drop_in(h, "ConditionDirectoryNotEmpty=!/run/nsbox/%i\n")
    both(h, "what her sessions share is made each time")
    drop_in(h, "")
    both(h, "and her manager refused each time")
    os.rename("/etc/pam.d/systemd-user", "/etc/pam.d/not-systemd-user")
    h.run("systemctl start user@1001.service").check()
    both(h, "her manager runs outside the box")
    h.run("systemctl stop user@1001.service").check()
    os.rename("/etc/pam.d/not-systemd-user", "/etc/pam.d/systemd-user")
    os.unlink(DROP_IN)
    h.run("systemctl daemon-reload").check()


@test(timeout=600)
def the_first_login_with_the_user_manager_refused_and_not(h):
    def first():
        h.run("systemctl stop user@1001.service user-runtime-dir@1001.service")
        h.run("systemctl reset-failed")
        wait_until(lambda: not os.path.exists("/run/systemd/users/1001"), 60, "logind has forgotten the user")
        start = time.monotonic()
        h.run(systemd.as_alice("true")).check()
        return 1000 * (time.monotonic() - start)
    say("user@1001.service refused", statistics.median(first() for _ in range(5)))
    os.unlink("/etc/pam.d/systemd-user")
    say("user@1001.service starts, outside the box", statistics.median(first() for _ in range(5)))


if __name__ == "__main__":
    throwaway.boot = systemd.boot_here
    host.Host = systemd.Machine
    tap.main(systemd.setup)
