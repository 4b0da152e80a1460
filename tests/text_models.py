"""Tiny models that encode texts by themselves, with random weights, saved by sentence-transformers' own classes."""

import json
import string
from pathlib import Path
from shutil import copytree
from typing import Any

WIDTH = 16  # of the vectors


def make_late_interaction(
    body: Path,
    folder: Path,
    *,
    skiplist: list[str] | None = None,
    skipped_tasks: list[str] | None = None,
    similarity: str = "maxsim",
    prompts: dict[str, str] | None = None,
    **options: Any,
) -> None:
    """Save a MultiVectorEncoder on the transformer in `body`; `options` are those of its Transformer module."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(7)
    transformer = Transformer(str(body), **options)
    dense = Dense(
        transformer.get_embedding_dimension(),
        WIDTH,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    mask = MultiVectorMask(skiplist, skiplist_tasks=skipped_tasks)
    modules = [transformer, dense, mask, Normalize(module_input_name="token_embeddings")]
    MultiVectorEncoder(modules=modules, prompts=prompts, similarity_fn_name=similarity).save_pretrained(str(folder))


def make_pylate(body: Path, folder: Path, *, settings: dict[str, Any]) -> None:
    """Save a model as PyLate 1 did: a Transformer and a Dense module, everything else in one file."""
    make_late_interaction(body, folder)
    modules = json.loads((folder / "modules.json").read_text())[:2]
    modules[1]["type"] = "pylate.models.Dense.Dense"
    (folder / "modules.json").write_text(json.dumps(modules))
    library = {"model_type": "ColBERT", "prompts": {}, "similarity_fn_name": "MaxSim", **settings}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(library))


def make_stanford(body: Path, folder: Path, *, metadata: dict[str, Any]) -> None:
    """Save a model as Stanford's ColBERT did: a transformer with the projection beside its weights."""
    import torch
    from safetensors.torch import load_file, save_file

    copytree(body, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(7)
    weights["linear.weight"] = torch.randn(WIDTH, config["hidden_size"], generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "artifact.metadata").write_text(json.dumps(metadata))


def make_vectors(
    body: Path,
    folder: Path,
    *,
    pooling: str = "mean",
    similarity: str = "cosine",
    normalizes: bool = True,
    dense: bool = False,
    prompts: dict[str, str] | None = None,
    **options: Any,
) -> None:
    """Save a SentenceTransformer on the transformer in `body`; `options` are those of its Transformer module."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(7)
    transformer = Transformer(str(body), **options)
    width = transformer.get_embedding_dimension()
    modules = [transformer, Pooling(width, pooling_mode=pooling)]
    modules += [Dense(width, WIDTH)] if dense else []
    modules += [Normalize()] if normalizes else []
    SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name=similarity).save_pretrained(str(folder))


PUNCTUATION = list(string.punctuation)
