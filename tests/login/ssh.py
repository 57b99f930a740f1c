#!/usr/bin/python3 -B
"""sshd: every way to authenticate, to transfer and to forward works inside the box."""

import hashlib
import os
import shutil
import socket

from common import LOOK, PROMPT, all_differ, clean_homes, contains, eq, in_box, looked, policy, setup
import observe
from observe import wait_until
from tap import main, test

SERVE = """\
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
open("ready." + sys.argv[1], "w").close()
while True:
    connection, _ = listener.accept()
    connection.sendall(os.readlink("/proc/self/ns/net").encode())
    connection.close()
"""

ASK = """\
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as s:
    print(s.makefile().read())
"""


def box_of(h, user="alice"):
    """The namespaces of the user's one box, from a session that stays open during the test."""
    found = observe.nsinos(h.session(user).pid)
    all_differ(found, observe.nsinos("self"))
    return found


def serve_in_box(h, port):
    h.home_file("alice", "serve.py", SERVE)
    h.start(h.ssh_argv("alice", f"exec python3 serve.py {port}"))
    wait_until(lambda: os.path.exists(f"/home/alice/ready.{port}"), 10, "the server listens")


def serve_on_host(h, port):
    h.write("/root/serve.py", SERVE)
    h.start(["python3", "/root/serve.py", str(port)], cwd="/root")
    wait_until(lambda: os.path.exists(f"/root/ready.{port}"), 10, "the server listens")


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def ask(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            return s.makefile().read()
    except ConnectionResetError:
        return ""


def ns(name, of):
    return f"{name}:[{of[name]}]"


# ------------------------------------------------------------ sshd: ways to authenticate

@test
def ssh_with_a_key(h):
    r = h.ssh("alice", f"id -un; pwd; echo $HOME $USER $LOGNAME; {LOOK}").check()
    contains(r.out, "alice\n/home/alice\n/home/alice alice alice\n")
    in_box(r.out)


@test
def ssh_with_a_password(h):
    r = h.ssh("alice", f"id -un; {LOOK}", password="alice-secret").check()
    contains(r.out, "alice\n")
    in_box(r.out)


@test
def ssh_with_a_wrong_password_is_refused(h):
    eq(h.ssh("alice", "true", password="wrong").code, 255, "exit code")


@test
def ssh_with_keyboard_interactive(h):
    r = h.ssh("alice", f"id -un; {LOOK}", password="alice-secret", method="keyboard-interactive").check()
    contains(r.out, "alice\n")
    in_box(r.out)


# ------------------------------------------------------------ sshd: sessions

@test
def ssh_passes_exit_codes_and_all_three_streams(h):
    r = h.ssh("alice", "cat; echo complaint >&2; exit 42", input="question")
    eq((r.code, r.out, r.err), (42, "question", "complaint\n"), "code, stdout, stderr")
    in_box(h.ssh("alice", LOOK).out)


@test
def ssh_passes_large_data_both_ways(h):
    data = os.urandom(1 << 20) * 16
    h.write("/root/data", "")
    with open("/root/data", "wb") as f:
        f.write(data)
    want = hashlib.sha256(data).hexdigest()
    with open("/root/data") as f:
        r = h.run(h.ssh_argv("alice", f"tee copy | sha256sum; sha256sum < copy; {LOOK}"), stdin=f)
    eq([line.split()[0] for line in r.out.splitlines()[:2]], [want, want], "sums")
    in_box(r.out)


@test
def ssh_passes_the_environment_that_sshd_accepts(h):
    r = h.run(h.ssh_argv("alice", f"echo $TEST_WORD; {LOOK}", options=["SendEnv=TEST_WORD"]), env={"TEST_WORD": "sesame"})
    contains(r.out, "sesame\n")
    in_box(r.out)


@test
def ssh_without_a_pty_has_no_terminal(h):
    r = h.ssh("alice", f"tty; {LOOK}")
    contains(r.out, "not a tty")
    in_box(r.out)


@test
def ssh_with_a_pty_gives_a_shell_with_job_control(h):
    t = h.pty(h.ssh_argv("alice", tty=True), rows=33, columns=99)
    t.expect(PROMPT)
    contains(t.ask("tty"), "/dev/pts/")
    eq(t.ask("stty size"), "33 99", "window size")
    contains(t.ask("echo $- $(stat -c %U $(tty))"), "m", "shell options: job control")
    contains(t.ask("ls -l $(tty)"), "alice", "owner of the terminal")
    t.line("echo go to sleep; sleep 1000")
    t.expect("sleep\r")
    wait_until(lambda: [p for p in observe.processes() if p.cmdline == "sleep 1000"], 5, "sleep runs")
    t.send("\x03")
    t.expect(PROMPT)
    look = t.ask(LOOK)
    t.line("exit 9")
    eq(t.drain(), 9, "exit code")
    in_box(look)


@test
def ssh_with_a_pty_runs_one_command(h):
    r = h.ssh("alice", f"tty; {LOOK}", tty=True)
    contains(r.out, "/dev/pts/")
    in_box(r.out)


@test
def a_hang_up_reaches_the_programs_on_the_terminal(h):
    h.policy(policy(defaults="linger = 5s\n"))     # with 0 the kill may come first
    t = h.pty(h.ssh_argv("alice", tty=True))
    t.expect(PROMPT)
    look = t.ask(LOOK)
    t.line("trap 'echo hung up > hup; exit' HUP; echo set; while :; do sleep 0.05; done")
    t.expect(r"set\r")
    t.close()
    wait_until(lambda: observe.read("/home/alice/hup") == "hung up\n", 5, "the shell saw SIGHUP")
    in_box(look)


@test
def several_sessions_over_one_control_master(h):
    h.start(h.ssh_argv("alice", options=["ControlMaster=yes", "ControlPath=/tmp/master", "-N"]))
    wait_until(lambda: os.path.exists("/tmp/master"), 10, "the master listens")
    looks = [looked(h.ssh("alice", LOOK, options=["ControlPath=/tmp/master"]).check().out) for _ in range(3)]
    tty = h.ssh("alice", f"tty; {LOOK}", tty=True, options=["ControlPath=/tmp/master"]).check().out
    contains(tty, "/dev/pts/")
    looks.append(looked(tty))
    assert all(look == looks[0] for look in looks), looks
    in_box(tty)


# ------------------------------------------------------------ sshd: files

def _sftp(h, port=22):
    h.write("/root/upload", "up and down\n")
    r = h.run(["sftp", "-q", "-b", "-", "-P", str(port), "alice@127.0.0.1"], input=(
        "pwd\nput /root/upload here\nget here /root/download\nget /proc/self/uid_map /root/uid_map\n"
        "mkdir made\nls -l\n"))
    assert r.code == 0, r
    contains(r.out, "/home/alice", "working directory")
    contains(r.out, "made", "listing")
    eq(observe.read("/root/download"), "up and down\n", "the file that came back")
    st = os.stat("/home/alice/here")
    eq((st.st_uid, st.st_gid), (1001, 1001), "owner on the disk")
    shutil.rmtree("/home/alice/made")
    assert observe.read("/root/uid_map").split()[1] != "0", "sftp-server is in the host's user namespace"


@test
def sftp_with_the_external_server(h):
    _sftp(h)


@test
def sftp_with_internal_sftp(h):
    h.sshd(2222, Subsystem="sftp internal-sftp")
    _sftp(h, 2222)


@test
def sftp_forced_by_a_match_block(h):
    h.sshd(2222, Subsystem="sftp internal-sftp", ForceCommand="internal-sftp")
    _sftp(h, 2222)


def _scp(h, *options):
    h.write("/root/upload", "by scp\n")
    h.run(["scp", "-q", *options, "/root/upload", "alice@127.0.0.1:there"]).check()
    h.run(["scp", "-q", *options, "alice@127.0.0.1:there", "/root/back"]).check()
    h.run(["scp", "-q", *options, "alice@127.0.0.1:/proc/self/uid_map", "/root/uid_map"])
    eq(observe.read("/root/back"), "by scp\n", "the file that came back")
    eq(os.stat("/home/alice/there").st_uid, 1001, "owner on the disk")
    in_box(h.ssh("alice", LOOK).out)


@test
def scp_by_the_sftp_protocol(h):
    _scp(h)


@test
def scp_by_the_old_protocol(h):
    _scp(h, "-O")


@test
def git_clones_and_pushes_over_ssh(h):
    box = "git init -q --bare repo && git init -q w && cd w && git config user.email a@b && git config user.name a" \
          " && git commit -q --allow-empty -m first && git push -q ../repo HEAD:main"
    h.ssh("alice", box).check()
    h.run(["git", "clone", "-q", "-b", "main", "alice@127.0.0.1:repo", "/root/clone"], env={"HOME": "/root"}).check()
    contains(h.run(["git", "-C", "/root/clone", "log", "--format=%s"]).out, "first")
    in_box(h.ssh("alice", LOOK).out)


# ------------------------------------------------------------ sshd: forwarding

@test
def local_forwarding_reaches_the_network_of_the_box(h):
    box = box_of(h)
    serve_in_box(h, 8001)
    h.start(h.ssh_argv("alice", options=["-N", "-L9001:127.0.0.1:8001", "ExitOnForwardFailure=yes"]))
    wait_until(lambda: listening(9001), 10, "the forward listens")
    eq(ask(9001), ns("net", box), "network namespace of the server")
    assert not listening(8001), "the box's port is open on the host"


@test
def local_forwarding_does_not_reach_the_hosts_own_ports(h):
    serve_on_host(h, 8002)
    h.start(h.ssh_argv("alice", options=["-N", "-L9002:127.0.0.1:8002"]))
    wait_until(lambda: listening(9002), 10, "the forward listens")
    eq(ask(9002), "", "answer through the forward")


@test
def remote_forwarding_listens_inside_the_box(h):
    box = box_of(h)
    serve_on_host(h, 8003)
    h.home_file("alice", "ask.py", ASK)
    h.start(h.ssh_argv("alice", options=["-N", "-R7003:127.0.0.1:8003", "ExitOnForwardFailure=yes"]))
    r = wait_until(lambda: (r := h.ssh("alice", "python3 ask.py 7003")).code == 0 and r, 10, "the box's port answers")
    eq(r.out.strip(), ns("net", observe.nsinos("self")), "network namespace of the server")
    assert not listening(7003), "the forwarded port is open on the host"
    assert box["net"] != observe.ns_inode("self", "net"), "the box has the host's network"


@test
def dynamic_forwarding_reaches_the_network_of_the_box(h):
    box = box_of(h)
    serve_in_box(h, 8004)
    h.start(h.ssh_argv("alice", options=["-N", "-D9004"]))
    wait_until(lambda: listening(9004), 10, "the proxy listens")
    with socket.create_connection(("127.0.0.1", 9004), 5) as s:
        s.sendall(b"\x05\x01\x00")
        eq(s.recv(2), b"\x05\x00", "greeting of the proxy")
        s.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + (8004).to_bytes(2, "big"))
        reply = s.recv(10, socket.MSG_WAITALL)
        eq(reply[:2], b"\x05\x00", "reply of the proxy")
        eq(s.makefile().read(), ns("net", box), "network namespace of the server")


