"""Whether a cluster lets us in, and what we are told where it does not."""

import pytest
import ray
from ray.exceptions import AuthenticationError, RpcError

from jobs.pipeline.cluster import connect, connection
from rerank.errors import ConfigError


@pytest.mark.parametrize(
    ("answer", "has_mode", "complaint"),
    [
        (AuthenticationError("no"), False, "cluster at 'head:1' asks for a token: set RAY_AUTH_MODE=token and put "),
        (
            AuthenticationError("no"),
            True,
            "cluster at 'head:1' refuses this token: put the token that `ray",
        ),
        (RpcError("Timed out."), True, "no Ray cluster answers at 'head:1': Timed out$"),
        (ValueError("Invalid"), True, "address of a Ray cluster must be HOST:PORT, got 'head:1'"),
    ],
)
def test_a_cluster_that_cannot_be_joined_says_what_to_set(monkeypatch, answer, has_mode, complaint):
    def ask(*, address: str) -> None:
        raise answer

    monkeypatch.setattr(connection, "GcsClient", ask)
    monkeypatch.setattr(connection, "ensure_token_if_auth_enabled", lambda *, create_token_if_missing: None)
    monkeypatch.setattr(connection, "is_token_auth_enabled", lambda: has_mode)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("the cluster was not asked before"))
    with pytest.raises(ConfigError, match=complaint):
        connect(address="head:1", verbose=True)
