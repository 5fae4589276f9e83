"""The migration files, and their order beside what a database has applied."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("migrations")
_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<way>up|down)\.sql")


class MigrationError(Exception):
    """The files and the database do not fit together; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    up: str
    down: str

    @property
    def checksum(self) -> str:
        """SHA-256 of both files, in hexadecimal."""
        return hashlib.sha256(f"{self.up}\0{self.down}".encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


def read(folder: Path = FOLDER) -> list[Migration]:
    """All migrations of a folder in their order. Raises `MigrationError` for odd ones."""
    texts: dict[tuple[int, str], dict[str, str]] = {}
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named NNNN_name.up.sql or .down.sql")
        key = (int(match["version"]), match["name"])
        texts.setdefault(key, {})[match["way"]] = path.read_text(encoding="utf-8")
    found: list[Migration] = []
    for (version, name), ways in sorted(texts.items()):
        if found and found[-1].version == version:
            raise MigrationError(f"{found[-1]} and {version:04}_{name} have the same number")
        if set(ways) != {"up", "down"}:
            raise MigrationError(f"{version:04}_{name} needs an .up.sql and a .down.sql")
        found.append(Migration(version, name, **ways))
    return found


def pending(
    migrations: Sequence[Migration], applied: Mapping[int, Mapping[str, str]]
) -> list[Migration]:
    """What is left to apply. `applied` has name and checksum by version.

    Raises `MigrationError` where an applied file was edited, is missing, or a new one has a lower
    number than one that was applied.
    """
    known = {migration.version: migration for migration in migrations}
    for version, record in sorted(applied.items()):
        migration = known.get(version)
        if migration is None or migration.name != record["name"]:
            raise MigrationError(f"{version:04}_{record['name']} was applied, its file is missing")
        if migration.checksum != record["checksum"]:
            raise MigrationError(f"{migration} was edited after it was applied")
    left = [migration for migration in migrations if migration.version not in applied]
    if left and applied and left[0].version < max(applied):
        raise MigrationError(f"{left[0]} comes before {max(applied):04}, which was applied")
    return left
