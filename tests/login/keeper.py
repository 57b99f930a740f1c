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


main(setup, before_each=restore)
