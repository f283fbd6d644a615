"""A change of key that is killed at any step leaves a node that opens, with one of the two keys."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from medquorum.client.audit_log import AuditLog
from medquorum.client.errors import KeyFileError
from medquorum.client.keys import create_node_key, open_node_key, read_key, read_node_key
from medquorum.client.operations.rekey import rekey
from medquorum.client.store import NewInstance, Store

_DURABLE = ("fsync", "rename", "replace", "unlink")


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process that is killed before its `step`-th call that changes the disk; whether it got so far."""
    child = os.fork()
    if child == 0:
        left = step

        def counting(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return call

        for name in _DURABLE:
            setattr(os, name, counting(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_any_step_it_opens_with_one_of_the_two_keys(tmp_path: Path) -> None:
    step, opened_with = 0, set[bool]()
    while True:
        step += 1
        store = tmp_path / f"s{step}"
        store.mkdir()
        secret = create_node_key(store / "node.key")
        before = read_key(store / "node.key")
        killed = killed_before(step, lambda store=store: rekey(store))
        assert open_node_key(store) == secret, step
        opened_with.add(read_key(store / "node.key") == before)
        # What a killed change left behind hinders neither the next opening nor the next change.
        rekey(store)
        assert open_node_key(store) == secret
        assert read_key(store / "node.key") != before
        assert sorted(path.name for path in store.iterdir()) == ["audit.head", "audit.log", "node.key", "node.secret"]
        AuditLog(store, secret).verify()
        if not killed:
            break
    assert step > 6
    assert opened_with == {True, False}


def test_the_old_key_opens_nothing_any_more_and_everything_is_still_there(
    tmp_path: Path, image: Callable[..., NewInstance]
) -> None:
    with Store.create(tmp_path / "s", "a") as store:
        kept = store.add(image(1))
        old = (tmp_path / "s" / "node.key").read_bytes()
        rekey(tmp_path / "s")  # the node runs meanwhile
        assert store.content(kept.instance) == image(1).content
    with Store.open(tmp_path / "s") as store:
        assert store.content(kept.instance) == image(1).content
        head = AuditLog(store.folder, open_node_key(store.folder)).verify(store.audit_head())
        assert head.entries >= 4
    (tmp_path / "old.key").write_bytes(old)
    (tmp_path / "old.key").chmod(0o600)
    with pytest.raises(KeyFileError, match="does not open this store"):
        Store.open(tmp_path / "s", key_file=tmp_path / "old.key")


def test_a_key_in_a_credential_is_changed_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, credentials = tmp_path / "s", tmp_path / "credentials"
    store.mkdir()
    credentials.mkdir()
    secret = create_node_key(credentials / "medquorum-node-key", store / "node.secret")
    # As systemd shows it: read by an ACL, which looks like a group's right.
    (credentials / "medquorum-node-key").chmod(0o440)
    with pytest.raises(KeyFileError, match="missing"):
        open_node_key(store)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert open_node_key(store) == secret
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(KeyFileError, match="--to"):
        rekey(store)
    assert rekey(store, tmp_path / "fresh") == tmp_path / "fresh"
    with pytest.raises(KeyFileError, match="does not open"):
        open_node_key(store)
    monkeypatch.setenv("MEDQUORUM_NODE_KEY", str(tmp_path / "fresh"))
    assert open_node_key(store) == secret


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_node_key(tmp_path / "node.key")
    AuditLog(tmp_path, open_node_key(tmp_path)).append("key", "x")
    before = read_key(tmp_path / "node.key")
    real, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > 1:  # the log takes one
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(KeyFileError, match="No space left"):
            rekey(tmp_path)
    assert read_key(tmp_path / "node.key") == before
    assert read_node_key(tmp_path / "node.key")
    assert not list(tmp_path.glob("*.new"))


def test_a_lost_secret_says_where_to_get_it(tmp_path: Path) -> None:
    create_node_key(tmp_path / "node.key")
    (tmp_path / "node.secret").unlink()
    with pytest.raises(KeyFileError, match="backup of the node"):
        open_node_key(tmp_path)
