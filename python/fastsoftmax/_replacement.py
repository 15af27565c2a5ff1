"""Files written whole or, after any failure, not at all."""

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

Path = str | os.PathLike[str]


def check_writable(path: Path) -> None:
    """Raise OSError unless a file could be written at `path` now; leave nothing there.

    Parameters
    ----------
    path : str or os.PathLike
        Where a file shall go. What is there already must be a regular file.
    """
    try:
        found = None
        with contextlib.suppress(FileNotFoundError):  # and no other error: a name may be too long
            found = os.stat(path)
        if not os.path.basename(path) or (found and not stat.S_ISREG(found.st_mode)):
            raise OSError(errno.EINVAL, "not a regular file")
        # Only trials tell for sure: os.access knows nothing of quotas and network disks.
        if found:  # and may be replaced, but is not to be where it is read-only
            with open(path, "ab"):
                pass
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        reason = f"cannot be written ({error.strerror})"
        raise OSError(error.errno, reason, os.fspath(path)) from error


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` once the block has ended well.

    Parameters
    ----------
    path : str or os.PathLike
        Used as it is, with no suffix added. A symbolic link is followed.
    """
    check_writable(path)
    target = os.path.realpath(os.fsdecode(path))
    temporary = os.path.join(os.path.dirname(target), f".fastsoftmax-{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile's 0600: a file gets the permissions of the one that it replaces, or those of
        # any other new file.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = os.fspath(path)
        raise
