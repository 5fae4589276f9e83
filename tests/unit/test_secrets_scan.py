"""The scan that `make lint` runs finds a secret wherever it is planted."""

import subprocess
from pathlib import Path

import pytest

from tests.secrets_scan import files, scan, unknown

# In halves, or the scan would find them here.
PLANTED = {
    "aws": "AKIA" + "Q3EGRIWUPL7NXZ5T",
    "github": "ghp_" + "16C7e42F292c6912E771" + "0c838347Ae178B4a",
    "slack": "xoxb-" + "2345678901-2345678901234" + "-AbCdEfGhIjKlMnOpQrStUvWx",
    "key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "password": "pass" + 'word = "hunter2-and-more"',
    "url": "postgresql://app:" + "hunter2@db.example.com/chatbot",
}


@pytest.mark.parametrize("name", PLANTED)
def test_secret_is_found_when_it_is_planted(name: str, tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(f"# planted\nX = '{PLANTED[name]}'\n{PLANTED[name]}\n")
    nothing = scan([], tmp_path)
    found = scan(["settings.py"], tmp_path)
    assert {(each.filename, each.line_number) for each in unknown(found, nothing)}


def test_secret_stays_known_when_its_line_moves(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text(f"X = '{PLANTED['aws']}'\n")
    known = scan(["settings.py"], tmp_path)
    file.write_text(f"\n\n# moved\nX = '{PLANTED['aws']}'\n")
    assert list(unknown(scan(["settings.py"], tmp_path), known)) == []
    file.rename(tmp_path / "other.py")
    assert len(list(unknown(scan(["other.py"], tmp_path), known))) == 1


def test_files_are_the_repositorys_and_what_would_be_added(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    for name in ("tracked.py", "new.py", "ignored.py", "uv.lock"):
        (root / name).write_text("")
    (root / ".gitignore").write_text("ignored.py\n")
    without_history = files(root)
    assert without_history == [".gitignore", "ignored.py", "new.py", "tracked.py"]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "tracked.py"], cwd=root, check=True)
    assert files(root) == [".gitignore", "new.py", "tracked.py"]
