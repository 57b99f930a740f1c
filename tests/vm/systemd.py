#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""nsbox on a Debian under systemd; runs inside the machine of tests/vm/bookworm.py and trixie.py.

The package has been installed as an administrator does it; sshd, logind, cron, atd, auditd and the
agettys are the machine's own units.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import termios
import time
import tty

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import host
import observe
import tap
import throwaway
from observe import cgroups_of, read, wait_until
from suite import test_on
from tap import contains, eq, lacks, test
from term import Terminal

UNIT = "/nsbox.slice/nsbox.service"
BASE = "/sys/fs/cgroup" + UNIT
SERVICES = ("sshd", "su", "sudo", "sudo-i", "login", "runuser", "cron", "atd")
POLICY = """\
[defaults]
linger = 0
[group nsbox]
action = box
[user bob]
pids_max = 20
memory_max = 256M
cpu_weight = 250
"""
LOOK = "ls -l /proc/self/ns"
USERNS = "readlink /proc/self/ns/user"
PROMPT = r"[$#] \Z"
OVERRIDE = "/run/systemd/system/user@.service.d/nsbox.conf"
# An emulated processor, two of them: nothing is quick.
PATIENCE = 60


class Machine(host.Host):
    """The machine takes the place of the throwaway host: it is thrown away anyhow."""

    def sshd(self):
        config = "".join(f"{name} {value}\n" for name, value in host.SSHD_OPTIONS.items()
                         if name not in ("PidFile", "Subsystem"))
        # bookworm's sshd does not know it, and trixie's keeps us out after some storms without it.
        if self.run(["sshd", "-T", "-o", "PerSourcePenalties=no"]).code == 0:
            config += "PerSourcePenalties no\n"
        self.write("/etc/ssh/sshd_config.d/test.conf", config)
        self.run(["systemctl", "restart", "ssh"], timeout=PATIENCE).check()

    def ssh(self, user, *command, timeout=PATIENCE, **how):
        return super().ssh(user, *command, timeout=timeout, **how)

    def session(self, user, timeout=PATIENCE, **how):
        return super().session(user, timeout=timeout, **how)

    def run(self, argv, timeout=PATIENCE, **how):
        return super().run(argv, timeout=timeout, **how)

    def hold(self, argv_for):
        """An emulated processor with something else to do may need longer than a login waits."""
        for last in (False, False, True):
            try:
                return host.Session(self, argv_for, timeout=PATIENCE).ready()
            except AssertionError as error:
                if last or "did not answer in" not in str(error):
                    raise
                tap.diagnose("once more: " + str(error).splitlines()[-1])
        return None

    def wait_gone(self, timeout=20):
        def left():
            return observe.boxed() + observe.keepers() + observe.box_cgroups()
        try:
            wait_until(lambda: not left(), timeout, "")
        except observe.TimedOut:
            raise AssertionError(f"after {timeout} s still there: {left()}") from None


def boot_here(keep=()):
    """In the place of throwaway.boot()."""
    out = open(throwaway.SYSLOG, "wb")
    subprocess.Popen(["journalctl", "-f", "-n", "0", "-o", "short"], stdout=out, stdin=subprocess.DEVNULL)
    os.chdir("/")
    shutil.rmtree("/root/.ssh", ignore_errors=True)
    for name in os.listdir("/etc/ssh"):
        if name.startswith("ssh_host_"):
            os.unlink("/etc/ssh/" + name)


def holders():
    """Keepers are what observe says, without the one of the service."""
    return [p for p in _keepers() if "--hold" not in p.cmdline]


_keepers, observe.keepers = observe.keepers, holders


class Wire(Terminal):
    """A terminal at the other end of a serial line, which is there already and stays."""

    def __init__(self, device):
        self.argv, self.pid, self.code = [device], 0, 0
        self.output = self.before = ""
        self.match, self._from = None, 0
        self.fd = os.open(device, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        termios.tcflush(self.fd, termios.TCIOFLUSH)


class Screen(Terminal):
    """A virtual console: types with TIOCSTI, reads the screen."""

    def __init__(self, number):
        self.argv, self.pid, self.code = [f"tty{number}"], 0, 0
        self.screen = f"/dev/vcs{number}"
        self.output = self.before = ""
        self.match, self._from = None, 0
        self.fd = -1

    def expect(self, pattern, timeout=PATIENCE):
        def found():
            text = read(self.screen)
            self.output = "\n".join(text[i:i + 80].rstrip() for i in range(0, len(text), 80)).rstrip() + " "
            self.match = re.search(pattern, self.output, re.M)
            return self.match
        try:
            return wait_until(found, timeout, "")
        except observe.TimedOut:
            raise AssertionError(self._say(f"no {pattern!r} within {timeout} s")) from None

    def send(self, text):
        # Opened anew each time: agetty and login hang it up.
        fd = os.open("/dev/" + self.argv[0], os.O_RDWR | os.O_NOCTTY)
        for letter in text.encode():
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([letter]))
        os.close(fd)


