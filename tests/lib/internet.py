# SPDX-License-Identifier: MIT
"""A server and its client, for tests of a network: both are Python alone."""

# Serves one line that says who asks, on TCP and UDP, both families, until it is ended.
SERVER = """
import socket, sys, threading
def tcp(port):
    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    def run():
        while True:
            c, a = s.accept()
            try:
                c.sendall((a[0] + "\\n").encode()); c.close()
            except OSError: pass
    threading.Thread(target=run).start()
def udp(port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(41, 26, 0); s.bind(("::", port))
    def run():
        while True:
            d, a = s.recvfrom(100); s.sendto((a[0] + "\\n").encode(), a)
    threading.Thread(target=run).start()
for port in sys.argv[1:]:
    tcp(int(port)); udp(int(port))
print("ready", flush=True)
"""

# Connects and prints what it hears, or the error's name.
ASK = """
import socket, sys
kind, host, port = sys.argv[1:4]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                  socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.settimeout(float(sys.argv[4]) if len(sys.argv) > 4 else 3)
try:
    s.connect((host, int(port)))
    if kind == "udp": s.send(b"?")
    print(s.recv(100).decode().strip().removeprefix("::ffff:"))
except OSError as e:
    print(type(e).__name__, e.errno)
"""


def install(h):
    """/usr/local/bin/ask and answer; where a box finds them too."""
    h.write("/usr/local/bin/ask", "#!/usr/bin/python3\n" + ASK, 0o755)
    h.write("/usr/local/bin/answer", "#!/usr/bin/python3\n" + SERVER, 0o755)
