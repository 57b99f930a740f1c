#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""What make demo shows: a login that lands in a box, from the inside and from the outside.

Runs in a throwaway host. Every line that begins with a prompt is a command that is really run, and
what follows is what it really printed.
"""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/lib"))
import observe
from host import Host

POLICY = """\
[defaults]
action = pass
linger = 0

[group nsbox]
action = box
pids_max = 200
"""
PROMPT = "PS1=; PS2=; PROMPT_COMMAND=; unset HISTFILE; stty -echo cols 100"


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def show(prompt, command, output):
    print(f"{prompt} {command}")
    if output:
        print(re.sub(r"[ \t]+$", "", output.rstrip(), flags=re.M))
    sys.stdout.flush()


class Login:
    """A real ssh session on a terminal, open until logout()."""

    def __init__(self, host, user):
        self.terminal = host.pty(host.ssh_argv(user, tty=True), columns=100)
        self.terminal.ask(PROMPT, timeout=30)
        self.prompt = f"{user}$"

    def does(self, *commands):
        for command in commands:
            show(self.prompt, command, self.terminal.ask(command))

    def logout(self):
        self.terminal.line("exit")
        return self.terminal.drain()


def root_does(host, *commands, shown=None):
    for command in commands:
        result = host.run(["bash", "-c", command])
        show("root#", shown or command, result.out + result.err)


def make_host():
    host = Host()
    host.add_group("nsbox", 1500)
    host.add_user("ada", 1001, groups=["nsbox"])
    host.add_user("grace", 1002)
    host.install()
    host.policy(POLICY)
    host.enable("sshd")
    host.sshd()
    return host


def demo(host):
    heading("1. The policy: members of the group nsbox get a box, nobody else")
    root_does(host, "cat /etc/nsbox/nsbox.conf", "getent group nsbox", "tail -n 1 /etc/pam.d/sshd")

    heading("2. grace is not in the group. She logs in by ssh as before, and sees the whole host")
    grace = Login(host, "grace")
    grace.does("id", "hostname", "ls /home", "ps -e | wc -l")

    heading("3. ada is in it. Her ssh login lands in her box: who she is, and where")
    ada = Login(host, "ada")
    ada.does("id", "hostname")

    heading("4. ada sees her own processes and no others, and no home but hers")
    ada.does("ps -ef", "ls /home")

    heading("5. The ids of her box are not those of the host: root in there is nobody out here")
    ada.does("cat /proc/self/uid_map")

    heading("6. The same session from outside: ids from her block, and a keeper that watches")
    box = observe.inits()[0].pid
    keeper = observe.keepers()[0].pid
    pids = sorted(p.pid for p in observe.boxed())
    root_does(host, f"ps -o pid,ppid,uid,args -p {','.join(str(p) for p in [keeper, *pids])}")

    heading("7. Seven namespaces are the box's own (time is the host's)")
    root_does(host, f"lsns -p {box}")

    heading("8. The boxes on this host")
    root_does(host, "nsbox list")

    heading("9. ada logs out: her box is gone. grace has noticed nothing")
    ada.logout()
    host.wait_gone(5)
    root_does(host, "nsbox list")
    grace.does("id -un")
    grace.logout()


def main():
    if not os.path.exists(os.path.join(os.path.dirname(__file__), "../build/pam_nsbox.so")):
        sys.exit("demo: nothing is built yet: make demo does it")
    host = make_host()
    try:
        demo(host)
    finally:
        host.settle()


if __name__ == "__main__":
    main()
