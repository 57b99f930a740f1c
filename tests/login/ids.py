#!/usr/bin/python3 -B
"""The ids of a box: what they are mapped to, and that files on the disk keep the user's own."""

import os

from common import LOOK, all_differ, block, contains, eq, get_in, in_box, policy, restore, setup
import observe
from observe import id_map, to_host
from tap import main, test


@test
def box_ids_are_mapped_to_one_unprivileged_block(h):
    s = h.session("alice")
    for which in ("uid", "gid"):
        base = to_host(s.pid, 0, which)
        assert 524288 <= base <= 1878982656 - 65536, f"base {base}"
        for inside in (1, 5, 1001, 59999, 65533, 65535):
            eq(to_host(s.pid, inside, which), base + inside, f"host {which} of {inside}")


@test
def no_id_of_an_account_of_the_host_is_mapped(h):
    s = h.session("alice")
    for which, file in (("uid", "/etc/passwd"), ("gid", "/etc/group")):
        numbers = {int(line.split(":")[2]) for line in observe.read(file).splitlines()}
        for _, outside, count in id_map(s.pid, which):
            clash = {n for n in numbers if outside <= n < outside + count}
            eq(clash, set(), f"{which}s of host accounts that the box can be")


@test
def two_boxes_have_two_blocks(h):
    a, b = block(h.session("alice").pid), block(h.session("bob").pid)
    assert a[0] + a[1] <= b[0] or b[0] + b[1] <= a[0], f"blocks overlap: {a} {b}"


@test
def inside_the_user_has_the_usual_numbers_and_names(h):
    out = h.ssh("alice", f"id; {LOOK}").check().out
    for part in ("uid=1001(alice)", "gid=1001(alice)", "1600(students)", "1500(nsbox)"):
        contains(out, part)
    in_box(out)


@test
def outside_every_process_of_the_session_has_mapped_ids_only(h):
    s = h.session("alice")
    base, size = block(s.pid)
    assert len(observe.boxed()) >= 4, "init, monitor, post-auth child and the session are boxed"
    for p in observe.boxed():
        for number in p.uids + p.gids + p.groups:
            assert base <= number < base + size, f"id {number} of {p}"
    eq(observe.Process(s.pid).uids, [base + 1001] * 4, "uids of the session")


@test
def files_made_inside_belong_to_the_user_on_the_disk(h):
    get_in(h)
    h.ssh("alice", "echo mine > made; mkdir -p dir; ln -sf made link; chgrp students made").check()
    for name in ("made", "dir", "link"):
        st = os.lstat("/home/alice/" + name)
        eq(st.st_uid, 1001, f"owner of {name}")
    eq(os.stat("/home/alice/made").st_gid, 1600, "group after chgrp")
    eq(observe.read("/home/alice/made"), "mine\n", "content")


def user_with_ids(h, name, uid, gid, groups=()):
    if name not in h.users:
        h.add_user(name, uid, gid, groups=["nsbox", *groups])
    out = h.ssh(name, f"id -u; id -g; id -un; touch made; {LOOK}").check().out
    eq(out.split()[:3], [str(uid), str(gid), name], "id inside")
    st = os.stat(f"/home/{name}/made")
    eq((st.st_uid, st.st_gid), (uid, gid), "owner on the disk")
    in_box(out)
    tty = h.ssh(name, "tty; id -u", tty=True).check().out
    contains(tty, "/dev/pts/")


@test
def ids_above_65535(h):
    user_with_ids(h, "large", 4000000, 4000001, [("big-project", 3000000)])
    contains(h.ssh("large", "id -G").out.split(), "3000000", "groups")


@test
def ids_at_the_edges_of_the_map(h):
    for uid in (1000, 59999, 65533, 65535, 65536, 2147483000, 4000000000, 4294967294):
        user_with_ids(h, f"edge{uid}", uid, uid)


@test
def ids_inside_the_range_that_blocks_are_taken_from(h):
    user_with_ids(h, "ranged", 524288, 524288)
    user_with_ids(h, "ranger", 600000, 600001)


