"""Whether the server says what to set where the cluster that it joins asks for a token."""

import click
import pytest
import ray
from click.testing import CliRunner
from ray.exceptions import AuthenticationError, RpcError

from rerank.errors import ConfigError
from serve import cluster
from serve.cluster import check_access


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The addresses of clusters that were asked; all of them refuse."""
    addresses = []

    def refuse(*, address: str) -> None:
        addresses.append(address)
        raise AuthenticationError("no")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "GcsClient", refuse)
    return addresses


def test_the_cluster_of_the_environment_is_asked(monkeypatch, asked):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ConfigError, match="cluster at 'head:6379' asks for a token: set RAY_AUTH_MODE=token, and"):
        check_access()
    assert asked == ["head:6379"]


def test_the_cluster_of_serve_run_is_asked(asked):
    command = click.Command("run", params=[click.Option(["--address"])], callback=lambda address: check_access())
    assert isinstance(CliRunner().invoke(command, ["--address", "head:6379"]).exception, ConfigError)
    assert asked == ["head:6379"]


def test_a_cluster_that_does_not_answer_is_named(monkeypatch, asked):
    def wait(*, address: str) -> None:
        raise RpcError("Timed out.")

    monkeypatch.setattr(cluster, "GcsClient", wait)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 'head:6379': Timed out$"):
        check_access()


@pytest.mark.parametrize("address", [None, "local", "auto", "ray://head:10001"])
def test_no_cluster_is_asked_where_ray_starts_one_or_finds_it(monkeypatch, asked, address):
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    check_access()
    assert not asked


def test_a_process_that_has_joined_is_let_alone(monkeypatch, asked):
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    check_access()
    assert not asked
