"""A dataset of an h5 file is in the file itself, or is not read."""

import h5py
import numpy as np
import pytest

from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.h5_files import local_dataset


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "elsewhere.h5", "w") as elsewhere:
        elsewhere["user"] = np.arange(3)
    (tmp_path / "raw.bin").write_bytes(bytes(24))
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["user"] = np.arange(3)
        file["soft"] = h5py.SoftLink("/user")
        file["gone"] = h5py.SoftLink("/nothing")
        file["external"] = h5py.ExternalLink("elsewhere.h5", "user")
        file.create_dataset("raw", (3,), "i8", external=[(tmp_path / "raw.bin", 0, 24)])
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource(tmp_path / "elsewhere.h5", "user", (3,))
        file.create_virtual_dataset("virtual", layout)
        file.create_group("group")
        yield file


def test_a_dataset_of_the_file_is_returned(file):
    assert local_dataset(file, "user")[:].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("usr", "has no column 'usr'.*Did you mean 'user'"),
        ("soft", "column 'soft' is a link to elsewhere"),
        ("gone", "column 'gone' is a link to elsewhere"),
        ("external", "column 'external' is a link to elsewhere"),
        ("raw", "column 'raw' is stored elsewhere"),
        ("virtual", "column 'virtual' is stored elsewhere"),
        ("group", "column 'group' is stored elsewhere"),
    ],
)
def test_what_is_not_in_the_file_is_rejected_by_name(file, name, message):
    with pytest.raises(DataError, match=message) as caught:
        local_dataset(file, name)
    assert "rows.h5" in str(caught.value)
