"""The service is what its OpenAPI says, whatever is asked of it: schemathesis asks."""

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

UNDESCRIBED = [positive_data_acceptance, negative_data_rejection]  # which bytes are an image, no schema says
EXAMPLES = 25  # of each path and method, right ones and wrong ones


@pytest.mark.slow
def test_every_answer_is_one_that_the_description_promises(service, client, shapes_run):
    images = [path.read_bytes() for path in shapes_run[1][::6]]
    anything = st.one_of(st.sampled_from(images), st.binary(max_size=2000))
    described = client.get("/openapi.json").json()
    content = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    for kind in content:
        if kind != "multipart/form-data":
            schemathesis.openapi.media_type(kind, anything)
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    codes = set()
    for operation in schema.get_all_operations():
        for mode in schemathesis.GenerationMode:

            @hypothesis.seed(20)
            @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(case=operation.ok().as_strategy(generation_mode=mode))
            def asked(case):
                codes.add(case.call_and_validate(excluded_checks=UNDESCRIBED).status_code)

            try:
                asked()
            except Unsatisfiable:  # what takes nothing, takes nothing that is wrong
                assert mode is schemathesis.GenerationMode.NEGATIVE
                assert operation.ok().method == "get"
    assert {200, 422} <= codes
    assert client.get("/healthz").status_code == 200
