"""Terraform's own tests fail when a policy, a route or a key is broken."""

from pathlib import Path

import pytest

from localstack import offline

BROKEN = [
    ("key", "main.tf", "enable_key_rotation     = true", "enable_key_rotation     = false"),
    ("key", "main.tf", '"kms:CancelKeyDeletion",', '"kms:*",'),
    ("http_api", "main.tf", 'authorization_type = "CUSTOM"', 'authorization_type = "NONE"'),
    ("http_api", "main.tf", "for_each = var.routes", 'for_each = { "GET /other" = "things" }'),
    ("websocket_api", "main.tf", '? "CUSTOM" : "NONE"', '? "NONE" : "NONE"'),
    ("function", "main.tf", 'actions = ["kms:Decrypt"]', 'actions = ["kms:*"]'),
    ("state_machine", "main.tf", '["lambda:InvokeFunction"]', '["lambda:*"]'),
    ("bucket", "main.tf", 'Effect    = "Deny"', 'Effect    = "Allow"'),
    ("bucket", "main.tf", "block_public_policy     = true", "block_public_policy     = false"),
    ("database", "main.tf", '"logs:PutLogEvents",', '"logs:*",'),
    ("database", "main.tf", "storage_encrypted = true", "storage_encrypted = false"),
    ("edge", "main.tf", "web_acl_id      = aws_wafv2_web_acl.this.arn", ""),
    ("backup", "main.tf", "kms_key_arn = var.kms_key_arn", ""),
    ("collection", "main.tf", "AWSOwnedKey = false", "AWSOwnedKey = true"),
]


@pytest.mark.parametrize(
    ("module", "file", "whole", "broken"), BROKEN, ids=[f"{row[0]}: {row[3]}" for row in BROKEN]
)
def test_module_fails_its_test_when_it_is_broken(
    root: Path, module: str, file: str, whole: str, broken: str
) -> None:
    source = root / "modules" / module / file
    text = source.read_text(encoding="utf-8")
    assert whole in text
    source.write_text(text.replace(whole, broken, 1), encoding="utf-8")
    try:
        with pytest.raises(SystemExit, match=r"terraform test failed[\s\S]*Test assertion failed"):
            offline.run(root, "test", "-no-color", f"-filter=tests/{module}.tftest.hcl")
    finally:
        source.write_text(text, encoding="utf-8")


def test_every_module_has_a_test(root: Path) -> None:
    modules = {path.name for path in (root / "modules").iterdir()}
    files = (root / "tests").glob("*.tftest.hcl")
    tested = {path.name.removesuffix(".tftest.hcl") for path in files}
    assert tested == modules | {"root"}
    assert {row[0] for row in BROKEN} == modules
