"""Files that hold keys: who may read and write them, and what a crash or a second writer leaves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import stat
import time
from pathlib import Path

import pytest

import pound
from pound.errors import ConfigError
from pound.security import files
from pound.security.keyring import KeyDirectory


def made(folder: Path, mode: int, content: bytes = b"text") -> Path:
    path = folder / "a key.toml"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o440])
def test_a_secret_may_be_read_by_its_group(tmp_path: Path, mode: int) -> None:
    assert files.read(made(tmp_path, mode), secret=True) == "text"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o660, 0o644, 0o666])
def test_a_secret_that_others_reach_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = made(tmp_path, mode)
    with pytest.raises(ConfigError) as caught:
        files.read(path, secret=True)
    command = f"chmod g-w,o-rwx '{path}'"
    assert str(caught.value).endswith(command)
    assert os.system(command) == 0
    assert files.read(path, secret=True) == "text"


@pytest.mark.parametrize(
    ("mode", "good"), [(0o644, True), (0o640, True), (0o664, False), (0o646, False)]
)
def test_what_is_no_secret_may_be_read_by_all_and_written_by_one(
    tmp_path: Path, mode: int, good: bool
) -> None:
    path = made(tmp_path, mode)
    if good:
        assert files.read(path, secret=False) == "text"
    else:
        with pytest.raises(ConfigError, match=r"written by others: chmod go-w"):
            files.read(path, secret=False)


def test_another_users_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, 0o600)
    status = os.stat_result([*os.stat(path)[:4], os.geteuid() + 1, *os.stat(path)[5:]])
    monkeypatch.setattr(os, "fstat", lambda descriptor: status)
    with pytest.raises(ConfigError, match=rf"belongs to user {os.geteuid() + 1}"):
        files.read(path, secret=True)


def test_a_link_is_followed_and_its_target_is_judged(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(made(tmp_path, 0o600))
    assert files.read(link, secret=True) == "text"
    link.resolve().chmod(0o604)
    with pytest.raises(ConfigError, match="chmod"):
        files.read(link, secret=True)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigError, match="not a regular file"):
            files.read(path, secret=True)
    with pytest.raises(ConfigError, match="No such file"):
        files.read(tmp_path / "none", secret=True)


def test_a_file_too_large_or_not_text_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, 0o600)
    os.truncate(path, 100 << 20)
    with pytest.raises(ConfigError, match="larger than 64 MiB"):
        files.read(path, secret=True)
    with pytest.raises(ConfigError, match="not UTF-8"):
        files.read(made(tmp_path, 0o600, b"\xff"), secret=True)


def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.create(tmp_path / "new", "one", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="exists already"):
        files.create(tmp_path / "new", "two", 0o600)
    assert (tmp_path / "new").read_text() == "one"
    assert os.listdir(tmp_path) == ["new"]


def test_a_replaced_file_keeps_mode_owner_and_link(tmp_path: Path) -> None:
    path = made(tmp_path, 0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 4711)
    before = path.stat()
    link = tmp_path / "link"
    link.symlink_to(path)
    files.replace(link, "new")
    after = path.stat()
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.parametrize("call", ["fsync", "fchmod", "fchown", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = made(tmp_path, 0o600)

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ConfigError, match="No space left"):
        files.replace(path, "new")
    assert path.read_text() == "text"
    assert os.listdir(tmp_path) == [path.name]


def test_a_file_is_its_writers_alone_until_it_has_its_mode_and_is_empty_till_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened it before could read it ever after."""
    seen: list[tuple[int, int]] = []
    fchmod = os.fchmod

    def noting(descriptor: int, mode: int) -> None:
        status = os.fstat(descriptor)
        seen.append((stat.S_IMODE(status.st_mode), status.st_size))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", noting)
    before = os.umask(0)
    try:
        files.create(tmp_path / "new", "x" * 100_000, 0o640)
    finally:
        os.umask(before)
    assert seen == [(0o600, 0)]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot lock"), files.locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        files.locked(tmp_path),
        pytest.raises(ConfigError, match="another command is changing"),
        files.locked(tmp_path, 0.05),
    ):
        pass
    with files.locked(tmp_path, 0):
        assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="cannot lock"), files.locked(tmp_path / "none"):
        pass


