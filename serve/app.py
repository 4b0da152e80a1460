"""The Serve application: one deployment of `RerankActor` per model, behind an ingress that loads no model.

`serve run serve.app:build`, `serve run serve.app:build model=FOLDER_OR_HUB_ID`, or `serve run serve/config.yaml`.
"""

import logging
import re
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from rerank.actor import RerankActor
from rerank.errors import ConfigError
from serve.cascade import CascadeScorer, CascadeStage
from serve.cluster import check_access
from serve.deployments import DeploymentScorer
from serve.http.api import create_api
from serve.http.blanks import rank_texts
from serve.http.endpoint import Server
from serve.keys import ENVIRONMENT, ApiKeys, keys_from_environment
from serve.models import Models, Scorer
from serve.settings import ServedModel, Settings, parse_settings
from serve.shadow import Shadow
from serve.telemetry.metrics import LocalSink, count_retry
from serve.telemetry.ray_metrics import BatchReporter, RaySink
from serve.telemetry.tracing import start_tracing

_LOOPBACK = re.compile(r"localhost|::1|127(\.\d+){3}")
_REQUESTS = 256  # ongoing requests per replica of a model; as many more wait before Serve refuses requests
_INGRESS_CPUS = 0.1  # the ingress only parses and renders; reserving a whole core would starve small machines
_HEALTH_PERIOD_S = 1  # after three failures in a row a replica is replaced; until then its requests are retried or fail
_LOOK_BACK_S = (12, 30)  # bounds of the averaging window for autoscaling; Ray counts requests every 10 seconds
_SHUTDOWN_MARGIN_S = 5  # beyond the request timeout, before a stopping replica is killed


@serve.ingress()
class Ingress:
    """Handles HTTP and forwards requests to the models, each of which is a deployment of its own."""

    def __init__(self, settings: Settings, deployments: dict[str, DeploymentHandle]) -> None:
        """Take the models' handles by public name. Raises ConfigError if other machines can connect without a key."""
        _log_to_stdout()
        fixed = keys_from_environment()
        api_keys = ApiKeys(settings.keys_file, fixed=fixed) if settings.keys_file or fixed else None
        if api_keys is None:
            check_address(_bound_host())
        sink, local = RaySink(), LocalSink()
        scorers = {
            name: DeploymentScorer(handle, on_retry=partial(count_retry, name, (sink, local)))
            for name, handle in deployments.items()
        }
        models, shadows = served_models(settings, scorers), shadows_of(settings, scorers)
        self._server = Server(models, settings.limits, api_keys, sink, local, start_tracing(), shadows)
        self._cors_origins = settings.cors_origins

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self._server, cors_origins=self._cors_origins)


def build(args: dict[str, Any]) -> Application:
    """Return the application for these arguments, see `serve.settings`. Raises ConfigError."""
    settings = parse_settings(args)
    check_access()
    ingress = serve.deployment(Ingress).options(
        name="ingress",
        ray_actor_options={"num_cpus": _INGRESS_CPUS},
        autoscaling_config={"min_replicas": settings.min_replicas, "max_replicas": settings.max_replicas},
        max_surge_percent=100,  # a redeploy starts the new ingress first: it needs few resources
        graceful_shutdown_timeout_s=settings.limits.timeout_s + _SHUTDOWN_MARGIN_S,
        max_ongoing_requests=4 * _REQUESTS,
        max_queued_requests=4 * _REQUESTS,  # Serve's default is unlimited
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        max_constructor_retry_count=1,  # its constructor fails only for wrong settings, which a retry does not change
    )
    deployments = {model.name: _deploy(model, settings.limits.timeout_s) for model in settings.deployed}
    return ingress.bind(settings, deployments)


def served_models(settings: Settings, deployed: Mapping[str, Scorer]) -> Models:
    """Return all models in the order of the settings: those that are `deployed`, and the cascades of them.

    A cascade may sleep if one of its stages may, and scores passages if all of its stages do.
    """
    aliases = {alias: model.name for model in settings.models for alias in model.aliases}
    may_sleep = {model.name for model in settings.deployed if model.min_replicas == 0}
    with_passages = {model.name for model in settings.deployed if model.scorer.passages is not None}
    scorers = dict(deployed)
    for cascade in settings.cascades:
        names = [aliases.get(stage.model, stage.model) for stage in cascade.stages]
        stages = [
            CascadeStage(name, deployed[name], stage.keep) for name, stage in zip(names, cascade.stages, strict=True)
        ]
        scorers[cascade.name] = CascadeScorer(stages, cascade.on_stage_failure)
        if may_sleep.intersection(names):
            may_sleep.add(cascade.name)
        if with_passages.issuperset(names):
            with_passages.add(cascade.name)
    by_name = {model.name: scorers[model.name] for model in settings.models}
    return Models(by_name, aliases, frozenset(may_sleep), frozenset(with_passages))


def shadows_of(settings: Settings, deployed: Mapping[str, Scorer]) -> dict[str, Shadow]:
    """Return the shadows by the public name of the model that they follow."""
    names = {alias: model.name for model in settings.deployed for alias in (model.name, *model.aliases)}
    shadows = {}
    for model in settings.deployed:
        if model.shadow is not None:
            name = names[model.shadow.model]
            shadows[model.name] = Shadow(model.name, name, partial(rank_texts, deployed[name]), model.shadow.share)
    return shadows


def check_address(host: str | None) -> None:
    """Raise ConfigError unless `host` is a loopback address: without API keys only this machine may connect."""
    if host is not None and not _LOOPBACK.fullmatch(host):
        raise ConfigError(
            f"http host {host} is open to other machines, and no API keys are set: set keys_file or {ENVIRONMENT}, "
            "or bind to 127.0.0.1"
        )


def _deploy(model: ServedModel, timeout_s: float) -> Application:
    look_back_s = max(_LOOK_BACK_S[0], min(_LOOK_BACK_S[1], model.upscale_delay_s, model.downscale_delay_s))
    deployment = serve.deployment(RerankActor).options(
        name=model.name.replace("/", "--"),  # Serve uses the name in metrics and paths
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
        graceful_shutdown_timeout_s=timeout_s + _SHUTDOWN_MARGIN_S,
        max_ongoing_requests=max(_REQUESTS, 2 * model.target_ongoing_requests),
        max_queued_requests=_REQUESTS,
    )
    waiting = {"max_waiting_pairs": model.max_waiting_pairs, "max_waiting_bytes": model.max_waiting_bytes}
    return deployment.bind(model.scorer, on_batch=BatchReporter(model.name), **waiting)


def _log_to_stdout() -> None:
    """Write the access log and our errors to stdout as plain lines, without the prefix that Serve's loggers add.

    In a replica, Serve replaces sys.stdout with a stream that inspects the call stack for every line; this takes
    a fifth of the time of a refused request. sys.__stdout__ does not.
    """
    logger = logging.getLogger("rerank")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler(sys.__stdout__))
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _gpus(model: ServedModel) -> float:
    """Return the GPUs of a replica: as configured, else 1 if the cluster has GPUs and the scorer may use one."""
    if model.num_gpus is not None:
        return model.num_gpus
    has_gpu = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) >= 1
    return float(has_gpu and model.scorer.device.startswith(("auto", "cuda")))


def _bound_host() -> str | None:
    """Return the address that Serve's proxies listen on; None in local testing mode, which has no proxies."""
    client = _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    return client.http_config.host if client is not None else None
