"""What every container gets unless it asks for something else."""

from __future__ import annotations

from drivers.kernel.capabilities import NUMBER_OF

# Docker's default set.
# Source: the Engine's documentation, "Runtime privilege and Linux capabilities".
DEFAULT_CAPABILITIES: frozenset[str] = frozenset(
    {
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)

# Source: OCI runtime defaults as Docker sets them; what a container must not see ...
DEFAULT_MASKED_PATHS: tuple[str, ...] = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
# ... of a /sys that is a copy of the host's: below it are debugfs and the like ...
MASKED_OF_HOST: tuple[str, ...] = ("/sys/kernel",)
# ... and what it may read but not write.
DEFAULT_READONLY_PATHS: tuple[str, ...] = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

ALL_CAPABILITIES: frozenset[str] = frozenset(NUMBER_OF)
