"""A cache of decoded images of its own for each test."""

import pytest


@pytest.fixture(autouse=True)
def image_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FLAXCNN_CACHE", str(tmp_path_factory.mktemp("cache")))
