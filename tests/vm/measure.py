#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""What a login costs under systemd, and what other ways to start a keeper would cost; for
docs/architecture.md.

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


def p50(function, times=TIMES):
    """Milliseconds."""
    took = []
    for _ in range(times):
        start = time.monotonic()
        function()
        took.append(1000 * (time.monotonic() - start))
    return statistics.median(took)


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


@test(timeout=600)
def a_login_by_su(h):
    alice = lambda: h.run(systemd.as_alice("true")).check()
    carol = lambda: h.run(["su", "carol", "-c", "true"]).check()
    held = h.hold(lambda command: ["su", "carol", "-c", command])
    say("not boxed, has a session already", p50(carol))
    held.close(60)
    held = h.hold(systemd.as_alice)
    say("boxed, box exists", p50(alice))
    held.close(60)
    h.wait_gone()
    say("boxed, a new box each time", p50(alice))


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
