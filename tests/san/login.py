#!/usr/bin/python3 -B
"""Whole login suites with the sanitizers' build: what the keeper, init and nsbox do wrong in memory
ends them, and the login with them. One line for each suite.

The module itself carries the checks that need no run time; nsbox run takes its way in with all.
"""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SUITES = ("box", "image", "command", "enable", "doctor")


def main():
    env = dict(os.environ, NSBOX_BUILD=os.environ.get("NSBOX_SAN_BUILD", "build-san"))
    failed = 0
    for number, name in enumerate(SUITES, 1):
        r = subprocess.run([f"{HERE}/../login/{name}.py"], env=env, stdin=subprocess.DEVNULL, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print(f"{'not ' * bool(r.returncode)}ok {number} - login/{name}.py with the sanitizers' build", flush=True)
        if r.returncode:
            failed += 1
            for line in r.stdout.splitlines():
                if not line.startswith("ok"):
                    print("# " + line)
    print(f"1..{len(SUITES)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
