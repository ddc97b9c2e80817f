"""Where the file of ``FileQuotas`` is, and whether the processes of this machine can share it."""

import os
import stat
from pathlib import Path

from volc_moderation.errors import ConfigurationError

try:
    import fcntl  # noqa: F401 - whether it exists
except ImportError:  # on Windows
    HAS_FILE_LOCKS = False
else:
    HAS_FILE_LOCKS = True

#: Directories in which every user can create files that only they can remove, in the order of preference. Unlike
#: ``$XDG_RUNTIME_DIR`` and ``$TMPDIR``, they are the same for a service, a cron job and a shell of the same user, and
#: they do not disappear when the user logs out.
RUNTIME_DIRECTORIES = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - with a private directory inside
#: Where Linux lists the file systems (https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html).
MOUNTS = Path("/proc/self/mountinfo")
#: File systems that other machines, with clocks of their own, may use at the same time.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gfs2", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"),
        *("prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"),
    }
)


def default_path() -> Path:
    """Return the path of the file that all processes of this user share."""
    runtime = next((directory for directory in RUNTIME_DIRECTORIES if _is_open_to_all(directory)), None)
    if not HAS_FILE_LOCKS or runtime is None:
        raise ConfigurationError("FileQuotas has no default path on this system; use WindowQuotas or RedisQuotas")
    return runtime / f"volc_moderation-{os.geteuid()}" / "quotas"


def _is_open_to_all(directory: Path) -> bool:
    """Return whether all users can create files in a directory, and only their owners can remove them."""
    try:
        mode = directory.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and mode & 0o1777 == 0o1777  # noqa: PLR2004 - read, write, search, and the sticky bit


def create_private_directory(directory: Path) -> None:
    """Create a directory that only this user can enter, or check that it is one. Raises ``OSError``.

    Raises ``ConfigurationError`` if it belongs to another user, who could have created it to read what we write.
    """
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise ConfigurationError(
                f"{directory} must be a directory that belongs to this user and that no other user can enter"
            ) from None


def check_shareable(path: Path, status: os.stat_result) -> None:
    """Raise ``ConfigurationError`` unless the processes of this user can share a file with this status."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"the file of quotas {path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise ConfigurationError(
            f"the file of quotas {path} belongs to user {status.st_uid}, and this is user {os.geteuid()}: processes of"
            " several users share quotas with RedisQuotas"
        )
    kind = file_system(status.st_dev)
    if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        raise ConfigurationError(
            f"the file of quotas {path} is on a file system that other machines may use ({kind}): give a path on a"
            " local disk, or share quotas with RedisQuotas"
        )


def file_system(device: int) -> str:
    """Return the type of a file system by its device number; empty if it is not known."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields, _, details = line.partition(" - ")
        if number == (fields.split() + 3 * [""])[2]:
            return details.partition(" ")[0]
    return ""
