"""Language models and dense layers give the oracle's scores: packed, padded, and one pair at a time."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save
from sentence_transformers import CrossEncoder

from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.rendered import RenderedEncoder
from rerank.encoding.templated import TemplatedEncoder
from rerank.engines import load_encoder
from rerank.engines.batches import runner
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.inspect import inspect_model
from rerank.errors import TooLongError
from rerank.types import AS_THE_MODEL, TokenLimits
from tests.language_models import (
    BARE,
    DOCUMENT_FIRST,
    LANGUAGE_MODELS,
    MAX_LENGTH,
    PADDED,
    LanguageModel,
    save_language_model,
)
from tests.models import CORPUS
from tests.rerank.test_oracle import LONG, PAIRS, exact, oracle

TOLERANCE = 1e-4
# A query that fills the limit by itself costs the oracle pieces of the template.
FITTING = [(query, document) for query, document in PAIRS if len(query) < 300]


def encode(folder: Path, pairs: list[tuple[str, str]], limits: TokenLimits = AS_THE_MODEL, **options) -> EncodedPairs:
    rows = np.arange(len(pairs), dtype=np.int32)
    queries, documents = zip(*pairs, strict=True)
    return load_encoder(exact(folder, **options)).encode(queries, documents, rows, rows, limits)


def ids_of(pairs: EncodedPairs) -> list[list[int]]:
    return [pairs.join(np.array([row]))[0].tolist() for row in range(len(pairs))]


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_scores_equal_the_oracles(made, name):
    folder = made(name)
    library = CrossEncoder(str(folder), device="cpu")
    expected = oracle(library, FITTING)
    assert np.ptp(expected) > 0.5, "scores that hardly differ prove nothing"
    pairs = encode(folder, FITTING)
    assert load_encoder(exact(folder)).max_length == library.max_seq_length == MAX_LENGTH
    prompt = library.prompts.get(library.default_prompt_name)
    asked = [library[0].preprocess([pair], prompt=prompt)["input_ids"][0].tolist() for pair in FITTING]
    assert ids_of(pairs) == asked
    engines = [CrossEncoderEngine(exact(folder), packed=packed) for packed in (True, False)]
    kinds = ["padded" if name in PADDED else "packed", "padded"]
    assert [engine.description["engine"] for engine in engines] == kinds
    assert inspect_model(exact(folder)).engine == kinds[0]
    for engine in engines:
        np.testing.assert_allclose(engine.score(pairs).logits, expected, rtol=0, atol=TOLERANCE)
    alone = [engines[0].score(pairs.take(np.array([row]))).logits[0] for row in range(len(pairs))]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["qwen3-untied", "mistral-bare", "llama-pair"])
def test_an_encoder_can_be_sent_to_other_processes(made, name):
    encoder, rows = load_encoder(exact(made(name))), np.arange(len(FITTING), dtype=np.int32)
    sent = pickle.loads(pickle.dumps(encoder))
    assert ids_of(sent.encode(*zip(*FITTING, strict=True), rows, rows)) == ids_of(encode(made(name), FITTING))


def with_huge_head(folder: Path, *, rows: int) -> int:
    """Make the untied head of a model so high that reading it would show; return its bytes.

    Only the two rows that are compared are written, everything else of it is a hole in the file.
    """
    path = folder / "model.safetensors"
    weights = load_file(path)
    head = weights.pop("lm_head.weight").clone()  # not a view of the file that is written over
    content = save(weights, metadata={"format": "pt"})
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    width = head.shape[1]
    row_bytes = width * head.element_size()
    offsets = [len(data), len(data) + rows * row_bytes]
    header["lm_head.weight"] = {"dtype": "F32", "shape": [rows, width], "data_offsets": offsets}
    names = json.dumps(header).encode()
    names += b" " * (-len(names) % 8)  # numbers are read at multiples of their size
    with path.open("wb") as file:
        file.write(len(names).to_bytes(8, "little") + names + data)
        start = file.tell()
        for row in (300, 301):
            file.seek(start + row * row_bytes)
            file.write(head[row].numpy().tobytes())
        file.truncate(start + rows * row_bytes)
    return rows * row_bytes


def most_resident_memory() -> int:
    """Return the most bytes that this process held since it was last asked, pages of mapped files included."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")  # begins anew
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_untied_head_is_neither_read_nor_kept(made, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "can_reorder_weights", lambda *_: False)  # it hides weights
    folder = shutil.copytree(made("qwen3-untied"), tmp_path, dirs_exist_ok=True)
    expected = CrossEncoderEngine(exact(folder)).score(encode(folder, FITTING)).logits
    head_bytes = with_huge_head(folder, rows=2**23)
    most_resident_memory()
    before = most_resident_memory()
    engine = CrossEncoderEngine(exact(folder))
    assert most_resident_memory() - before < head_bytes / 8, "1 GiB, none of which is needed"
    np.testing.assert_array_equal(engine.score(encode(folder, FITTING)).logits, expected)
    weights = load_file(made("qwen3-untied") / "model.safetensors")
    body = sum(value.numel() for name, value in weights.items() if name != "lm_head.weight")
    assert parameters_of(engine) == body + 2 * 32 == inspect_model(exact(folder)).parameters