@test
def stdio_forwarding_reaches_the_network_of_the_box(h):
    box = box_of(h)
    serve_in_box(h, 8005)
    r = h.run(h.ssh_argv("alice", options=["-W127.0.0.1:8005"]), stdin=None)
    eq(r.out, ns("net", box), "network namespace of the server")


@test
def unix_socket_forwarding_reaches_the_files_of_the_box(h):
    box_of(h)
    h.home_file("alice", "unix.py", 'import socket\ns = socket.socket(socket.AF_UNIX); s.bind("/tmp/door"); s.listen()\n'
                'open("ready.unix", "w")\nwhile 1: c, _ = s.accept(); c.sendall(b"inside"); c.close()\n')
    h.start(h.ssh_argv("alice", "exec python3 unix.py"))
    wait_until(lambda: os.path.exists("/home/alice/ready.unix"), 10, "the server listens")
    assert not os.path.exists("/tmp/door"), "the box's /tmp is the host's"
    h.start(h.ssh_argv("alice", options=["-N", "-L9006:/tmp/door"]))
    wait_until(lambda: listening(9006), 10, "the forward listens")
    eq(ask(9006), "inside", "answer")


@test
def agent_forwarding_works(h):
    h.start(["ssh-agent", "-D", "-a", "/root/agent"])
    wait_until(lambda: os.path.exists("/root/agent"), 5, "the agent listens")
    env = {"SSH_AUTH_SOCK": "/root/agent"}
    h.run(["ssh-add", "-q", "/root/.ssh/id_ed25519"], env=env).check()
    r = h.run(h.ssh_argv("alice", f"ssh-add -l; echo $SSH_AUTH_SOCK; {LOOK}", options=["-A"]), env=env)
    contains(r.out, "ED25519", "keys seen inside")
    sock = [line for line in r.out.splitlines() if line.startswith("/tmp/ssh-")]
    assert sock, f"no agent socket: {r}"
    in_box(r.out)


main(setup, before_each=clean_homes)
