"""Check that the Ray cluster which `serve run` is about to join lets this process in."""

import os

import click
import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._raylet import GcsClient  # type: ignore[attr-defined] # Ray's stub leaves it out
from ray.exceptions import AuthenticationError, RpcError

from rerank.errors import ConfigError


def check_access() -> None:
    """Raise ConfigError if the cluster at --address or RAY_ADDRESS asks for a token, or if none answers.

    Ray would try 20 times, and then not say that a token is missing.
    """
    address = _address()
    if ray.is_initialized() or address in (None, "local", "auto") or "://" in address:
        return
    try:
        ensure_token_if_auth_enabled(create_token_if_missing=False)  # the client would abort a process without a token
        GcsClient(address=address)
    except AuthenticationError as problem:
        raise ConfigError(
            f"the Ray cluster at {address!r} asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the "
            "token that `ray get-auth-token` prints on the head"
        ) from problem
    except RpcError as problem:
        raise ConfigError(f"no Ray cluster answers at {address!r}: {str(problem).rstrip('.')}") from problem


def _address() -> str | None:
    """Return the address that `serve run` is given, or else RAY_ADDRESS."""
    command = click.get_current_context(silent=True)
    return (command and command.params.get("address")) or os.environ.get("RAY_ADDRESS")
