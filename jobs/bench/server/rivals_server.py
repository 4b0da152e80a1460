"""The usual way to serve a cross-encoder: FastAPI that calls `CrossEncoder.predict` once per request."""

import argparse
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder


class Body(BaseModel):
    """A rerank request, as Cohere's clients send it."""

    query: str
    documents: list[str]


def create(location: str) -> FastAPI:
    """Return the application for a model in a folder or on the Hub; FastAPI runs its requests in threads."""
    model = CrossEncoder(location)
    api = FastAPI()

    @api.get("/readyz")
    def ready() -> None:
        """Answer as soon as the server listens, because the model is loaded before."""

    @api.post("/v1/rerank")
    def rerank(body: Body) -> dict[str, Any]:
        scores = model.predict([(body.query, document) for document in body.documents], show_progress_bar=False)
        order = (-scores).argsort().tolist()
        return {"results": [{"index": index, "relevance_score": float(scores[index])} for index in order]}

    return api


def main() -> None:
    """Serve a model on a port of this machine until stopped."""
    parser = argparse.ArgumentParser(prog="python -m jobs.bench.server.rivals_server", description=main.__doc__)
    parser.add_argument("location", help="folder or Hub id of the model")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    uvicorn.run(create(options.location), port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