@test
def a_primary_group_that_others_share(h):
    user_with_ids(h, "staffer", 1101, 1600)


@test
def a_user_in_250_groups(h):
    h.add_user("busy", 1102, groups=["nsbox"] + [(f"g{n}", 5000 + n) for n in range(250)])
    out = h.ssh("busy", f"id -G; {LOOK}").check().out
    eq(set(map(int, out.splitlines()[0].split())), {1102, 1500} | {5000 + n for n in range(250)}, "groups")
    in_box(out)


@test
def a_user_in_250_scattered_groups_above_65535(h):
    wanted = {100000 + 7 * n for n in range(250)}
    h.add_user("busier", 1103, groups=["nsbox"] + [(f"h{n}", n) for n in sorted(wanted)])
    mark = h.log_mark()
    out = h.ssh("busier", f"id -G; id -gn; {LOOK}").check().out
    got = set(map(int, out.splitlines()[0].split()))
    eq(out.splitlines()[1], "busier", "primary group")
    assert got <= wanted | {1103, 1500}, f"groups that the user is not in: {got - wanted}"
    assert len(got) >= 100, f"only {len(got)} groups"
    if wanted - got:
        h.wait_for_log(r"nsbox.*group", since=mark)
    in_box(out)


@test
def idmap_keep_maps_the_user_and_ordinary_groups_to_themselves(h):
    h.policy(policy(defaults="idmap = keep\n"))
    s = h.session("alice")
    p = observe.Process(s.pid)
    eq((p.uids, p.gids), ([1001] * 4, [1001] * 4), "ids on the host")
    eq(to_host(s.pid, 1600, "gid"), 1600, "host gid of students")
    for which, low in (("uid", 0), ("gid", 5), ("gid", 6), ("gid", 999)):
        assert to_host(s.pid, low, which) >= 524288, f"{which} {low} is mapped to itself"
    assert not {6, 999} & set(p.groups), f"host groups: {p.groups}"
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))
    h.ssh("alice", "echo kept > kept").check()
    eq(os.stat("/home/alice/kept").st_uid, 1001, "owner on the disk")


def home_on_ramfs(h, name, uid):
    """ramfs, unlike tmpfs, refuses idmapped mounts: a stand-in for NFS."""
    os.makedirs(f"/home/{name}")
    h.run(["mount", "-t", "ramfs", "none", f"/home/{name}"]).check()
    h.idle()
    h.add_user(name, uid, groups=["nsbox"], make_home=False)
    os.chmod(f"/home/{name}", 0o700)
    os.chown(f"/home/{name}", uid, uid)
    h._authorize(f"/home/{name}", uid, uid)


@test
def idmap_auto_keeps_where_the_home_cannot_be_idmapped(h):
    home_on_ramfs(h, "remote", 1104)
    s = h.session("remote")
    eq(observe.Process(s.pid).uids, [1104] * 4, "ids on the host")
    h.ssh("remote", "touch made").check()
    eq(os.stat("/home/remote/made").st_uid, 1104, "owner on the disk")
    all_differ(observe.nsinos(s.pid), observe.nsinos("self"))


@test
def idmap_shift_refuses_a_home_that_cannot_be_idmapped(h):
    h.policy(policy(defaults="idmap = shift\n"))
    mark = h.log_mark()
    eq(h.ssh("remote", "echo in").code, 254, "exit code")
    h.wait_for_log(r"nsbox.*/home/remote", since=mark)


@test
def idmap_auto_does_not_keep_with_the_hosts_network(h):
    h.policy(policy(defaults="net = host\n"))
    r = h.ssh("remote", "touch came-in")
    eq(r.code, 254, "exit code")
    assert not os.path.exists("/home/remote/came-in"), "the command ran"


@test
def id_range_says_where_blocks_come_from(h):
    h.policy(policy(defaults="id_range = 700000000-700200000\n"))
    base, size = block(h.session("alice").pid)
    assert 700000000 <= base and base + size <= 700200001, (base, size)


main(setup, before_each=restore)