def test_a_tied_head_is_the_input_embedding_and_kept_once(made, monkeypatch):
    monkeypatch.setattr(runner, "can_reorder_weights", lambda *_: False)  # it hides weights
    folder = made("qwen3-prompt")
    weights = load_file(folder / "model.safetensors")
    stored = sum(value.numel() for name, value in weights.items() if name != "lm_head.weight")
    assert parameters_of(CrossEncoderEngine(exact(folder))) == stored + 2 * 32


def parameters_of(engine: CrossEncoderEngine) -> int:
    return sum(value.numel() for value in engine._forward._model.state_dict().values())


def test_the_document_is_what_is_truncated_and_the_end_stays(made):
    folder = made("qwen3-untied")
    whole, short = (ids_of(encode(folder, [(CORPUS[0], LONG)], max_length=most))[0] for most in (MAX_LENGTH, 120))
    end = load_encoder(exact(folder)).template.specials[2]
    assert len(short) == 120
    assert tuple(short[-len(end) :]) == tuple(whole[-len(end) :]) == end
    kept = 120 - len(end) - 2  # white space behind the document stays, too
    assert short[:kept] == whole[:kept]


def test_limits_of_a_request(made):
    folder = made("qwen3-untied")
    plain, cut = (encode(folder, [("x", LONG)], limits) for limits in (AS_THE_MODEL, TokenLimits(document=7)))
    assert cut.document_lengths[0] < 12 < plain.document_lengths[0]
    assert encode(folder, [("x", LONG)], TokenLimits(pair=100)).lengths.tolist() == [100]
    assert len(encode(folder, [("x", LONG)], TokenLimits(document=7, strict=True))) == 1
    with pytest.raises(TooLongError):
        encode(folder, [("x", LONG)], TokenLimits(strict=True))


@pytest.mark.parametrize(("template", "encoder"), [(DOCUMENT_FIRST, RenderedEncoder), (BARE, TemplatedEncoder)])
def test_templates_that_are_harder_to_join(tmp_path, template, encoder):
    """Where the document comes first, the oracle would cut the query of a long pair; here it is the document."""
    save_language_model(LanguageModel("Qwen2", template=template), tmp_path)
    assert type(load_encoder(exact(tmp_path))) is encoder
    short = [pair for pair in FITTING if sum(map(len, pair)) < 120]
    pairs = encode(tmp_path, short)
    expected = oracle(CrossEncoder(str(tmp_path), device="cpu"), short)
    np.testing.assert_allclose(
        CrossEncoderEngine(exact(tmp_path)).score(pairs).logits, expected, rtol=0, atol=TOLERANCE
    )
    ids = ids_of(encode(tmp_path, [("returns", LONG)]))[0]
    end = ids_of(encode(tmp_path, [("returns", "x")]))[0][-8:]
    assert len(ids) == MAX_LENGTH
    assert template is BARE or ids[-8:] == end
