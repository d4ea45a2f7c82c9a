"""A service of a run on drawn shapes, which the tests of this folder share."""

import httpx
import pytest

from tests.serving.service import started
from tests.shapes_run import shapes_run

__all__ = ["shapes_run"]


@pytest.fixture(scope="package")
def service(shapes_run, command_environment):
    with started(shapes_run[0], command_environment) as service:
        yield service
        assert service.process.poll() is None, "the service ended"


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client
