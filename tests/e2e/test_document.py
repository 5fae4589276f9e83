"""schemathesis tries the document that the stack serves: every check, stateful too.

`SCHEMATHESIS_SECONDS` is how long each of the two runs takes. How many cases that makes is the
machine's affair, so what is asked is that every operation was tried, and that a run was one at all.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.e2e.client import PASSWORD, Rest, Tenant
from tests.e2e.conftest import ROOT, Stack
from tests.e2e.document import openapi

SECONDS = os.environ.get("SCHEMATHESIS_SECONDS", "80")
STATIC = ROOT / "functions/platform/static"


def test_served_documents_are_those_of_the_handlers(stack: Stack) -> None:
    api_url = stack.outputs["api_url"]
    assert openapi(api_url) == json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))
    frames = Rest(api_url).session.get(f"{api_url}/asyncapi.json", timeout=60)
    assert frames.json() == json.loads((STATIC / "asyncapi.json").read_text(encoding="utf-8"))


@pytest.fixture
def administrator(stack: Stack) -> dict[str, str]:
    """A platform administrator of the run's own, with a workspace."""
    api_url, seeded = stack.outputs["api_url"], stack.outputs
    login = {"email": seeded["admin_email"], "password": seeded["admin_password"]}
    rest = Rest(api_url, Rest(api_url).ok("POST", "/auth/login", login)["access_token"])
    mark = uuid4().hex
    login = {"email": f"{mark}@example.com", "password": PASSWORD}
    rest.ok("POST", "/users", {**login, "username": mark, "full_name": mark, "is_admin": True})
    token = Rest(api_url).ok("POST", "/auth/login", login)["access_token"]
    workspace = Rest(api_url, token).ok("POST", "/workspaces", {"name": mark})
    return {"ACCESS_TOKEN": token, "WORKSPACE_ID": workspace["id"]}


@pytest.mark.parametrize("phases", ["examples,coverage,fuzzing", "stateful"])
def test_document_is_kept_whatever_is_asked(
    phases: str,
    stack: Stack,
    administrator: dict[str, str],
    other_tenant: Tenant,
    tmp_path: Path,
) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis"))]
    command += ["--config-file", str(ROOT / "tests/e2e/schemathesis.toml")]
    command += ["run", f"{stack.outputs['api_url']}/openapi.json", "--checks", "all", "--no-color"]
    command += ["--phases", phases, "--max-time", SECONDS]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={
            **os.environ,
            **administrator,
            "API_URL": stack.outputs["api_url"],
            "OTHER_ACCESS_TOKEN": other_tenant.tokens["access_token"],
            "OTHER_WORKSPACE_ID": other_tenant.workspace_id,
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = re.search(r"(\d+) generated", done.stdout)
    tried = re.search(r"Selected: \d+/(\d+)\s+Tested: (\d+)", done.stdout)
    assert cases, done.stdout
    assert tried, done.stdout
    assert int(cases[1]) >= 100, done.stdout
    assert phases == "stateful" or tried[1] == tried[2], done.stdout
