"""What a process that reads strangers' files gives up before it reads the first of them.

Three layers, each useful without the others: limits on memory, processor time and written files (setrlimit),
no_new_privs, and a seccomp filter that lists the system calls that parsing and decoding need. Everything else fails
with EPERM: sockets, other programs, new processes, every way of changing a file, and io_uring, which would get around
the filter.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

MEMORY_BYTES = 2 << 30
_OPEN_FILES = 64
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CLONE_THREAD = 0x00010000

Name = Literal["full", "limits", "none"]


@dataclass(frozen=True, slots=True)
class SandboxLevel:
    """How far a worker is shut in. Without `limits` it is not at all, and the gate refuses to work.

    limits: memory, written files and core dumps are bounded. no_new_privileges: no program gains rights. seccomp: the
    kernel refuses sockets, programs, processes and writing.
    """

    limits: bool
    no_new_privileges: bool
    seccomp: bool

    @property
    def name(self) -> Name:
        """ "full", "limits" (the kernel gives no system call filter), or "none"."""
        if not self.limits:
            return "none"
        return "full" if self.no_new_privileges and self.seccomp else "limits"

    @property
    def missing(self) -> tuple[str, ...]:
        """The layers that this machine does not give, for people."""
        layers = (
            (self.limits, "limits on memory and written files"),
            (self.no_new_privileges, "no_new_privs"),
            (self.seccomp, "the system call filter (seccomp, from libseccomp2)"),
        )
        return tuple(name for there, name in layers if not there)


# Read, allocate, wait, tell the time, end: what Python, numpy and the decoders call once they are loaded, on any Linux.
_ALLOWED = """
read readv pread64 preadv write writev close lseek fstat stat lstat newfstatat statx access faccessat
faccessat2 readlink readlinkat getdents getdents64 getcwd dup dup2 dup3 fcntl poll ppoll select pselect6
epoll_wait epoll_pwait mmap munmap mremap mprotect madvise brk membarrier mincore futex futex_waitv
set_robust_list get_robust_list rseq set_tid_address sched_yield sched_getaffinity sched_getparam
sched_getscheduler rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall setitimer getitimer
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage getpid getppid gettid
getuid geteuid getgid getegid uname sysinfo getrandom arch_prctl getcpu get_mempolicy exit exit_group
"""


def enter(memory: int = MEMORY_BYTES) -> SandboxLevel:
    """Shut this process in, for good, as far as the machine gives it; `memory` in bytes of address space.

    To be called once everything that will be needed is imported, and before any other thread is started.
    """
    return SandboxLevel(_limit(memory), _no_new_privileges(), _filter())


def _limit(memory: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's image
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    except (OSError, ValueError):
        return False
    return True


def _no_new_privileges() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def _filter() -> bool:
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError):  # no libseccomp on this machine
        return False
    rules: Any = seccomp
    try:
        made = rules.SyscallFilter(rules.ERRNO(1))
        for name in _ALLOWED.split():
            with suppress(OSError, ValueError):  # a call that this architecture does not have
                made.add_rule(rules.ALLOW, name)
        changing = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        for name, place in (("open", 1), ("openat", 2)):
            with suppress(OSError, ValueError):
                made.add_rule(rules.ALLOW, name, rules.Arg(place, rules.MASKED_EQ, changing, os.O_RDONLY))
        made.add_rule(rules.ALLOW, "clone", rules.Arg(0, rules.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
        # Its flags lie in memory, where a filter cannot see them; "no such call" makes libc use clone instead.
        with suppress(OSError, ValueError):
            made.add_rule(rules.ERRNO(38), "clone3")
        made.load()
    except (OSError, ValueError, RuntimeError):
        return False
    return True