def setup(h):
    h.add_group("nsbox", 1500)
    h.add_user("alice", 1001, groups=["nsbox"], password="alice-secret")
    h.add_user("bob", 1002, groups=["nsbox"], password="bob-secret")
    h.add_user("carol", 1003, groups=["sudo"], password="carol-secret")
    h.write("/etc/sudoers.d/test", "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    config = read("/root/.ssh/config").replace("ConnectTimeout 10", "ConnectTimeout 60")
    h.write("/root/.ssh/config", config + " KexAlgorithms curve25519-sha256\n", 0o600)
    h.policy(POLICY)
    # As nsbox enable says: systemd's own file of this service is in /usr/lib/pam.d.
    shutil.copy("/usr/lib/pam.d/systemd-user", "/etc/pam.d/systemd-user")
    for service in SERVICES:
        h.run(["nsbox", "enable", service]).check()
    h.run(["nsbox", "enable", "--deny", "systemd-user"]).check()
    h.sshd()


def box_of(pid):
    """The box's directory, from where the kernel says the process is."""
    path = cgroups_of(pid)[""]
    found = re.match(UNIT + r"/([^/]+)/(main|rescue)$", path)
    if not found:
        raise AssertionError(f"process {pid} is in {path}, not in a box's cgroup")
    return os.path.join(BASE, found[1])


def number(path):
    return int(read(path).strip())


def limits(box):
    return {name: read(f"{box}/{name}").strip() for name in
            ("pids.max", "main/pids.max", "memory.max", "cpu.weight", "cgroup.subtree_control")}


def as_user(name):
    """The cheapest login: an emulated sshd takes seconds."""
    return lambda command: ["su", name, "-c", command]


as_alice = as_user("alice")


def show(h, unit, *properties):
    return dict(line.split("=", 1) for line in h.run(
        ["systemctl", "show", "-p", ",".join(properties), unit]).check().out.splitlines())


# ------------------------------------------------------------ the unit and the cgroups

@test
def the_package_has_started_the_service_and_it_holds_the_base(h):
    eq(h.run("systemctl is-active nsbox.service").out, "active\n")
    eq(h.run("systemctl is-enabled nsbox.service").out, "enabled\n")
    eq(read("/run/nsbox/base"), f"/sys/fs/cgroup {BASE}\n")
    eq(show(h, "nsbox.service", "Delegate")["Delegate"], "yes")


@test
def doctor_finds_no_error_on_this_machine(h):
    found = json.loads(h.run("nsbox doctor --json").out)["findings"]
    eq([f for f in found if f["severity"] == "error"], [], "errors")
    for check in ("around.manager", "around.condition"):
        contains([f["check"] for f in found if f["severity"] == "ok"], check, "what is well")


@test
def who_is_not_boxed_logs_in_as_before(h):
    out = h.ssh("carol", f"{USERNS}; cat /proc/self/cgroup").check().out
    contains(out, f"user:[{h.nsinos()['user']}]")
    contains(out, "user-1003.slice")
    eq(show(h, "user@1003.service", "ActiveState")["ActiveState"], "active", "the user's manager")


@test
def a_box_is_below_the_unit_with_its_caller_and_its_keeper_and_systemd_s_tools_say_whose_it_is(h):
    s = h.session("alice")
    box = box_of(s.pid)
    eq(box_of(s.caller.pid), box, "the caller's box")
    eq(cgroups_of(observe.keepers()[0].pid)[""], UNIT + "/keepers", "the keeper's cgroup")
    eq([box_of(p.pid) for p in observe.inits()], [box], "init's box")
    box = os.path.basename(box)
    for command in (["systemd-cgls", "--no-pager", "-l", "-u", "nsbox.service"],
                    ["systemctl", "status", "--no-pager", "-l", "-n", "0", "nsbox.service"]):
        out = h.run(command).check().out
        assert re.search(rf"─{box}\b", out), out
        assert re.search(rf"nsbox-keeper: alice {box}\"?$", out, re.M), out


@test(timeout=180)
def limits_survive_daemon_reload_and_set_property(h):
    box = box_of(h.hold(as_user("bob")).pid)
    before = limits(box)
    eq({k: before[k] for k in ("main/pids.max", "memory.max", "cpu.weight")},
       {"main/pids.max": "20", "memory.max": str(256 << 20), "cpu.weight": "250"}, "limits")
    h.run("systemctl daemon-reload").check()
    h.run("systemctl set-property --runtime nsbox.service CPUWeight=50 MemoryMax=1G").check()
    try:
        eq(read(BASE + "/cpu.weight"), "50\n", "the unit's weight")
        eq(limits(box), before, "limits")
        h.run(as_user("bob")("true")).check()       # a login after it
        eq(limits(box_of(h.hold(as_alice).pid))["main/pids.max"], "512", "of a new box")
    finally:
        h.run("systemctl revert nsbox.service").check()


# ------------------------------------------------------------ logind

def sessions_of(h, user):
    """logind's names of the user's sessions; those of a user manager aside."""
    lines = [line.split() for line in h.run("loginctl list-sessions --no-legend").check().out.splitlines()]
    return [line[0] for line in lines if line[2] == user and "manager" not in line]


def session_of(h, user):
    return wait_until(lambda: sessions_of(h, user), PATIENCE, f"logind has a session of {user}")[0]


def show_session(h, name, *properties):
    argv = ["loginctl", "show-session", name] + [word for p in properties for word in ("-p", p)]
    return dict(line.split("=", 1) for line in h.run(argv).check().out.splitlines())


def ended(session):
    wait_until(lambda: session.popen.poll() is not None, PATIENCE, "the session has ended")


@test(timeout=120)
def logind_shows_a_boxed_ssh_session_as_any_other(h):
    s = h.session("alice")
    eq(show_session(h, session_of(h, "alice"), "State", "Remote", "RemoteHost", "Leader", "Class"),
       {"State": "active", "Remote": "yes", "RemoteHost": "127.0.0.1", "Leader": str(s.caller.pid),
        "Class": "user"})
    s.close(PATIENCE)
    wait_until(lambda: not sessions_of(h, "alice"), PATIENCE, "the session is over")


@test(timeout=120)
def terminate_session_ends_that_session_alone(h):
    one = h.hold(as_alice)
    name = session_of(h, "alice")
    other = h.hold(as_alice)
    h.run(["loginctl", "terminate-session", name]).check()
    ended(one)
    eq(other.popen.poll(), None, "the other session")
    eq(len(observe.inits()), 1, "boxes")


@test(timeout=120)
def terminate_user_ends_the_box(h):
    sessions = [h.hold(as_alice) for _ in range(2)]
    h.run("loginctl terminate-user alice").check()
    for s in sessions:
        ended(s)
    h.wait_gone()
    wait_until(lambda: not sessions_of(h, "alice"), PATIENCE, "logind has no session")


@test(timeout=120)
def userdel_ends_the_box(h):
    h.add_user("eve", 1777, groups=["nsbox"])
    s = h.hold(as_user("eve"))
    h.run(["userdel", "--force", "eve"])
    ended(s)
    h.wait_gone()


# ------------------------------------------------------------ records of logins

# "alice  sshd:1234  127.0.0.1  Sun Nov 22 11:09 - 11:10 (00:00)"; the first is the newest.
LAST = r"^%s +%s +%s .*%s *$"
OPEN, CLOSED = "still logged in|gone - no logout", r"\(00:\d\d\)"


def last(h):
    return h.run("last").check().out


def shows(h, user, line, rhost, state):
    wait_until(lambda: re.search(LAST % (user, line, rhost, f"(?:{state})"), last(h), re.M), PATIENCE,
               f"last shows {user} on {line} from {rhost}, {state}, in {last(h)}")


@test(timeout=180)
def who_and_last_show_a_boxed_ssh_session_from_its_begin_to_its_end(h):
    s = h.session("alice")
    line = f"sshd:{s.caller.pid}"
    wait_until(lambda: re.search(r"^alice .*\b127\.0\.0\.1", h.run("who").out, re.M), PATIENCE, "who shows it")
    shows(h, "alice", line, r"127\.0\.0\.1", OPEN)
    s.close(PATIENCE)
    shows(h, "alice", line, r"127\.0\.0\.1", CLOSED)
    wait_until(lambda: "alice" not in h.run("who").out, PATIENCE, "who does not show it any more")
    eq(last(h).count(line), 1, "lines about it")
    lastlog = ["lastlog2"] if shutil.which("lastlog2") else ["lastlog"]
    contains(h.run([*lastlog, "-u", "alice"]).check().out, "127.0.0.1", "the last login")


@test_on("trixie", timeout=180)
def what_pam_wtmpdb_has_begun_is_ended_and_not_said_twice(h):
    # The leader of a session on a terminal is a login for nsbox as well, the other is not.
    for user, argv in (("alice", ["su", "alice"]), ("bob", ["sh", "-c", "su bob; exit $?"])):
        t = h.pty(argv)
        t.expect(PROMPT, PATIENCE)
        tty = os.ptsname(t.fd).removeprefix("/dev/")
        shows(h, user, tty, "", OPEN)
        t.line("exit")
        eq(t.drain(PATIENCE), 0, "exit code")
        shows(h, user, tty, "", CLOSED)
        eq(len(re.findall(rf"^{user} +{tty} ", last(h), re.M)), 1, "lines about it")


@test_on("trixie", timeout=180)
def what_a_killed_keeper_left_in_the_database_the_next_login_ends(h):
    s = h.session("alice")
    line = f"sshd:{s.caller.pid}"
    shows(h, "alice", line, r"127\.0\.0\.1", OPEN)
    os.kill(observe.keepers()[0].pid, 9)
    ended(s)
    shows(h, "alice", line, r"127\.0\.0\.1", OPEN)
    h.run(as_alice("true")).check()
    shows(h, "alice", line, r"127\.0\.0\.1", CLOSED)


# ------------------------------------------------------------ the user manager and the runtime directory

@test(timeout=120)
def the_runtime_directory_is_there_without_the_host_s_sockets(h):
    r = h.ssh("alice", "echo $XDG_RUNTIME_DIR; stat -c '%u %a' $XDG_RUNTIME_DIR; ls -A $XDG_RUNTIME_DIR; "
              "echo ${DBUS_SESSION_BUS_ADDRESS-no bus}; ls /run/dbus /run/systemd")
    eq(r.out.split(), ["/run/user/1001", "1001", "700", "no", "bus"], "what is in it, and of the host's sockets")


def manager(h):
    return show(h, "user@1001.service", "ActiveState", "Result")


@test(timeout=120)
def no_user_manager_runs_for_a_boxed_user_and_no_unit_has_failed(h):
    h.wait_gone()
    h.run("systemctl reset-failed").check()     # carol's manager, killed between tests
    mark = h.log_mark()
    h.run("systemctl start user@1001.service")      # as a first login does
    eq(manager(h), {"ActiveState": "inactive", "Result": "exec-condition"}, "user@1001.service")
    h.wait_for_log("no systemd manager outside the box for alice: .*systemd-user is in deny_services", 10, since=mark)
    h.hold(as_alice)
    eq([p for p in observe.processes() if p.uids[0] == 1001 and not p.boxed], [], "processes outside the box")
    eq(h.run("systemctl --failed --plain --no-legend").out, "", "failed units")
    eq(h.run("systemctl is-system-running").out, "running\n")


@test(timeout=180)
def without_the_drop_in_pam_nsbox_refuses_the_user_manager_until_doctors_line_is_run(h):
    h.wait_gone()
    h.write(OVERRIDE, "")
    h.run("systemctl daemon-reload").check()
    mark = h.log_mark()
    try:
        h.run("systemctl start user@1001.service")
        eq(manager(h)["ActiveState"], "failed", "user@1001.service")
        h.wait_for_log("no box for alice: .*systemd-user", 10, since=mark)
        h.run(as_alice("true")).check()
        fix, = [f["fix"] for f in json.loads(h.run("nsbox doctor --json").out)["findings"]
                if (f["check"], f["severity"]) == ("around.condition", "warning")]
        h.run(["sh", "-c", fix]).check()
        h.run("systemctl reset-failed user@1001.service").check()
        h.wait_gone()
        mark = h.log_mark()
        h.run("systemctl start user@1001.service")
        # systemd may have forgotten the result already.
        h.wait_for_log("no systemd manager outside the box for alice: ", PATIENCE, since=mark)
        eq(manager(h)["ActiveState"], "inactive", "user@1001.service with doctor's line")
    finally:
        os.unlink(OVERRIDE)
        shutil.rmtree("/etc/systemd/system/user@.service.d", ignore_errors=True)
        h.run("systemctl daemon-reload").check()
        h.run("systemctl reset-failed user@1001.service")


@test(timeout=120)
def a_later_login_waits_for_nothing_of_systemd_s_but_its_session(h):
    h.hold(as_alice)
    shared = ("user-runtime-dir@1001.service", "user-1001.slice")
    before = [show(h, unit, "ActiveState", "InvocationID") for unit in shared]
    eq([unit["ActiveState"] for unit in before], ["active", "active"], "runtime directory and slice")
    mark = h.log_mark()
    h.run(as_alice("true")).check()
    h.wait_for_log("Started session-.* of [uU]ser alice", PATIENCE, since=mark)
    lacks(h.log_since(mark), "Starting user@1001.service", "the log of the second login")
    eq(manager(h)["ActiveState"], "inactive", "user@1001.service")
    eq([show(h, unit, "ActiveState", "InvocationID") for unit in shared], before, "runtime directory and slice after it")
    h.run("loginctl terminate-user alice").check()
    for unit in shared:
        wait_until(lambda: show(h, unit, "ActiveState")["ActiveState"] == "inactive", PATIENCE, f"{unit} has gone with alice")


@test(timeout=120)
def a_user_manager_that_nothing_refuses_is_left_alone(h):
    os.rename("/etc/pam.d/systemd-user", "/etc/pam.d/systemd-user.away")
    try:
        h.hold(as_alice)
        h.run("systemctl restart user@1001.service").check()
        eq(show(h, "user@1001.service", "ActiveState")["ActiveState"], "active", "it, while there is a box")
    finally:
        os.rename("/etc/pam.d/systemd-user.away", "/etc/pam.d/systemd-user")
        h.run("systemctl stop user@1001.service")


@test(timeout=120)
def systemctl_user_inside_fails_with_a_sentence(h):
    r = h.run(as_alice("systemctl --user status; systemd-run --user --wait true"), timeout=30)
    eq(r.err.count("Failed to connect to"), 2, f"sentences in {r}")


# ------------------------------------------------------------ callers

def where(text):
    return re.search(r"user:\[(\d+)\]", text)[1]


def in_box(text):
    assert int(where(text)) != h_userns(), f"on the host: {text!r}"


def h_userns():
    return observe.HOST_USERNS


@test(timeout=120)
def ssh_on_a_terminal_while_auditd_runs(h):
    eq(h.run("systemctl is-active auditd").out, "active\n")
    contains(h.run("auditctl -s").check().out, "enabled 1")
    t = h.ssh("alice", f"tty; {USERNS}", tty=True).check().out
    contains(t, "/dev/pts/0")
    in_box(t)


@test(timeout=180)
def su_sudo_and_runuser(h):
    for argv in (["su", "-", "alice", "-c", USERNS], ["runuser", "-u", "alice", "--", "sh", "-c", USERNS],
                 ["runuser", "-l", "alice", "-c", USERNS], ["sudo", "-u", "alice", "sh", "-c", USERNS],
                 ["sudo", "-i", "-u", "alice", *USERNS.split()]):
        in_box(h.run(argv).check().out)


@test(timeout=180)
def su_and_sudo_on_a_terminal_of_their_own_and_on_ours(h):
    sudo = ["sudo", "-u", "alice", "sh", "-c"]
    for word, argv in (("use_pty", sudo), ("!use_pty", sudo), ("use_pty", ["su", "--pty", "alice", "-c"]),
                       ("use_pty", ["su", "alice", "-c"])):
        h.write("/etc/sudoers.d/pty", f"Defaults {word}\n", 0o440)
        t = h.pty([*argv, f"tty; {USERNS}"])
        eq(t.drain(PATIENCE), 0, f"exit code of {argv[:2]} with {word}")
        contains(t.output, "/dev/pts", f"terminal of {argv[:2]} with {word}")
        in_box(t.output)
    os.unlink("/etc/sudoers.d/pty")


@test(timeout=120)
def cron_and_at(h):
    # cron's @reboot jobs run when it starts and has not run any since the boot.
    h.write("/etc/cron.d/test", f"@reboot alice {USERNS} > cron.new && mv cron.new cron.out\n")
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/run/crond.reboot")
    h.run("systemctl restart cron").check()
    h.run("systemctl start atd").check()
    h.run(["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups", "at", "now"], cwd="/home/alice",
          input=f"{USERNS} > at.new && mv at.new at.out\n", env={"HOME": "/home/alice", "USER": "alice"}).check()
    for name in ("cron", "at"):
        wait_until(lambda: os.path.exists(f"/home/alice/{name}.out"), PATIENCE, f"the job of {name} has run")
        in_box(read(f"/home/alice/{name}.out"))
    os.unlink("/etc/cron.d/test")


def log_in(t, user="alice"):
    """At an agetty that has asked."""
    t.line(user)
    t.expect("Password: *\\Z", PATIENCE)
    t.line(user + "-secret")
    t.expect(PROMPT, PATIENCE)


def owner(path):
    st = os.stat(path)
    return st.st_uid, st.st_gid


@test(timeout=180)
def a_login_on_a_serial_console(h):
    t = Wire("/dev/ttyS3")
    try:
        h.run("systemctl restart serial-getty@ttyS2.service").check()
        t.send("\r")
        t.expect("login: *\\Z", PATIENCE)
        log_in(t)
        out = t.ask(f"tty; {USERNS}", PATIENCE)
        contains(out, "/dev/ttyS2")
        in_box(out)
        eq(observe.to_host(observe.inits()[0].pid, 1001), owner("/dev/ttyS2")[0], "owner of the terminal")
        eq(show_session(h, session_of(h, "alice"), "State", "TTY", "Remote"),
           {"State": "active", "TTY": "ttyS2", "Remote": "no"})
        t.line("exit")
        t.expect("login: *\\Z", PATIENCE)
        h.wait_gone()
        # The group is dialout, or systemd's tty once it has reset the line.
        eq(owner("/dev/ttyS2")[0], 0, "owner of the terminal after logout")
    finally:
        t.close()
        h.run("systemctl stop serial-getty@ttyS2.service")


@test(timeout=180)
def a_login_on_a_virtual_console(h):
    t = Screen(9)
    try:
        h.run("chvt 9").check()
        h.run("systemctl restart getty@tty9.service").check()
        t.expect(r"login: *\Z")
        before = owner("/dev/tty9")
        log_in(t)
        t.line(f"clear; tty; {USERNS}")
        t.expect(r"^/dev/tty9$")
        in_box(t.expect(r"^user:\[\d+\]$")[0])
        eq(show_session(h, session_of(h, "alice"), "State", "TTY", "VTNr"),
           {"State": "active", "TTY": "tty9", "VTNr": "9"})
        t.line("exit")
        t.expect(r"login: *\Z")
        h.wait_gone()
        eq(owner("/dev/tty9"), before, "owner of the terminal after logout")
    finally:
        t.close()
        h.run("systemctl stop getty@tty9.service")
        h.run("chvt 1")


@test(timeout=120)
def what_would_stay_in_the_host_s_pid_namespace_is_refused_with_its_reason(h):
    for argv in (["systemd-run", "--wait", "-q", "-p", "PAMName=su", "-p", "User=alice", "touch", "/home/alice/ran"],
                 ["machinectl", "shell", "-q", "alice@.host", "/usr/bin/touch", "/home/alice/ran"]):
        mark = h.log_mark()
        t = h.pty(argv)
        t.drain(PATIENCE)
        h.wait_for_log("no box for alice: .*(exec|fork)", 10, since=mark)
        assert not os.path.exists("/home/alice/ran"), f"{argv[0]} ran it"


@test(timeout=180)
def a_stack_with_the_usual_modules_required(h):
    h.write("/etc/security/limits.d/test.conf", "flo hard nofile 777\n")
    h.write("/etc/environment", "SITE=here\n")
    h.write("/etc/motd", "The message of the day.\n")
    h.add_user("flo", 1778, groups=["nsbox"], password="flo-secret", make_home=False)
    before = read("/etc/pam.d/login")
    h.write("/etc/pam.d/login", re.sub("^(session +)optional( +pam_(motd|loginuid))", r"\1required\2", before, flags=re.M)
            .replace("@include common-session", "session required pam_mkhomedir.so\n@include common-session"))
    for module in ("limits", "env", "motd", "mkhomedir", "loginuid"):
        assert re.search(rf"^session +required +pam_{module}\.so", read("/etc/pam.d/login"), re.M), module
    contains(read("/etc/nsswitch.conf"), "systemd")
    t = Wire("/dev/ttyS3")
    try:
        h.run("systemctl restart serial-getty@ttyS2.service").check()
        t.send("\r")
        t.expect("login: *\\Z", PATIENCE)
        log_in(t, "flo")
        contains(t.output, "The message of the day.")
        out = t.ask(f"pwd; echo $SITE; ulimit -Hn; {USERNS}", PATIENCE)
        eq(out.split()[:3], ["/home/flo", "here", "777"], "home, environment, limit")
        eq([read(f"/proc/{p.pid}/loginuid") for p in observe.boxed() if p.name == "bash"], ["1778"], "login uid")
        in_box(out)
        t.line("exit")
    finally:
        t.close()
        h.write("/etc/pam.d/login", before)
        h.run("systemctl stop serial-getty@ttyS2.service")


SSSD = """\
[sssd]
domains = elsewhere
[domain/elsewhere]
id_provider = proxy
proxy_lib_name = extrausers
proxy_pam_target = none
auth_provider = none
access_provider = permit
"""


def sockets_with(name):
    """The inodes of the sockets whose other end has such a name."""
    ends = [line.split() for line in subprocess.run(["ss", "-xanH"], capture_output=True, text=True).stdout.splitlines()]
    return {"socket:[%s]" % end[7] for end in ends if name in end[4]} - {"socket:[0]"}


def descriptors(pid):
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


@test_on("bookworm", timeout=180)
def a_user_whom_only_sssd_knows(h):
    contains(read("/etc/nsswitch.conf"), "sss")
    h.write("/var/lib/extrausers/passwd", "dora:x:1800:1800:Dora:/home/dora:/bin/bash\n")
    h.write("/var/lib/extrausers/group", "dora:x:1800:\nteam:x:1801:dora\n")
    h.write("/etc/sssd/sssd.conf", SSSD, 0o600)
    h.policy(POLICY + "[group team]\naction = box\n")
    shutil.copytree("/home/alice", "/home/dora")
    for where, _, files in os.walk("/home/dora"):
        for name in (".", *files):
            os.chown(os.path.join(where, name), 1800, 1800)
    h.run("systemctl start sssd").check()
    try:
        # The group first: of a user it knows already, sssd does not ask for groups again.
        wait_until(lambda: h.run("getent -s sss group team").code == 0, PATIENCE, "sssd answers")
        eq(h.run("getent -s files passwd dora").code, 2, "exit code of looking for her in /etc/passwd")
        s = h.session("dora")
        r = h.ssh("dora", "id; getent passwd dora | cut -d: -f1,3,4,6-; getent group team | cut -d: -f1,3-; "
                  f"echo $HOME $SHELL $PWD; {USERNS}; ls /var/lib/sss").out.splitlines()
        eq(r[:4], ["uid=1800(dora) gid=1800(dora) groups=1800(dora),1801(team)",
                   "dora:1800:1800:/home/dora:/bin/bash", "team:1801:dora",
                   "/home/dora /bin/bash /home/dora"], "what she is inside")
        eq(r[4:], [os.readlink(f"/proc/{s.pid}/ns/user")], "the second session's box, and its /var/lib/sss")
        ours = sockets_with("/var/lib/sss/")
        holders = [p for p in observe.boxed() if ours & descriptors(p.pid)]
        # sshd itself has what PAM's modules opened before the join; nobody in the box may look into it.
        contains([p.pid for p in holders], s.caller.pid, "who has a connection to sssd")
        eq({p.name for p in holders}, {"sshd"}, "who has a connection to sssd")
        for p in holders:
            for uid in (0, 1800):
                assert h.enter(s.pid, "sh", "-c", f"ls /proc/{p.nspid[-1]}/fd/", uid=uid).code, f"uid {uid} sees them"
    finally:
        h.settle()
        h.run("systemctl stop sssd")
        h.policy(POLICY)


# ------------------------------------------------------------ many, and the services' ends

def by_sshd(h, user):
    r = h.ssh(user, "true", timeout=300)
    return None if r.code == 0 else r


def by_little(h, user):
    """Nothing but the two modules, by a program that does nothing else: half the time."""
    r = h.run(["/payload/caller", "--", "/etc/pam.d", "quick", user], timeout=300, cwd="/")
    return None if re.search("^code 0$", r.out, re.M) else r


def again_if_slow(login, slow):
    """A login that waited longer than it may for a slow processor comes once more; @slow has who did."""
    def one(h, user):
        r = login(h, user)
        if r and "did not answer in" in r.out + r.err:
            slow.append(user)
            r = login(h, user)
        return r
    return one


def storm(h, **logins):
    """So many by each kind of login: a tenth one after the other, the others five at a time."""
    h.write("/etc/pam.d/quick", "auth required pam_permit.so\naccount required pam_permit.so\n"
            "session required pam_systemd.so\nsession required pam_nsbox.so\n")
    # An emulated sshd needs one and a half seconds of both processors; and more than five logins at a time may
    # wait longer for their keepers than a login waits.
    for kind, times in logins.items():
        slow, start = [], time.monotonic()
        login = again_if_slow({"little": by_little, "sshd": by_sshd}[kind], slow)
        failed = [login(h, "alice") for _ in range(times // 10)]
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            failed += pool.map(lambda user: login(h, user), ("alice", "bob") * (times * 9 // 20))
        tap.diagnose(f"{kind}: {times} in {time.monotonic() - start:.0f} s, {len(slow)} of them twice")
        eq([r for r in failed if r], [], "failed logins")
        assert len(slow) <= times // 10, f"{len(slow)} of {times} had to wait too long"
    h.wait_gone()
    wait_until(lambda: not sessions_of(h, "alice") and not sessions_of(h, "bob"), PATIENCE,
               "no session is left in logind, closing or not")


@test(timeout=500)
def a_storm_of_logins_meets_no_limit_and_leaves_no_session_closing(h):
    storm(h, little=60, sshd=40)


# A hundred logins more take an emulated machine two minutes or three: by its name only.
@test_on("bookworm", "trixie", when_asked=True, timeout=1000)
def two_hundred_logins_meet_no_limit_either(h):
    storm(h, little=160, sshd=40)


@test(timeout=180)
def a_restart_of_sshd_leaves_sessions_alone(h):
    s = h.session("alice")
    h.run("systemctl restart ssh").check()
    h.ssh("carol", "true").check()
    eq(s.popen.poll(), None, "the session")
    assert observe.Process(s.pid).boxed


@test(timeout=300)
def an_upgrade_under_load_breaks_no_session(h):
    users = [f"user{n}" for n in range(20)]
    for n, name in enumerate(users):
        h.add_user(name, 3000 + n, groups=["nsbox"], key=False)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        held = list(pool.map(lambda name: h.hold(as_user(name)), users))
    old = {p.pid for p in observe.keepers()}
    eq(len(old), 20, "keepers")
    service = show(h, "nsbox.service", "MainPID")
    h.run(["dpkg", "-i", "/payload/newer.deb"], timeout=150).check()
    eq(show(h, "nsbox.service", "MainPID"), service, "the service's process")
    eq([p for p in held if p.popen.poll() is not None], [], "sessions that ended")
    eq({p.pid for p in observe.keepers()}, old, "keepers")
    for s in held:      # what runs in it is cat
        s.popen.stdin.write(b"alive\n")
        s.popen.stdin.flush()
        wait_until(lambda: b"alive" in (s.popen.stdout.read() or b""), PATIENCE, "the session answers")
    # The new module and an old keeper; the new module and a new one.
    h.hold(as_user(users[0]))
    eq({p.pid for p in observe.keepers()}, old, "keepers after a second session")
    h.hold(as_alice)
    new = [p.pid for p in observe.keepers() if p.pid not in old]
    eq([os.readlink(f"/proc/{pid}/exe") for pid in new], ["/usr/libexec/nsbox-keeper"], "the new box's keeper")
    contains(os.readlink(f"/proc/{min(old)}/exe"), "deleted", "an old box's keeper")
    eq(len(h.run("nsbox list").check().out.splitlines()), 22, "lines of nsbox list")


@test(timeout=180)
def stopping_the_service_ends_all_boxes_and_starting_it_makes_new_ones_possible(h):
    s = h.hold(as_alice)
    h.run("systemctl stop nsbox.service").check()
    ended(s)
    eq(observe.boxed(), [], "boxed processes")
    assert not os.path.exists("/run/nsbox/base")
    h.run(as_alice("true")).check()     # as on a machine without the service
    h.run("systemctl start nsbox.service").check()
    box_of(h.hold(as_alice).pid)


@test(timeout=180)
def a_restart_of_the_service_ends_all_boxes_and_the_next_login_has_a_new_one(h):
    s = h.hold(as_alice)
    h.run("systemctl restart nsbox.service").check()
    ended(s)
    box_of(h.hold(as_alice).pid)


import network      # its tests come last

if __name__ == "__main__":
    throwaway.boot = boot_here
    host.Host = Machine
    tap.main(setup)
