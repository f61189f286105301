"""Every key in words and as JSON schemas: the files for editors are current and fit what is shipped."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fuxictr_stem.cli import main
from fuxictr_stem.config.reading import must_be
from fuxictr_stem.key_list import SECTIONS, json_schemas

CONFIG = Path(__file__).parents[1] / "config"
SHIPPED = [file for kind in json_schemas() for file in sorted((CONFIG / kind).glob("*.yaml"))]


def test_keys_are_explained(capsys):
    assert main(["keys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for heading, fields in SECTIONS.values():
        assert any(line.endswith(heading) for line in lines)
        for key, field in fields.items():
            assert any(re.fullmatch(rf"  {re.escape(key)}(: .+|  .required.)?", t) for t in lines)
            assert any(field.description in line and must_be(field) in line for line in lines)
    assert "  seed: 2023" in lines
    assert "  model  (required)" in lines
    rule = "seed of the first weights and the order of rows; must be a whole number from 0 to 4294967295"
    assert f"      {rule}" in lines
    assert main(["keys", "label"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("label: ")
    assert "learning_rate" not in said
    assert main(["keys", "lable"]) == 2
    assert "Did you mean 'label'" in capsys.readouterr().err


def test_the_schemas_for_editors_are_current(tmp_path, capsys):
    """If not: ``python -m fuxictr_stem keys --json-schema config/schema``."""
    assert main(["keys", "--json-schema", str(tmp_path)]) == 0
    assert "model_config.json" in capsys.readouterr().out
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in (CONFIG / "schema").iterdir()}


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["keys", "--json-schema", str(tmp_path / "file" / "schemas")]) == 2
    assert "--json-schema: the folder" in capsys.readouterr().err


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_what_is_shipped_names_its_schema_and_fits_it(file):
    jsonschema = pytest.importorskip("jsonschema")
    text = file.read_text()
    first, _, _ = text.partition("\n")
    assert first.startswith("# yaml-language-server: $schema=")
    schema = json.loads((file.parent / first.rpartition("=")[2]).read_text())
    assert schema == json.loads(json.dumps(json_schemas()[file.parent.name]))
    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("model_config", "STEMNet_test", {"batchsize": 3}),
        ("model_config", "STEMNet_test", {"batch_size": "3"}),
        ("model_config", "STEMNet_test", {"batch_size": 0}),
        ("model_config", "STEMNet_test", {"metrics": ["auc"]}),
        ("dataset_config", "tiktok", {"train_data": 3}),
        ("dataset_config", "tiktok", {"label_col": [{"name": "y", "dtype": "str"}]}),
        ("dataset_config", "tiktok", {"feature_cols": [{"name": "y", "typ": "meta"}]}),
    ],
)
def test_a_schema_finds_a_mistake(kind, name, change):
    jsonschema = pytest.importorskip("jsonschema")
    files = (yaml.safe_load(file.read_text()) for file in (CONFIG / kind).glob("*.yaml"))
    content = next(sections for sections in files if name in sections)
    content[name] |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json_schemas()[kind])
