"""Files that hold keys: checked when they are opened, replaced as a whole, one writer at a time.

A file is judged by its descriptor, so that it can't be exchanged between the check and the reading.
What a writer replaces is either the old file or the new one, after a crash, too. Symbolic links are
followed: Kubernetes mounts secrets as such.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from pound._base.addresses import CONTROL
from pound.errors import ConfigError

SIZE_MAX = 64 << 20
LOCK_WAIT_S = 10.0
LOCK_POLL_S = 0.02


def read(path: Path, *, secret: bool) -> str:
    """Return the text of a file that only its owner, root or us, could have written, or replaced.

    One that is `secret` may be read by its owner and group only.

    Raises
    ------
    ConfigError
        It can't be read, others have access, or it is no text of at most `SIZE_MAX` bytes.
    """
    check_path(path)
    try:
        # Without O_NONBLOCK the opening of a FIFO would wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _check(path, os.fstat(file.fileno()), secret)
            _check_folders(path)
            content = file.read(SIZE_MAX + 1)
    except IsADirectoryError:
        raise ConfigError(f"{path} is not a regular file") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > SIZE_MAX:
        raise ConfigError(f"{path} is larger than {SIZE_MAX >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None


def check_path(path: Path) -> None:
    """Raise ConfigError for a path that no file can have, or that no message can show."""
    text = str(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ConfigError(f"{text!r} is no path: it is no valid Unicode text") from None
    if CONTROL.search(text):
        raise ConfigError(f"{text!r} is no path for keys: it has a control character")


def _check(path: Path, status: os.stat_result, secret: bool) -> None:
    """Raise ConfigError, with the remedy, unless the file may be trusted."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is not a regular file")
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} belongs to user {status.st_uid}: it must be root's or that of the user who "
            f"runs this; chown {os.geteuid()} {shlex.quote(str(path))}"
        )
    if secret and status.st_mode & 0o027:
        access, remedy = "holds a secret, and others may read or write it", "g-w,o-rwx"
    elif status.st_mode & 0o022:
        access, remedy = "may be written by others", "go-w"
    else:
        return
    raise ConfigError(f"{path} {access}: chmod {remedy} {shlex.quote(str(path))}")


def _check_folders(path: Path) -> None:
    """Raise ConfigError, with the remedy, if others could put another file in its place.

    Looked at are the directory of the name and, of a link, that of its target. In one with the
    sticky bit, such as /tmp, nobody replaces what is another's.
    """
    for folder in dict.fromkeys((path.parent, path.resolve().parent)):
        status = os.stat(folder)
        quoted = shlex.quote(str(folder))
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"{folder} belongs to user {status.st_uid}, who can replace {path.name}: "
                f"chown {os.geteuid()} {quoted}"
            )
        access = status.st_mode & 0o022
        if status.st_mode & stat.S_ISVTX or (access == 0o020 and _is_private(status.st_gid)):
            continue
        if access:
            raise ConfigError(
                f"{folder} may be written by others, who can replace {path.name}: "
                f"chmod go-w {quoted}"
            )


def _is_private(group: int) -> bool:
    """Return whether a group is the user's alone: many systems make one for each user."""
    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name == user.pw_name and {*entry.gr_mem} <= {user.pw_name}


def create(path: Path, text: str, mode: int) -> None:
    """Write a new file, at once and durably.

    Raises
    ------
    ConfigError
        There is one already, or it can't be written.
    """
    check_path(path)
    try:
        temporary = _written(path, text, mode)
        try:
            os.link(temporary, path)  # unlike a rename, it replaces nothing
        finally:
            os.unlink(temporary)
        _sync(path.parent)
    except FileExistsError:
        raise ConfigError(f"{path} exists already, and is left as it is") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def replace(path: Path, text: str) -> None:
    """Replace a file's text at once and durably; its owner, group and mode stay.

    Raises
    ------
    ConfigError
        It can't be written, or not with that owner; the old file is left as it is.
    """
    try:
        path = path.resolve(strict=True)
        status = path.stat()
        temporary = _written(path, text, stat.S_IMODE(status.st_mode), status)
        try:
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
        _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def _written(path: Path, text: str, mode: int, owner: os.stat_result | None = None) -> Path:
    """Return a temporary file beside `path` that holds `text`, on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fchmod(descriptor, mode)
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _sync(directory: Path) -> None:
    """Put the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Keep other writers of a directory out.

    Raises
    ------
    ConfigError
        The directory can't be written, or another holds the lock for longer than `wait_s`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(directory / ".lock", flags, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot lock {directory}: {error.strerror}") from None
    try:
        _lock(descriptor, directory, time.monotonic() + wait_s)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(f"cannot lock {directory}: {error.strerror}") from None
        if time.monotonic() >= deadline:
            raise ConfigError(f"another command is changing {directory}: try again when it is done")
        time.sleep(LOCK_POLL_S)
