#!/usr/bin/python3 -B
"""The keeper as a process of the host: whose it is, and what cannot stop it from doing its work."""

import os
import resource
import signal

from common import LOOK, PROMPT, contains, eq, in_box, only_init, policy, restore, setup
import host
import observe
from observe import wait_until
from tap import main, test

FREEZER = "/sys/fs/cgroup/freezer"


# ------------------------------------------------------------ whose it is

@test
def a_user_who_called_su_has_no_power_over_the_keeper(h):
    """su's real uid is the user's own, and whoever has the real uid of a process may signal it."""
    t = h.pty(["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", "su", "-", "alice"], cwd="/")
    t.expect("Password:")
    t.line("alice-secret")
    t.expect(PROMPT)
    keeper = observe.keepers()[0]
    eq(keeper.uids, [0] * 4, "uids of the keeper")
    eq(keeper.status["Gid"].split(), ["0"] * 4, "gids of the keeper")
    eq(keeper.status["Groups"].split(), [], "groups of the keeper")
    for path in ("/run/nsbox/1001", *observe.state_files("/run/nsbox/1001")):
        eq(os.lstat(path).st_gid, 0, f"group of {path}")
    for uid, gid in ((1003, 1003), (1001, 1001)):
        r = h.run(["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "kill", "-0", str(keeper.pid)])
        contains(r.err, "not permitted", f"a signal by {uid}")
    in_box(t.ask(LOOK))


@test
def a_caller_without_standard_descriptors_gets_a_whole_keeper(h):
    """runuser is not set-uid, so nobody opens 0 to 2 for it: the keeper must not have its own there."""
    for closed in ("<&- >&- 2>&-", "<&- >&-", "<&-", "<&- 2>&-", ">&-"):
        h.home_file("alice", "go", f"#!/bin/sh\n{LOOK} > /home/alice/look; exec sleep 1000\n", 0o755)
        p = h.start(["sh", "-c", f"exec runuser -u alice -- /home/alice/go {closed}"], cwd="/home/alice")
        wait_until(lambda: len(observe.read("/home/alice/look").splitlines()) > 6, 5, f"the session runs, {closed}")
        in_box(observe.read("/home/alice/look"))
        os.unlink("/home/alice/look")
        keeper, init = observe.keepers()[0], only_init(h)
        for who in (keeper, init):
            eq([os.readlink(f"/proc/{who.pid}/fd/{fd}") for fd in range(3)], ["/dev/null"] * 3,
               f"descriptors 0 to 2 of {who}, {closed}")
        os.kill(keeper.pid, signal.SIGKILL)
        wait_until(lambda: not observe.inits(), 1, f"init is gone, {closed}")
        p.wait(5)
        h.settle()


main(setup, before_each=restore)
