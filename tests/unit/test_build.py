"""The zips: reproducible, compiled, of one function each, built only when something changed."""

import importlib.util
import json
import marshal
import subprocess
import zipfile
from pathlib import Path
from types import CodeType

import pytest

from layers.build import Archive, build, function_archive, function_names, trim_botocore, write_zip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of two functions and a shared package."""
    files = {
        "functions/first/handler.py": "def handler(event, context):\n    return {'a', 'b', 'c'}\n",
        "functions/first/sql/0001.up.sql": "SELECT 1;\n",
        "functions/first/__pycache__/handler.cpython-312.pyc": "stale",
        "functions/second/handler.py": "from functions.second.rest import A\n",
        "functions/second/rest.py": "A = 1\n",
        "functions/unfinished/notes.txt": "",
        "layers/shared/python/chatbot/__init__.py": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def names(path: Path) -> list[str]:
    return zipfile.ZipFile(path).namelist()


def test_functions_are_the_folders_with_a_handler(root: Path) -> None:
    assert function_names(root) == ["first", "second"]


def test_zip_holds_one_function_under_its_handlers_path(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "first.zip"
    write_zip(function_archive("first", root), target)
    assert names(target) == [
        "functions/first/__pycache__/handler.cpython-312.pyc",
        "functions/first/handler.py",
        "functions/first/sql/0001.up.sql",
    ]


def test_same_files_give_same_bytes_when_built_in_another_folder(
    root: Path, tmp_path: Path
) -> None:
    one, other = tmp_path / "one/first.zip", tmp_path / "another/folder/first.zip"
    write_zip(function_archive("first", root), one)
    (root / "functions/first/handler.py").touch()
    write_zip(function_archive("first", root), other)
    assert one.read_bytes() == other.read_bytes()


def test_byte_code_is_used_without_a_look_at_dates(root: Path, tmp_path: Path) -> None:
    """PEP 552: the lowest bit of the flags says hash-based, the next one that it is checked."""
    target = tmp_path / "first.zip"
    write_zip(function_archive("first", root), target)
    packed = zipfile.ZipFile(target)
    compiled = packed.read("functions/first/__pycache__/handler.cpython-312.pyc")
    source = packed.read("functions/first/handler.py")
    assert compiled[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(compiled[4:8], "little") == 0b01
    assert compiled[8:16] == importlib.util.source_hash(source)
    code = marshal.loads(compiled[16:])  # noqa: S302 (compiled above)
    assert isinstance(code, CodeType)
    assert code.co_filename == "/var/task/functions/first/handler.py"


def test_file_that_does_not_compile_fails_the_build(root: Path, tmp_path: Path) -> None:
    (root / "functions/first/handler.py").write_text("def handler(:", encoding="utf-8")
    with pytest.raises(subprocess.CalledProcessError):
        write_zip(function_archive("first", root), tmp_path / "first.zip")
    assert not (tmp_path / "first.zip").exists()


@pytest.fixture
def without_third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the layer that has to be installed."""

    def only_ours(arch: str, root: Path) -> list[Archive]:
        del arch
        return [function_archive(name, root) for name in function_names(root)]

    monkeypatch.setattr("layers.build.archives", only_ours)


@pytest.mark.usefixtures("without_third_party")
def test_only_what_changed_is_built_again(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert build("arm64", out, root) == ["functions/first.zip", "functions/second.zip"]
    assert build("arm64", out, root) == []
    (root / "functions/second/rest.py").write_text("A = 2\n", encoding="utf-8")
    assert build("arm64", out, root) == ["functions/second.zip"]
    (out / "arm64/functions/first.zip").unlink()
    assert build("arm64", out, root) == ["functions/first.zip"]


@pytest.mark.usefixtures("without_third_party")
def test_zip_goes_when_its_function_goes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build("arm64", out, root)
    (root / "functions/second/handler.py").unlink()
    build("arm64", out, root)
    assert [path.name for path in (out / "arm64/functions").glob("*.zip")] == ["first.zip"]


@pytest.fixture
def botocore(tmp_path: Path) -> Path:
    """A botocore whose data knows two services."""
    folder = tmp_path / "botocore"
    model = {
        "documentation": "<p>Long</p>",
        "metadata": {"endpointPrefix": "queue"},
        "clientContextParams": {"Path": {"type": "boolean", "documentation": "Asked for"}},
        "shapes": {
            "Text": {"type": "string", "documentation": "<p>Long</p>"},
            "Note": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
        },
    }
    for service in ("sqs", "ec2"):
        file = folder / f"data/{service}/2012-11-05/service-2.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(model), encoding="utf-8")
    endpoints = {"partitions": [{"partition": "aws", "services": {"queue": {}, "ec2": {}}}]}
    (folder / "data/endpoints.json").write_text(json.dumps(endpoints), encoding="utf-8")
    (folder / "data/unused.json").write_text("{}", encoding="utf-8")
    return folder


def test_botocore_keeps_the_services_in_use_without_prose(botocore: Path) -> None:
    trim_botocore(botocore, ["sqs"], ["endpoints.json"])
    files = sorted(p.relative_to(botocore / "data").as_posix() for p in botocore.rglob("*.json"))
    assert files == ["endpoints.json", "sqs/2012-11-05/service-2.json"]
    model = json.loads((botocore / "data" / files[1]).read_text(encoding="utf-8"))
    assert model["shapes"] == {
        "Text": {"type": "string"},
        "Note": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
    }
    assert model["clientContextParams"]["Path"]["documentation"] == "Asked for"
    endpoints = json.loads((botocore / "data/endpoints.json").read_text(encoding="utf-8"))
    assert endpoints["partitions"][0]["services"] == {"queue": {}}


def test_service_that_botocore_lacks_fails_the_build(botocore: Path) -> None:
    with pytest.raises(SystemExit, match="sqss"):
        trim_botocore(botocore, ["sqss"], [])
