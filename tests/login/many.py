#!/usr/bin/python3 -B
"""Many logins with linger = 0: each makes a box, or joins one that is about to end; none may fail.

NSBOX_TEST_LOGINS   how many (200; the issue says 2000)
"""

import os
import time

from common import LOOK, eq, in_box, restore, setup
import observe
from tap import main, test

LOGINS = int(os.environ.get("NSBOX_TEST_LOGINS", "200"))


@test(timeout=1800)
def many_logins_one_after_another(h):
    in_box(h.ssh("alice", LOOK).out)
    for n in range(LOGINS):
        r = h.ssh("alice", "true")
        eq((r.code, r.out, r.err), (0, "", ""), f"login {n}")
    h.wait_gone()


@test(timeout=1800)
def many_logins_four_at_a_time(h):
    in_box(h.ssh("alice", LOOK).out)
    for n in range(LOGINS // 4):
        four = [h.start(h.ssh_argv("alice", "true")) for _ in range(4)]
        eq([p.wait(60) for p in four], [0] * 4, f"exit codes, round {n}")
    h.wait_gone()


@test(timeout=1800)
def many_su_one_after_another(h):
    in_box(h.run(["su", "-", "alice", "-c", LOOK]).out)
    for n in range(LOGINS):
        r = h.run(["su", "alice", "-c", "true"], cwd="/")
        eq((r.code, r.err), (0, ""), f"su {n}")
    h.wait_gone()


@test(timeout=600)
def keepers_that_are_killed_at_any_moment_cost_at_most_their_own_sessions(h):
    in_box(h.ssh("alice", LOOK).out)
    rounds = max(5, LOGINS // 20)
    refused = []
    for n in range(rounds):
        running = [h.start(h.ssh_argv("alice", "true")) for _ in range(6)]
        time.sleep(0.2 + 0.3 * n / rounds)      # any moment will do: a later one each round
        for keeper in observe.keepers():
            observe.kill(keeper.pid)
        for p in running:
            p.wait(30)
        live = observe.inits()
        assert len(live) <= 1, f"two live boxes of one user: {live}"
        refused += [p.returncode for p in running if p.returncode == 254]
        eq(h.ssh("alice", "true").code, 0, f"the next login, round {n}")
    eq(refused, [], "exit codes of logins that met a dying keeper")
    h.wait_gone()


main(setup, before_each=restore)
