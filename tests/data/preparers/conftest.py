from __future__ import annotations

import pytest

from fuxictr_stem.data.preparers import raw

BLOCKS = [1000, 1 << 24]  # bytes; a thousand hold a few rows


@pytest.fixture(params=BLOCKS, ids=["many blocks", "one block"])
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", request.param)
    return request.param
