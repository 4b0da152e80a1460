"""Which services of Ray a cluster of our own goes without, and that other versions of Ray keep theirs."""

import pytest
from ray._private import services
from ray._private.parameter import RayParams

from jobs.pipeline.own_cluster.services import few_services


def test_a_cluster_of_ours_has_few_services_and_others_have_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    start_server = services.start_api_server
    with few_services():
        params = RayParams()
        assert (params.no_monitor, params.include_log_monitor) == (True, False)
        assert services.start_api_server(False, False, host="127.0.0.1") == (None, None)
    params = RayParams()
    assert (params.no_monitor, params.include_log_monitor) == (False, None)
    assert services.start_api_server is start_server


def test_the_server_stays_where_usage_is_to_be_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    start_server = services.start_api_server
    with few_services():
        assert services.start_api_server is start_server


def test_a_ray_that_calls_them_otherwise_starts_what_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: RayParams, no_autoscaler: bool = False) -> None:
        self.no_monitor = no_autoscaler

    monkeypatch.setattr(RayParams, "__init__", other)
    monkeypatch.delattr(services, "start_api_server")
    with few_services():
        assert not RayParams().no_monitor
        assert not hasattr(services, "start_api_server")


def test_what_ray_starts_is_given_back_after_an_error() -> None:
    init = RayParams.__init__
    with pytest.raises(RuntimeError, match="no port"), few_services():
        raise RuntimeError("no port")
    assert RayParams.__init__ is init
