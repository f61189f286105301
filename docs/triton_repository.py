"""Write an export in Triton's folder layout: python triton_repository.py EXPORTED_FOLDER REPOSITORY/NAME.

The program takes ids: a client makes them of raw rows by the export's encoder, as docs/serving.md shows.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32"}


def config(name: str, manifest: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of config.pbtxt."""
    yield f'name: "{name}"'
    yield 'backend: "onnxruntime"'
    yield "max_batch_size: 1024"
    yield "dynamic_batching { max_queue_delay_microseconds: 200 }"
    for spec in manifest["inputs"]:
        yield described("input", spec["name"], TYPES[spec["dtype"]], spec["width"])
    for task in manifest["tasks"]:
        yield described("output", task["output"], TYPES["float32"], 0)


def described(kind: str, name: str, data_type: str, width: int) -> str:
    """Return the description of an input or output: a row has one value, or `width` of them."""
    # Each must have a dimension besides the rows.
    dims = f"[ {width} ]" if width else "[ 1 ] reshape: { shape: [ ] }"
    return f"{kind} [ {{ name: {json.dumps(name)} data_type: {data_type} dims: {dims} }} ]"


def main(export: Path, place: Path) -> None:
    """Copy the program and write its description."""
    manifest = json.loads((export / "manifest.json").read_text(encoding="utf-8"))
    (place / "1").mkdir(parents=True)
    for path in export.glob("model.onnx*"):
        shutil.copyfile(path, place / "1" / path.name)
    text = "\n".join(config(place.name, manifest)) + "\n"
    (place / "config.pbtxt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
