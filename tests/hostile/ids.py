#!/usr/bin/python3 -B
"""The two id maps: nothing that box root does in a home or a shared place acts on the host, and no setuid
file of the host acts inside."""

import os
import re
import shutil

from common import DISK, STUDENTS, as_root, both, compile_probe, give_probe, prepare, restore
from observe import read
from tap import eq, main, test

HOME = "/home/alice"


def clean(h):
    for name in os.listdir(HOME):
        if name.startswith("x-"):
            path = f"{HOME}/{name}"
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def on_disk(h):
    """What box root left in the home: setuid or setgid files, capabilities, files that are not alice's."""
    found = h.run(["find", HOME, "(", "-perm", "/6000", "-type", "f", "-o", "!", "-user", "alice", ")"]).out.split()
    return found + h.run(["getcap", "-r", HOME]).out.split("\n")[:-1]


def by_accomplice(h, path):
    """The file run by mallory, who is not boxed: (euid, egid, could read /etc/shadow)."""
    os.chmod(HOME, 0o755)
    r = h.run(["setpriv", "--reuid", "1003", "--regid", "1003", "--clear-groups", path, "/etc/shadow"])
    found = re.search(r"euid=(\d+) egid=(\d+)\n.*: (\w+)", r.out)
    return (int(found[1]), int(found[2]), found[3] == "READ") if found else None


def box_root_does(h, command):
    """box root runs this in alice's home, where `probe` is a program of alice's."""
    clean(h)
    path = give_probe(h, "alice", "whoami")
    s = h.session("alice")
    r = as_root(h, s.pid, f"cd {HOME} && probe={path}; {command}")
    s.close()
    return r


# ------------------------------------------------------------ what box root makes

@test
def a_setuid_copy_of_box_roots_does_not_act_outside(h):
    def attack(h):
        box_root_does(h, "cp $probe x-su; chown 0:0 x-su; chmod 6755 x-su; ls -ln x-su")
        return os.path.exists(f"{HOME}/x-su") and by_accomplice(h, f"{HOME}/x-su") == (0, 0, True)
    both(h, "datamap", attack)
    eq(on_disk(h), [], "what is left in the home")


@test
def a_setgid_copy_with_a_group_of_the_host_does_not_act_outside(h):
    def attack(h):
        box_root_does(h, f"cp $probe x-disk; chown 0:{DISK} x-disk; chmod 2755 x-disk")
        return os.path.exists(f"{HOME}/x-disk") and by_accomplice(h, f"{HOME}/x-disk")[1] == DISK
    both(h, "datamap", attack)
    eq(on_disk(h), [], "what is left in the home")


@test
def capabilities_of_a_file_do_not_act_outside(h):
    def attack(h):
        box_root_does(h, "cp $probe x-caps; chown 0:0 x-caps; setcap cap_dac_override,cap_setuid+ep x-caps")
        return os.path.exists(f"{HOME}/x-caps") and any("cap_" in line for line in on_disk(h))
    both(h, "datamap", attack)
    eq(on_disk(h), [], "what is left in the home")


@test
def box_root_gives_no_file_of_the_users_away(h):
    def attack(h):
        h.home_file("alice", "mine", "x")
        box_root_does(h, "chown 0:0 mine || chown 1002 mine || chgrp 4 mine")
        st = os.stat(f"{HOME}/mine")
        return (st.st_uid, st.st_gid) != (1001, 1001)
    both(h, "datamap", attack)


@test
def box_root_makes_no_file_that_is_not_the_users(h):
    def attack(h):
        box_root_does(h, "touch x-file; mkdir x-dir; ln -s target x-link; mkfifo x-fifo")
        found = [n for n in os.listdir(HOME) if n.startswith("x-")]
        return [n for n in found if os.lstat(f"{HOME}/{n}").st_uid != 1001]
    both(h, "datamap", attack)
    eq([n for n in os.listdir(HOME) if n.startswith("x-")], [], "files of box root's")


@test
def box_root_sets_no_capabilities_on_a_file_of_the_users(h):
    box_root_does(h, "setcap cap_dac_override,cap_setuid+ep $probe")
    eq(h.run(["getcap", "-r", HOME]).out, "", "file capabilities in the home")
    for name in os.listdir(HOME):
        eq([x for x in os.listxattr(f"{HOME}/{name}", follow_symlinks=False) if x.startswith("security.")], [],
           f"security attributes of {name}")


# ------------------------------------------------------------ what others own

def shared_place(h):
    """A directory for the group students, with a private and a shared file of bob's."""
    place = f"{HOME}/x-shared"
    os.mkdir(place)
    os.chown(place, 0, STUDENTS)
    os.chmod(place, 0o2775)
    for name, mode in (("private", 0o600), ("common", 0o660)):
        h.write(f"{place}/{name}", f"{name}-of-bob\n", mode)
        os.chown(f"{place}/{name}", 1002, STUDENTS)
    return place


@test
def box_root_cannot_touch_another_users_files_in_a_shared_place(h):
    def attack(h):
        clean(h)
        place = shared_place(h)
        s = h.session("alice")
        r = as_root(h, s.pid, f"cat {place}/private; chmod 777 {place}/private; "
                              f"cp /bin/true {place}/x; cat {place}/x > {place}/private; chmod 4755 {place}/private")
        s.close()
        st = os.stat(f"{place}/private")
        return "private-of-bob" in r.out or st.st_mode & 0o7777 != 0o600 or read(f"{place}/private") != "private-of-bob\n"
    both(h, "datamap", attack)
    clean(h)


@test
def the_user_works_in_a_shared_place_as_outside(h):
    clean(h)
    place = shared_place(h)
    h.ssh("alice", f"cd {place} && echo alice >> common && echo new > made && ! cat private").check()
    eq(read(f"{place}/common"), "common-of-bob\nalice\n", "the shared file")
    st = os.stat(f"{place}/made")
    eq((st.st_uid, st.st_gid), (1001, STUDENTS), "owner of a file made there")
    clean(h)


@test
def a_boxed_user_makes_no_file_that_acts_with_a_system_group_of_the_host(h):
    """alice is in the host's group disk. The box must not lend her that for an accomplice outside."""
    clean(h)
    path = give_probe(h, "alice", "whoami")
    r = h.ssh("alice", f"cp {path} x-disk; chgrp {DISK} x-disk; chmod 2755 x-disk; ls -ln x-disk")
    got = by_accomplice(h, f"{HOME}/x-disk")
    assert got is None or got[1] in (1001, 1003), f"a program made inside acts outside with gid {got[1]}: {r.out}"


# ------------------------------------------------------------ what the host has

def sudo_acts(h):
    """sudo of the host, run by alice: did its setuid bit make it root, at least of the box? It says so itself."""
    r = h.ssh("alice", "sudo -n true")
    assert r.code and "sudo: " in r.err, f"sudo should complain: {r}"
    return "effective uid is not 0" not in r.err


@test
def a_setuid_program_of_the_hosts_usr_does_not_act_inside(h):
    both(h, "nosuid", sudo_acts)


@test
def a_setuid_file_of_the_hosts_in_the_home_does_not_act_inside(h):
    def attack(h):
        clean(h)
        path = shutil.copy(compile_probe("whoami"), f"{HOME}/x-setuid")
        os.chmod(path, 0o4755)   # root's
        return "euid=0 " in h.ssh("alice", path).check().out
    both(h, ("datamap", "nosuid"), attack)
    clean(h)


main(prepare("datamap", "nosuid", ("datamap", "nosuid")), before_each=restore)
