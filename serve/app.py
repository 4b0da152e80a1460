"""The Serve application: one deployment of the shared actor class per model, behind a thin ingress.

`serve run serve.app:build model=cross-encoder/ms-marco-MiniLM-L6-v2`
"""

from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from rerank.actor import RerankActor
from rerank.config import ScorerConfig, parse_config
from serve.api import create_api
from serve.deployments import DeploymentScorer
from serve.endpoint import Server
from serve.models import Models


@serve.ingress()
class Ingress:
    """Speaks HTTP and holds handles; models live in deployments of their own."""

    def __init__(self, deployments: dict[str, DeploymentHandle]) -> None:
        self._models = Models({name: DeploymentScorer(handle) for name, handle in deployments.items()})

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(Server(self._models))


def build(args: dict[str, Any]) -> Application:
    """The application for these settings, see `rerank.config.ScorerConfig`. Raises ConfigError."""
    config = parse_config(ScorerConfig, args, source="application arguments")
    deployment = serve.deployment(RerankActor).options(name=config.model, ray_actor_options=_resources(config))
    return serve.deployment(Ingress).options(name="ingress").bind({config.model: deployment.bind(config)})


def _resources(config: ScorerConfig) -> dict[str, float]:
    """A GPU for the model where the cluster has one and the settings do not say otherwise."""
    has_gpu = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) >= 1
    return {"num_cpus": 1, "num_gpus": int(has_gpu and config.device in {"auto", "cuda"})}