def test_a_file_may_be_as_large_as_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SIZE_MAX", 1 << 20)
    path = tmp_path / "x"
    path.touch(0o600)
    path.write_text("x" * (1 << 20))
    assert len(files.read(path, secret=True)) == 1 << 20
    path.write_text("x" * (1 << 20) + "y")
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        files.read(path, secret=True)


def test_what_is_written_is_on_the_disk_before_its_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(status.st_mode), status.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    before = len(os.listdir("/dev/fd"))
    files.create(tmp_path / "x", "four", 0o600)
    files.replace(tmp_path / "x", "fives")
    assert [directory or size for directory, size in synced] == [4, True, 5, True]
    assert len(os.listdir("/dev/fd")) == before


def test_a_lock_that_the_system_refuses_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError, match="cannot lock"), files.locked(tmp_path):
        pass


def test_a_file_that_holds_no_secret_may_be_executable(tmp_path: Path) -> None:
    assert files.read(made(tmp_path, 0o755), secret=False)


def test_a_second_writer_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = contextlib.ExitStack()
    first.enter_context(files.locked(tmp_path))
    monkeypatch.setattr(time, "sleep", lambda _: first.close())
    with files.locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\0b", r"'.*/a\\x00b' is no path for keys: it has a control character"),
        ("a\x1b[2Jb", r"'.*/a\\x1b\[2Jb' is no path for keys"),
        ("a\ud800b", r"'.*/a\\ud800b' is no path: it is no valid Unicode"),
    ],
    ids=["NUL", "escape", "surrogate"],
)
def test_a_path_that_no_message_can_show_is_refused(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    for use in (
        lambda: files.read(path, secret=True),
        lambda: files.create(path, "text", 0o600),
        lambda: KeyDirectory(path),
        lambda: pound.Client(key=path),
    ):
        with pytest.raises(ConfigError, match=words):
            use()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702, 0o2777])
def test_a_directory_in_which_others_write_is_refused_with_the_remedy(
    tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    path = made(folder, 0o600)
    folder.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        files.read(path, secret=True)
    command = f"chmod go-w '{folder}'"
    assert str(caught.value).endswith(f"who can replace a key.toml: {command}")
    assert os.system(command) == 0
    assert files.read(path, secret=False) == "text"


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o555, 0o1777, 0o3777, 0o1775])
def test_a_directory_in_which_nobody_replaces_anothers_file_is_good(
    tmp_path: Path, mode: int
) -> None:
    path = made(tmp_path, 0o600)
    tmp_path.chmod(mode)
    assert files.read(path, secret=True) == "text"


def test_a_group_may_write_in_a_directory_if_it_is_the_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, 0o600)
    tmp_path.chmod(0o775)
    me = pwd.getpwuid(os.geteuid()).pw_name
    for name, members, good in ((me, [], True), (me, [me], True), (me, [me, "eve"], False),
                                ("staff", [], False)):  # fmt: skip
        entry = grp.struct_group((name, "x", tmp_path.stat().st_gid, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, entry=entry: entry)
        if good:
            assert files.read(path, secret=True) == "text"
            continue
        with pytest.raises(ConfigError, match="written by others"):
            files.read(path, secret=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, 0o600)
    os.chown(tmp_path, 4711, -1)
    with pytest.raises(ConfigError, match=r"belongs to user 4711, who can replace .* chown 0 "):
        files.read(path, secret=True)


def test_the_directories_of_a_link_and_of_its_target_are_looked_at(tmp_path: Path) -> None:
    """Kubernetes mounts a secret so: links in a directory that is sticky, to one beside them."""
    mount, hidden = tmp_path / "mount", tmp_path / "mount" / "..data"
    hidden.mkdir(parents=True)
    (mount / "key").symlink_to(made(hidden, 0o600))
    mount.chmod(0o1777)
    assert files.read(mount / "key", secret=True) == "text"
    for folder in (mount, hidden):
        before = stat.S_IMODE(folder.stat().st_mode)
        folder.chmod(0o777)
        with pytest.raises(ConfigError, match=f"{folder} may be written by others"):
            files.read(mount / "key", secret=True)
        folder.chmod(before)
