"""The memory that is free: of the machine, or of a container with less."""

from fuxictr_stem.runtime import memory
from fuxictr_stem.runtime.memory import available_bytes


def test_available_memory(tmp_path, monkeypatch):
    assert 2**20 < available_bytes() < 2**50
    names = ("max", "current", "stat")
    files = [tmp_path / name for name in names]
    monkeypatch.setattr(memory, "_CGROUPS", ((f"{tmp_path}/", names),))
    machine = available_bytes()
    for content in (["5000\n", "3000\n", "anon 7\ninactive_file 400\n"], ["max\n", "3000\n", ""]):
        for file, text in zip(files, content, strict=True):
            file.write_text(text)
        limited = content[0] != "max\n"
        assert available_bytes() == 2400 if limited else available_bytes() > machine // 2
