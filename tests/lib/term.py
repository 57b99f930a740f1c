"""A terminal with a program on it, driven by what it prints (what expect(1) does)."""

import fcntl
import os
import re
import select
import signal
import struct
import termios
import time


class Terminal:
    def __init__(self, argv, env=None, cwd=None, rows=24, columns=80):
        self.argv = argv
        self.output = ""     # everything ever printed
        self.before = ""     # what the last expect() skipped
        self.match = None
        self._from = 0
        self.code = None
        pid, fd = os.forkpty()
        if pid == 0:
            try:
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                if cwd:
                    os.chdir(cwd)
                os.execvpe(argv[0], argv, {**os.environ, "TERM": "xterm", **(env or {})})
            finally:
                os._exit(127)
        self.pid, self.fd = pid, fd

    def _read(self, timeout):
        """True when something came; False at a timeout; raises EOFError at the end."""
        if not select.select([self.fd], [], [], max(timeout, 0))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        if not data:
            raise EOFError
        self.output += data.decode(errors="replace")
        return True

    def expect(self, pattern, timeout=10):
        """Wait for a regular expression; returns the match."""
        deadline = time.monotonic() + timeout
        while True:
            self.match = re.search(pattern, self.output[self._from:], re.M)
            if self.match:
                self.before = self.output[self._from:][:self.match.start()]
                self._from += self.match.end()
                return self.match
            try:
                if not self._read(deadline - time.monotonic()) and time.monotonic() > deadline:
                    raise AssertionError(self._say(f"no {pattern!r} within {timeout} s"))
            except EOFError:
                raise AssertionError(self._say(f"ended (exit {self.wait()}) without {pattern!r}")) from None

    def _say(self, problem):
        return f"{' '.join(self.argv)}: {problem}; printed:\n{self.output[-2000:]}"

    def send(self, text):
        os.write(self.fd, text.encode())

    def line(self, text):
        self.send(text + "\r")

    def ask(self, command, timeout=10):
        """Run a shell command on the terminal and return what it printed."""
        self.line(f"printf '%s%s\\n' BEGIN MARK; {command}; printf '%s%s\\n' END MARK")
        self.expect(r"BEGINMARK\r?\n", timeout)    # the echo of the line has it in two words
        self.expect(r"ENDMARK\r?\n", timeout)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", self.before).strip()

    def drain(self, timeout=10):
        """Read to the end of the program and return its exit code."""
        deadline = time.monotonic() + timeout
        try:
            while time.monotonic() < deadline:
                self._read(deadline - time.monotonic())
        except EOFError:
            return self.wait()
        raise AssertionError(self._say(f"did not end within {timeout} s"))

    def wait(self, timeout=10):
        """Exit code; 128+N for signal N."""
        deadline = time.monotonic() + timeout
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.code = 128 - self.code if self.code < 0 else self.code
            elif time.monotonic() > deadline:
                raise AssertionError(self._say(f"did not exit within {timeout} s"))
            else:
                time.sleep(0.005)
        return self.code

    def close(self, sig=signal.SIGKILL):
        """End it: the terminal goes away, then the program."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.code is None:
            try:
                os.kill(self.pid, sig)
            except ProcessLookupError:
                pass
            self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
