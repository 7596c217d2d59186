"""The hub's own API describes itself whole: nothing is shadowed by another thing of the same name."""

from pathlib import Path
from typing import Any

import yaml
from django.core.management import call_command


def schema(folder: Path) -> Any:
    file = folder / "schema.yml"
    call_command("spectacular", file=str(file), validate=True, fail_on_warn=True)
    return yaml.safe_load(file.read_text())


def fields(tree: Any, method: str, path: str) -> set[str]:
    content = tree["paths"][path][method]["requestBody"]["content"]["application/json"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    return {*tree["components"]["schemas"][name]["properties"]}


def test_every_body_is_described_by_its_own_fields(tmp_path: Path) -> None:
    tree = schema(tmp_path)
    assert {"pinned", "dtype"} <= fields(tree, "patch", "/api/v1/models/{name}")
    assert {"targets", "sticky"} <= fields(tree, "patch", "/api/v1/aliases/{name}")
    assert "targets" in fields(tree, "post", "/api/v1/aliases")
    assert "files" in fields(tree, "post", "/api/v1/uploads")
    assert fields(tree, "post", "/api/v1/models/upstream") == {"base_url", "api_key"}
    (asked,) = tree["paths"]["/api/v1/models/search"]["get"]["parameters"]
    assert (asked["name"], asked["required"]) == ("q", True)
