#!/usr/bin/python3 -B
"""The throwaway host itself: it is separate, it is quick, and it leaves nothing behind."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from observe import NAMESPACES, cgroups_of, mounts, nsinos, wait_until, with_environment
from tap import contains, eq, lacks, main, test
import throwaway

HOST = os.path.join(throwaway.REPO, "tests/lib/host.py")


class Run:
    """host.py with a shell command in it, marked so that its processes can be found."""

    def __init__(self, command, *options, **env):
        self.cookie = "NSBOX_RUN=" + secrets.token_hex(8)
        self.p = subprocess.Popen([HOST, *options, "--", "sh", "-c", command], text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, start_new_session=True,
                                  env={**os.environ, **env, "NSBOX_RUN": self.cookie.split("=")[1]})
        self.before = mounts()

    def finish(self, timeout=20):
        out = self.p.communicate(timeout=timeout)[0]
        return self.p.returncode, out

    def started(self):
        eq(self.p.stdout.readline(), "started\n", "first line")
        return self

    def pids(self):
        return with_environment(self.cookie)

    def cgroups(self):
        return [g.dir for g in throwaway.hierarchies() for d in os.listdir(g.parent)
                if d == f"nsbox-test-{self.p.pid}"]

    def left_nothing(self):
        wait_until(lambda: not self.pids(), 5, "no process of the run is left")
        eq(self.cgroups(), [], "cgroups")
        eq(mounts(), self.before, "the machine's mounts")


def output(command, *options, **env):
    run = Run(command, *options, **env)
    code, out = run.finish()
    assert code == 0, f"exit {code}: {out}"
    run.left_nothing()
    return out


@test
def a_host_is_made_and_removed_within_a_second(_):
    start = time.monotonic()
    output("true", "--user", "alice", "--sshd")
    took = time.monotonic() - start
    assert took < 1.0, f"{took:.2f} s"


@test
def every_namespace_but_the_user_namespace_is_its_own(_):
    out = output("stat -L -c '%i' " + " ".join(f"/proc/self/ns/{n}" for n in NAMESPACES))
    inside = dict(zip(NAMESPACES, map(int, out.split())))
    ours = nsinos("self")
    eq(inside["user"], ours["user"], "user namespace")
    for name in NAMESPACES[1:]:
        assert inside[name] != ours[name], f"the {name} namespace is the machine's"


@test
def what_is_written_inside_is_not_on_the_machine(_):
    places = ["/etc", "/home", "/root", "/run", "/srv", "/tmp", "/usr/local/bin", "/var/lib", "/var/log",
              "/var/tmp", "/dev", "/dev/shm"]
    name = "nsbox-" + secrets.token_hex(8)
    output("touch " + " ".join(f"{p}/{name}" for p in places))
    eq([p for p in places if os.path.exists(f"{p}/{name}")], [], "places that reach the machine")


@test
def users_keys_and_passwords_of_the_machine_are_not_inside(_):
    for line in output("cat /etc/passwd").splitlines():
        name, _, uid = line.split(":")[:3]
        assert int(uid) < 1000 or name == "nobody", line
    for line in output("cat /etc/shadow").splitlines():
        name, password = line.split(":")[:2]
        assert name == "root" or not password.startswith("$"), line
    with open("/etc/ssh/ssh_host_ed25519_key.pub") as f:
        ours = f.read().split()[1]
    lacks(output("cat /etc/ssh/*.pub; ls -A /home"), ours, "host keys")


@test
def cgroups_inside_begin_at_their_own_root_and_can_be_limited(_):
    out = output("cat /proc/self/cgroup; mkdir -p /sys/fs/cgroup/pids/nsbox/x;"
                 "echo 7 > /sys/fs/cgroup/pids/nsbox/x/pids.max; cat /sys/fs/cgroup/pids/nsbox/x/pids.max")
    for line in out.splitlines()[:-1]:
        eq(line.split(":")[2], "/", line)
    eq(out.splitlines()[-1], "7", "pids.max")
    assert not os.path.exists("/sys/fs/cgroup/pids/nsbox"), "the machine's pids hierarchy was used"


@test
def the_log_has_what_programs_say(_):
    contains(output("logger -t someone hello there; sleep 0.1; cat /var/log/syslog.test"), "someone: hello there")


@test
def two_hosts_at_once_do_not_meet(_):
    runs = [Run("mkdir -p /run/nsbox && mkdir /sys/fs/cgroup/pids/nsbox && echo started && sleep 0.3", "--sshd")
            for _ in range(2)]
    for run in runs:
        code, out = run.finish()
        assert code == 0, out
        run.left_nothing()


@test
def the_exit_code_comes_out(_):
    eq(Run("exit 7").finish()[0], 7, "exit code")
    eq(Run("kill -9 $PPID").finish()[0], 137, "of a test program killed with SIGKILL")


@test
def background_programs_die_at_the_end(_):
    run = Run("setsid sleep 1000 & setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000' & echo started")
    run.finish()
    run.left_nothing()


@test
def an_interrupt_from_the_terminal_ends_it_cleanly(_):
    run = Run("echo started; sleep 1000").started()
    os.killpg(run.p.pid, signal.SIGINT)
    assert run.finish()[0] != 0
    run.left_nothing()


@test
def an_interrupt_that_the_test_program_ignores_ends_it_too(_):
    run = Run("trap '' INT; echo started; while :; do sleep 1; done").started()
    os.killpg(run.p.pid, signal.SIGINT)
    assert run.finish()[0] != 0
    run.left_nothing()


@test
def sigterm_ends_it_cleanly(_):
    run = Run("trap '' TERM; echo started; sleep 1000").started()
    run.p.terminate()
    assert run.finish()[0] != 0
    run.left_nothing()


@test
def sigkill_ends_it_and_the_next_run_removes_its_cgroups(_):
    run = Run("echo started; sleep 1000").started()
    assert any(f"nsbox-test-{run.p.pid}" in str(cgroups_of(pid)) for pid in run.pids())
    run.p.kill()
    run.finish()
    wait_until(lambda: not run.pids(), 5, "no process of the run is left")
    output("true")
    eq(run.cgroups(), [], "cgroups of the killed run")


@test
def a_loop_ext4_serves_where_tmpfs_cannot_be_idmapped(_):
    out = output("stat -f -c %T /home /etc /usr/local; su - alice -c 'pwd; touch x'; ls /home/alice",
                 "--user", "alice", NSBOX_TEST_FS="ext4")
    eq(out.split()[:3], ["ext2/ext3"] * 3, "filesystems")
    contains(out, "/home/alice\nx", "output")
    with open("/proc/partitions") as f:
        used = re.findall(r"loop\d+", f.read())
    backing = [open(f"/sys/block/{n}/loop/backing_file").read() for n in used
               if os.path.exists(f"/sys/block/{n}/loop/backing_file")]
    eq([b for b in backing if "disk" in b], [], "loop devices")


@test
def the_machine_keeps_its_hostname_and_subtree_control(_):
    eq(os.uname().nodename != throwaway.HOSTNAME, True, "hostname differs")
    output("hostname other; true")
    assert os.uname().nodename not in ("other", throwaway.HOSTNAME)


main(with_host=False)
