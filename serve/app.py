"""The Serve application: one deployment of the shared actor class per model, behind a thin ingress.

`serve run serve.app:build`, `serve run serve.app:build model=FOLDER_OR_HUB_ID`, or `serve run serve/config.yaml`.
"""

import logging
import re
import sys
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from rerank.actor import RerankActor
from rerank.errors import ConfigError
from serve.deployments import DeploymentScorer
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.keys import ENVIRONMENT, Keys, keys_from_environment
from serve.models import Models
from serve.settings import ServedModel, Settings, parse_settings
from serve.telemetry.ray_metrics import RaySink

_LOOPBACK = re.compile(r"localhost|::1|127(\.\d+){3}")
_REQUESTS = 256  # of a model, at work in one replica; as many again wait for a replica before Serve refuses them
_INGRESS_CPUS = 0.1  # it parses and renders; a whole core would be missing from small machines
_HEALTH_PERIOD_S = 1  # three failures in a row replace a replica, whose requests are asked again or fail until then
_LOOK_BACK_S = (12, 30)  # requests are averaged over the shorter delay within these; Ray counts them every 10 seconds
_TO_LEAVE_S = 5  # beyond the longest time that a request may take, until a replica that stops is killed


@serve.ingress()
class Ingress:
    """Speaks HTTP and holds handles; models live in deployments of their own."""

    def __init__(self, settings: Settings, deployments: dict[str, DeploymentHandle]) -> None:
        """Take over the handles by public name. Raises ConfigError where anybody could ask from anywhere."""
        named = keys_from_environment()
        keys = Keys(settings.keys_file, fixed=named) if settings.keys_file or named else None
        if keys is None:
            check_address(_bound_host())
        aliases = {alias: model.name for model in settings.models for alias in model.aliases}
        scorers = {name: DeploymentScorer(handle) for name, handle in deployments.items()}
        may_sleep = frozenset(model.name for model in settings.models if model.min_replicas == 0)
        self._server = Server(Models(scorers, aliases, may_sleep), settings.limits, keys, RaySink())
        _log_to_stdout()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._server)


def build(args: dict[str, Any]) -> Application:
    """The application for these arguments, see `serve.settings`. Raises ConfigError."""
    settings = parse_settings(args)
    ingress = serve.deployment(Ingress).options(
        name="ingress",
        ray_actor_options={"num_cpus": _INGRESS_CPUS},
        autoscaling_config={"min_replicas": settings.min_replicas, "max_replicas": settings.max_replicas},
        max_surge_percent=100,  # a redeploy starts the new one first; it takes next to nothing
        graceful_shutdown_timeout_s=settings.limits.timeout_s + _TO_LEAVE_S,
        max_ongoing_requests=4 * _REQUESTS,
        max_queued_requests=4 * _REQUESTS,  # Serve's default is no bound at all
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        max_constructor_retry_count=1,  # what fails in its constructor is a setting, which no retry changes
    )
    longest = settings.limits.timeout_s
    return ingress.bind(settings, {model.name: _deploy(model, longest) for model in settings.models})


def check_address(host: str | None) -> None:
    """Without keys only this machine may ask. Raises ConfigError for another address."""
    if host is not None and not _LOOPBACK.fullmatch(host):
        raise ConfigError(
            f"http host {host} is open to other machines, and no API keys are set: set keys_file or {ENVIRONMENT}, "
            "or bind to 127.0.0.1"
        )


def _deploy(model: ServedModel, timeout_s: float) -> Application:
    look_back_s = max(_LOOK_BACK_S[0], min(_LOOK_BACK_S[1], model.upscale_delay_s, model.downscale_delay_s))
    deployment = serve.deployment(RerankActor).options(
        name=model.name.replace("/", "--"),  # Serve's own names stand in metrics and paths
        ray_actor_options={"num_cpus": model.num_cpus, "num_gpus": _gpus(model)},
        autoscaling_config={
            "min_replicas": model.min_replicas,
            "max_replicas": model.max_replicas,
            "target_ongoing_requests": model.target_ongoing_requests,
            "upscale_delay_s": model.upscale_delay_s,
            "downscale_delay_s": model.downscale_delay_s,
            "look_back_period_s": look_back_s,
        },
        max_surge_percent=model.max_surge_percent,
        health_check_period_s=_HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=timeout_s + _TO_LEAVE_S,
        max_ongoing_requests=max(_REQUESTS, 2 * model.target_ongoing_requests),
        max_queued_requests=_REQUESTS,
    )
    return deployment.bind(model.scorer, max_waiting_pairs=model.max_waiting_pairs)


def _log_to_stdout() -> None:
    """Give the access log and our errors lines of their own; Serve's loggers wrap theirs.

    In a replica sys.stdout is Serve's, which walks the stack for each line: a fifth of the time of a request refused.
    """
    logger = logging.getLogger("rerank")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.__stdout__))
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _gpus(model: ServedModel) -> float:
    """GPUs of a replica: as set, else one where the cluster has any and the scorer may use it."""
    if model.num_gpus is not None:
        return model.num_gpus
    has_gpu = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) >= 1
    return float(has_gpu and model.scorer.device.startswith(("auto", "cuda")))


def _bound_host() -> str | None:
    """The address that Serve's proxies listen on; None in local testing mode, where none does."""
    client = _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    return client.http_config.host if client is not None else None
