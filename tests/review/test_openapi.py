"""The interface is as described, whatever is sent: schemathesis reads the OpenAPI document and makes requests up."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from review.site import Site, take
from unface.review.store import open_store
from unface.review.throttle import Throttle

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    store = open_store(str(folder / "review.db"), create=True)
    site = Site(store, folder / "src")
    site.desk.callers = site.desk.strangers = Throttle(1e9, 1e9, lambda: 0.0)
    site.headers = {"Authorization": f"Bearer {site.token('ida', 'admin')}", "Host": "127.0.0.1"}
    yield site
    store.close()


OPERATIONS = 20


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("number", range(OPERATIONS))
def test_no_request_breaks_the_server(site, number, mode):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", site.app, headers={"Host": "127.0.0.1"})
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    operation = operations[number]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        return  # takes nothing that could be wrong
    ida = site.client(site.headers["Authorization"].removeprefix("Bearer "))

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def send(case):
        case.call_and_validate(headers=site.headers, checks=CHECKS)
        if "task_id" in (case.path_parameters or {}):
            task = take(ida)
            case.path_parameters["task_id"] = task["id"] if task else 1
            if "position" in case.path_parameters:
                case.path_parameters["position"] = 0
            case.call_and_validate(headers=site.headers, checks=CHECKS)

    send()
