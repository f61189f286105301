"""An exported folder is whole, or what is wrong with it is named."""

import json
import subprocess
import sys

import pytest

from fuxictr_stem.errors import DataError
from fuxictr_stem.serving.export_folder import check_export

pytest.importorskip("onnx", reason="the extra `export` is not installed")


@pytest.mark.parametrize(
    "name",
    ["model.onnx", "program.pt2", "model.safetensors", "encoder/encoder.json", "manifest.json"],
)
@pytest.mark.parametrize("damage", ["flipped", "cut", "absent", "link"])
def test_damage_is_found_by_name(exported, tmp_path, name, damage):
    path = exported / name
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.rename(tmp_path / "elsewhere")
        if damage == "link":
            path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=path.name):
        check_export(exported)


def test_only_what_is_used_is_judged(exported):
    (exported / "program.pt2").unlink()
    check_export(exported, ["model.onnx", "model.onnx.data"])
    with pytest.raises(DataError, match=r"program.pt2"):
        check_export(exported)


def test_what_is_no_export_says_so(tmp_path, exported):
    with pytest.raises(
        DataError, match=r"holds no exported run: there is no manifest.json.*Export"
    ):
        check_export(tmp_path)
    path = exported / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(DataError, match="another version of fuxictr_stem"):
        check_export(exported)


def test_judging_a_folder_loads_nothing_heavy(exported):
    code = (
        "import sys; from pathlib import Path; from fuxictr_stem.serving.export_folder import check_export;"
        "check_export(Path(sys.argv[1]));"
        "print(sorted({'torch', 'fuxictr', 'ray', 'sklearn', 'pandas', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
