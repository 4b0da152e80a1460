"""Two ways to load a classifier, and when which is taken: both give the oracle's logits."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from rerank.config import ScorerConfig
from rerank.engines.classifier import _load_plain, load_classifier
from rerank.reranker import Reranker
from tests.models import CORPUS
from tests.rerank.test_oracle import exact

CPU = torch.device("cpu")
LOADED = """
import sys
from rerank.config import ScorerConfig
from rerank.engines import load_engine
load_engine(ScorerConfig(model=sys.argv[1], device="cpu"))
print("sentence_transformers" in sys.modules)
"""


def logits(config: ScorerConfig) -> list[float]:
    found = Reranker(config).rank(CORPUS[0], CORPUS[1:])
    return [document.logit for document in sorted(found, key=lambda document: document.index)]


def test_a_plain_classifier_is_loaded_without_sentence_transformers(folder_of):
    command = [sys.executable, "-c", LOADED, str(folder_of("bert"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_both_ways_give_the_same_model(model_folder):
    plain, whole = (
        load_classifier(exact(model_folder, trust_remote_code=asked), CPU, torch.float32) for asked in (0, 1)
    )
    assert _load_plain(exact(model_folder), torch.float32) is not None
    assert type(plain.model) is type(whole.model)
    assert (plain.takes_types, plain.model.training) == (whole.takes_types, whole.model.training)
    assert plain.model.config.to_dict() == whole.model.config.to_dict()
    theirs = whole.model.state_dict()
    assert all(torch.equal(weights, theirs[name]) for name, weights in plain.model.state_dict().items())


def test_a_folder_that_the_oracle_saved_is_left_to_it(model_folder, tmp_path):
    CrossEncoder(str(model_folder), device="cpu").save_pretrained(str(tmp_path))
    assert (tmp_path / "modules.json").exists()
    assert _load_plain(exact(tmp_path), torch.float32) is None
    assert logits(exact(tmp_path)) == pytest.approx(logits(exact(model_folder)), abs=1e-6)


def test_a_model_of_the_hub_is_loaded_from_its_cache(folder_of, hub):
    shutil.copytree(folder_of("bert"), hub / "snapshots" / ("a" * 40), dirs_exist_ok=True)
    assert _load_plain(exact("acme/ranker"), torch.float32) is not None
    assert np.array_equal(logits(exact("acme/ranker")), logits(exact(folder_of("bert"))))
