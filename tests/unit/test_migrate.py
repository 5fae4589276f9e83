"""The migration files and their order; the rest of `migrate` is tested on PostgreSQL."""

import base64
import hashlib
import hmac
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions.migrate import files, handler, logins
from functions.migrate.files import Migration, MigrationError


def _write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"-- {name}")
    return folder


def _record(migration: Migration) -> dict[str, str]:
    return {"name": migration.name, "checksum": migration.checksum}


ONE, TWO, THREE = (Migration(n, f"m{n}", f"up {n}", f"down {n}") for n in (1, 2, 3))


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    names = [f"{n:04}_m{n}.{way}.sql" for n in (10, 9, 1) for way in ("up", "down")]
    found = files.read(_write(tmp_path, *names))
    assert [str(one) for one in found] == ["0001_m1", "0009_m9", "0010_m10"]
    assert (found[0].up, found[0].down) == ("-- 0001_m1.up.sql", "-- 0001_m1.down.sql")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0001_a.up.sql"], "0001_a needs an"),
        (["0001_a.down.sql"], "0001_a needs an"),
        (["0001_a.up.sql", "0001_b.down.sql"], "needs an"),
        (
            ["0001_a.up.sql", "0001_a.down.sql", "0001_b.up.sql", "0001_b.down.sql"],
            "0001_a and 0001_b have the same number",
        ),
        (["1_a.up.sql"], "1_a.up.sql is not named"),
        (["0001_A.up.sql"], "is not named"),
        (["notes.txt"], "notes.txt is not named"),
    ],
)
def test_odd_files_are_an_error(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(MigrationError, match=message):
        files.read(_write(tmp_path, *names))


def test_what_is_left_follows_what_was_applied() -> None:
    everything = [ONE, TWO, THREE]
    assert files.pending(everything, {}) == everything
    assert files.pending(everything, {1: _record(ONE), 2: _record(TWO)}) == [THREE]


@pytest.mark.parametrize(
    "edited", [Migration(1, "m1", "up 1 ", "down 1"), Migration(1, "m1", "up 1", "down 2")]
)
def test_an_edited_file_is_an_error(edited: Migration) -> None:
    with pytest.raises(MigrationError, match="0001_m1 was edited"):
        files.pending([edited, TWO], {1: _record(ONE)})


@pytest.mark.parametrize("left", [[], [TWO], [Migration(1, "renamed", "up 1", "down 1"), TWO]])
def test_a_missing_file_is_an_error(left: list[Migration]) -> None:
    with pytest.raises(MigrationError, match="0001_m1 was applied, its file is missing"):
        files.pending(left, {1: _record(ONE)})


def test_a_file_out_of_order_is_an_error() -> None:
    applied = {1: _record(ONE), 3: _record(THREE)}
    with pytest.raises(MigrationError, match="0002_m2 comes before 0003"):
        files.pending([ONE, TWO, THREE], applied)


def test_the_repository_has_sound_migrations() -> None:
    found = files.read()
    assert str(found[0]) == "0001_foundation"
    assert all(one.up.strip() and one.down.strip() for one in found)


def test_a_verifier_is_what_scram_says_of_the_password() -> None:
    verifier = logins._scram_verifier("correct horse")
    head, keys = verifier.removeprefix("SCRAM-SHA-256$").split("$")
    iterations, salt = head.split(":")
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    salted = hashlib.pbkdf2_hmac(
        "sha256", b"correct horse", base64.b64decode(salt), int(iterations)
    )
    assert hmac.digest(salted, b"Server Key", "sha256") == server
    assert hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest() == stored
    assert logins._scram_verifier("correct horse") != verifier


def test_an_unknown_action_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatbot.log.bind", lambda _: None)
    with pytest.raises(ValueError, match="sideways"):
        handler.handler({"action": "sideways"}, SimpleNamespace(aws_request_id="r"))
