"""What docs/serving.md shows runs as it stands there: behind HTTP, and in Triton's layout."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuxictr_stem.serving import Scorer

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ROW = {"user": "u1", "item": "i1", "age": 1.5, "tags": "t1^t2", "author": None}
SECONDS = 60


@pytest.fixture(scope="module")
def address(served):
    """The address of the documented server, which runs in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(DOCS / "serve_http.py"), str(served.folder), str(port)]
    with subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) as server:
        try:
            stop = time.monotonic() + SECONDS
            while True:
                assert server.poll() is None
                assert time.monotonic() < stop
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def post(address, body):
    """Return the status and the answer."""
    request = urllib.request.Request(address, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_server_scores(address, served):
    scorer = Scorer(served.folder)
    columns = {name: [value, value] for name, value in ROW.items()}
    for rows in (ROW, [ROW, {**ROW, "age": 2}], columns):
        expected = {label: values.tolist() for label, values in scorer.score(rows).items()}
        status, answer = post(address, json.dumps(rows).encode())
        assert status == 200
        assert {label: pytest.approx(values) for label, values in answer.items()} == expected
    body = json.dumps(ROW).encode()
    with ThreadPoolExecutor(8) as pool:
        assert (
            len({str(answer) for answer in pool.map(lambda _: post(address, body), range(40))}) == 1
        )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (json.dumps({**ROW, "age": "old"}).encode(), ["'age'", "'old'"]),
        (json.dumps({"user": "u1"}).encode(), ["'item'", "'tags'"]),
        (b"[]", ["no rows"]),
        (b"3", ["found 'int'"]),
        (b"{user: 1}", ["Expecting property name"]),
        (b"", ["Expecting value"]),
        (b"[" * 100_000, []),
        (b"\xff\xfe\xfa", []),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(address, body, said):
    status, answer = post(address, body)
    assert status == 400
    assert list(answer) == ["error"]
    for words in said:
        assert words in answer["error"]
    assert post(address, json.dumps(ROW).encode())[0] == 200


def test_the_layout_for_triton_is_that_of_the_program(served, tmp_path):
    place = tmp_path / "repository" / "toy"
    command = [sys.executable, str(DOCS / "triton_repository.py"), str(served.folder), str(place)]
    subprocess.run(command, check=True)
    files = sorted(str(p.relative_to(place)) for p in place.rglob("*") if p.is_file())
    assert files == ["1/model.onnx", "config.pbtxt"]
    text = (place / "config.pbtxt").read_text()
    assert text.startswith('name: "toy"\nbackend: "onnxruntime"\n')
    graph = onnx.load(place / "1" / "model.onnx").graph
    types = {onnx.TensorProto.INT64: "TYPE_INT64", onnx.TensorProto.FLOAT: "TYPE_FP32"}
    for kind, values in (("input", graph.input), ("output", graph.output)):
        pattern = (
            rf'{kind} \[ {{ name: "(\w+)" data_type: (\w+) dims: \[ (\d+) \]( reshape: .*)? }} \]'
        )
        described = {
            name: (data_type, int(dims), reshape)
            for name, data_type, dims, reshape in re.findall(pattern, text)
        }
        actual = {}
        for value in values:
            tensor = value.type.tensor_type
            # What has rows alone needs a dimension, which is taken away again.
            alone = len(tensor.shape.dim) == 1
            width = 1 if alone else tensor.shape.dim[1].dim_value
            reshape = " reshape: { shape: [ ] }" if alone else ""
            actual[value.name] = (types[tensor.elem_type], width, reshape)
        assert described == actual


def test_the_document_shows_these_files():
    text = (DOCS / "serving.md").read_text()
    server = (DOCS / "serve_http.py").read_text()
    assert f"```python\n{server}```" in text
    assert "docs/triton_repository.py" in text
