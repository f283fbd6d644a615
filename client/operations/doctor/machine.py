"""The machine: space on the disk, memory, and how far a worker that reads strangers' files can be shut in."""

from __future__ import annotations

import shutil
from pathlib import Path

from .check import Check, failed, passed, skipped

# A release and a backup of the store's database beside each other, and a day's images.
DISK_BYTES = 5 << 30
# One worker of the gate (2 GB) beside a training step.
MEMORY_BYTES = 4 << 30
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_MEMORY = Path("/proc/meminfo")


def disk(folder: Path, needed: int = DISK_BYTES) -> Check:
    """Free space where the node's folder is. needed: bytes."""
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB free on the disk of {folder}"
    if free < needed:
        return failed("disk", said, f"free space there: {needed / 1e9:.0f} GB are needed for a day's work")
    return passed("disk", said)


def memory(needed: int = MEMORY_BYTES, meminfo: Path = _MEMORY, limit: Path = _CGROUP) -> Check:
    """Memory that this process may use: the machine's, or what a container or a service unit leaves of it."""
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total = int(fields["MemTotal"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return skipped("memory", f"{meminfo} says nothing of memory")
    where = "this machine has"
    try:
        allowed = int(limit.read_text())
        if allowed < total:
            total, where = allowed, "this container or service may use"
    except (OSError, ValueError):  # no limit ("max"), or another kind of cgroup
        pass
    said = f"{where} {total / 1e9:.1f} GB of memory"
    if total < needed:
        return failed("memory", said, f"give it {needed / 1e9:.0f} GB or more")
    return passed("memory", said)


def sandbox() -> Check:
    """The level that workers of the gate reach here; they refuse to work at none."""
    from ...gate.probing import probe

    found = probe()
    name = "sandbox"
    if found.escapes:
        return failed(
            name,
            f"a worker that reads files got out of its sandbox: {', '.join(found.escapes)}",
            "take no images in on this machine; report it with the kernel's version (uname -r)",
        )
    if found.level.name == "none":
        return failed(
            name,
            f"workers that read files cannot be shut in: {', '.join(found.level.missing)} missing",
            "run the node on Linux as an ordinary user, where setrlimit is allowed",
        )
    if found.level.missing:
        return failed(
            name,
            f"workers that read files are shut in with less than they could be: no {', no '.join(found.level.missing)}",
            "install libseccomp2 (apt install libseccomp2) and use a kernel with seccomp",
        )
    return passed(name, "workers that read files reach the full level: limits, no_new_privs and seccomp")
