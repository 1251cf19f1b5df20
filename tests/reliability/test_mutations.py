"""Damaged files of every kind: read, or refused by name; never another error. FASTCONV_MUTATIONS asks for more than a few."""

import os

import pytest
from reliability import mutations

from fastconv import data

COUNT = int(os.environ.get("FASTCONV_MUTATIONS", "150"))


@pytest.mark.parametrize("kind", mutations.kinds())
def test_a_damaged_file_is_read_or_refused_by_its_name(tmp_path, monkeypatch, kind):
    if kind == "safetensors":
        pytest.importorskip("safetensors")
    monkeypatch.setitem(data.cifar10.__globals__, "IMAGES", 3)
    assert mutations.mutate(kind, tmp_path, COUNT) == []
