#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""An upgrade while boxes are open: the keeper of before and the module of after."""

import os

from common import LOOK, contains, eq, in_box, restore, setup
import observe
from host import BUILD, PREFIX, REPO
from observe import wait_until
from tap import main, test

OTHER = "/root/other"


def install(h, build, *more):
    h.run(["make", "-s", "-C", REPO, "install", f"BUILD={build}", f"PREFIX={PREFIX}",
           f"PAMDIR={PREFIX}/lib/security", "SYSCONFDIR=/etc", "DESTDIR=", *more], timeout=300).check()


def answers(session):
    """What runs in it is cat."""
    session.popen.stdin.write(b"alive\n")
    session.popen.stdin.flush()
    wait_until(lambda: b"alive" in (session.popen.stdout.read() or b""), 5, "the session answers")


@test
def the_new_module_joins_the_old_keeper_s_box_and_new_boxes_have_the_new_keeper(h):
    s = h.session("alice")
    old = observe.keepers()[0].pid
    install(h, BUILD)
    answers(s)
    eq(h.nsinos(h.session("alice").pid), h.nsinos(s.pid), "namespaces of a session after the upgrade")
    contains(os.readlink(f"/proc/{old}/exe"), "(deleted)", "the old keeper's program")
    h.session("bob")
    new = [p.pid for p in observe.keepers() if p.pid != old]
    eq([os.readlink(f"/proc/{pid}/exe") for pid in new], [PREFIX + "/libexec/nsbox-keeper"], "the new keeper's")


@test(timeout=300)
def a_keeper_of_another_protocol_version_is_named_and_can_be_stopped(h):
    s = h.session("alice")
    install(h, OTHER, "CPPFLAGS=-DNSBOX_PROTO_VERSION=99u", "CFLAGS=-O0", "-j2")
    try:
        mark = h.log_mark()
        eq(h.ssh("alice", "true").code, 254, "exit code of a login")
        h.wait_for_log(r"no box for alice: .*the other end speaks protocol version 2, this one 99: "
                       "end the user's old box with nsbox stop", since=mark)
        answers(s)
        in_box(h.ssh("bob", LOOK).check().out)
        h.run(["nsbox", "stop", "alice"]).check()
        wait_until(lambda: s.popen.poll() is not None, 5, "the old session has ended")
        in_box(h.ssh("alice", LOOK).check().out)
    finally:
        install(h, BUILD)


main(setup, before_each=restore)
