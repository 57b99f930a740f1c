"""Fault injection with strace: learn the system calls of a program, fail one of them per run."""

import dataclasses
import os
import re
import threading

import observe

# Cannot fail on a sound kernel, and a run in which they did shows nothing: a descriptor that was
# not closed, a mask that was not put back, a child that was not waited for.
CANNOT_FAIL = {"close", "munmap", "rt_sigprocmask", "rt_sigaction", "getpid", "getppid", "gettid", "geteuid", "getuid",
               "umask", "futex", "brk", "exit_group", "exit", "exit_signal", "set_tid_address", "set_robust_list", "rseq",
               "restart_syscall", "waitid", "execve", "setsid", "arch_prctl", "lseek", "rt_sigreturn", "vfork",
               "sched_setaffinity"}

# What the kernel really says where EIO would be nonsense.
LIKELY = {"mmap": "ENOMEM", "clone": "EAGAIN", "clone3": "EAGAIN", "socket": "EMFILE", "socketpair": "EMFILE",
          "openat": "EMFILE", "pidfd_open": "EMFILE", "mprotect": "ENOMEM"}


@dataclasses.dataclass
class Call:
    """The when-th call of its name since the program began."""
    index: int
    name: str
    when: int
    text: str

    def __str__(self):
        return f"{self.name}#{self.when} {self.text[:70]}"


def read(path):
    """[Call] of a strace -o file without -f."""
    calls, seen = [], {}
    for line in observe.read(path).splitlines():
        found = re.match(r"(\w+)\((.*)", line)
        if found:
            name = found[1]
            seen[name] = seen.get(name, 0) + 1
            calls.append(Call(len(calls), name, seen[name], found[2]))
    return calls


def between(calls, first, last):
    """The calls after the one whose text has `first` and before the one that has `last`."""
    start = next(i for i, c in enumerate(calls) if first in c.text)
    end = next(i for i, c in enumerate(calls) if i > start and last in c.text)
    return calls[start + 1:end]


def error_for(call):
    return LIKELY.get(call.name, "EIO")


def injected(path):
    """The line of the call that was hit, and how many calls of setns came before; (None, 0): none was."""
    joined = 0
    for line in observe.read(path).splitlines():
        if "(INJECTED)" in line or "(DELAYED)" in line:
            return line, joined
        joined += line.startswith("setns(") and line.endswith("= 0")
    return None, joined


def spread(items, n):
    """At most n of the items, evenly."""
    if len(items) <= n:
        return list(items)
    return [items[i * len(items) // n] for i in range(n)]


def in_jobs(users, items, work):
    """work(user, item) for every item, one thread for each user; the results in order."""
    results, lock, queue = [None] * len(items), threading.Lock(), list(enumerate(items))
    errors = []

    def job(user):
        while True:
            with lock:
                if not queue or errors:
                    return
                i, item = queue.pop(0)
            try:
                results[i] = work(user, item)
            except BaseException as error:
                errors.append(error)
                return
    threads = [threading.Thread(target=job, args=(user,), daemon=True) for user in users]
    for t in threads:
        t.start()
    try:
        for t in threads:
            t.join()
    finally:    # also when the test runs out of time
        with lock:
            queue.clear()
    if errors:
        raise errors[0]
    return results


def cgroup_elsewhere(name="elsewhere"):
    """A cgroup of the caller's own in every hierarchy: to be put back there is not nothing."""
    found = []
    for line in observe.mounts():
        _, where, fstype, *_ = line.split()
        if fstype in ("cgroup", "cgroup2"):
            top = os.path.join(where, name)
            os.makedirs(top, exist_ok=True)
            found.append(top + "/cgroup.procs")
    return ["sh", "-c", f'for f in {" ".join(found)}; do echo $$ > $f; done; exec "$@"', "sh"]
