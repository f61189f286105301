"""The content of source files, large ones by samples."""

import os

from fuxictr_stem.data.cache import fingerprint as fingerprint_module
from fuxictr_stem.data.cache.fingerprint import content_digest


def test_large_files_count_by_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint_module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(fingerprint_module, "_MIB", 10)
    path = tmp_path / "large"
    data = bytes(range(200)) * 100
    path.write_bytes(data)
    first = content_digest(path)
    os.utime(path, ns=(0, 5))
    changed_time = content_digest(path)
    assert changed_time != first
    for at, seen in ((0, True), (len(data) - 1, True), (len(data) // 2, None)):
        path.write_bytes(data[:at] + b"!" + data[at + 1 :])
        os.utime(path, ns=(0, 5))
        if seen:
            assert content_digest(path) != changed_time
    path.write_bytes(data[:-1])
    os.utime(path, ns=(0, 5))
    assert content_digest(path) != changed_time
