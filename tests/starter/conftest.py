"""A folder with files of logs, in which `init` is called."""

import pytest

from fuxictr_stem.cli import main
from tests.support.logs_of_a_shop import logs


@pytest.fixture
def shop(tmp_path, monkeypatch, root_logging):
    """A folder with logs.csv and logs.parquet; call it to run `init`."""
    monkeypatch.chdir(tmp_path)
    logs().write_csv("logs.csv")
    logs().write_parquet("logs.parquet")

    def init(data="logs.csv", labels="click,buy", out="config/shop", **options):
        more = [text for key, value in options.items() for text in (f"--{key}", value)]
        return main(["init", "--data", data, "--labels", labels, "--out", out, *more])

    init.folder = tmp_path
    return init
