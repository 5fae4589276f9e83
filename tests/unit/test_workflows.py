"""GitHub's workflows: bounded, with the least permissions, without stored keys."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    read: dict[Any, Any] = yaml.safe_load(request.param.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in read.items()}


def test_there_are_checks_a_plan_a_deployment_and_notes() -> None:
    assert [path.stem for path in WORKFLOWS] == ["checks", "deploy", "plan", "release"]


def test_every_job_is_bounded_and_says_what_it_may(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60
        assert set(job["permissions"]) <= {"contents", "id-token"}
        assert "ubuntu-latest" not in job["runs-on"]


def test_every_action_is_pinned_to_a_commit(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_what_others_can_write_is_no_part_of_a_script(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        assert all("${{" not in step.get("run", "") for step in job["steps"])
    assert "pull_request_target" not in workflow["on"]


def test_aws_is_reached_by_oidc_within_an_environment(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        uses_aws = any("configure-aws-credentials" in step.get("uses", "") for step in job["steps"])
        assert uses_aws == (job["permissions"].get("id-token") == "write")
        if uses_aws:
            assert "environment" in job
    assert "AWS_SECRET_ACCESS_KEY" not in str(workflow)
    assert "secrets." not in str(workflow)


def test_every_make_target_exists(workflow: dict[str, Any]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            for target in re.findall(r"make (?:-s )?([a-z]+)", step.get("run", "")):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE)
