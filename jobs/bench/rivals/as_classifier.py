"""A language model's own weights as a decoder classifier, with which its speed is compared."""

from tempfile import TemporaryDirectory

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rerank.config import ScorerConfig
from rerank.engines.contract import Engine
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.device.choices import pick_device, pick_dtype
from rerank.engines.language_model import load_language_model, without_report


def as_classifier(config: ScorerConfig) -> Engine:
    """Return the engine of the same weights as a decoder classifier: its score is one row, times the last state."""
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    rows = load_language_model(config, device, dtype).model.score.rows
    with without_report():  # which would complain about the classifier
        model = AutoModelForSequenceClassification.from_pretrained(config.location, num_labels=1, dtype=dtype)
    model.score.weight.data.copy_(rows[:1] - rows[1:] if len(rows) == 2 else rows)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(config.location).save_pretrained(folder)
        return CrossEncoderEngine(config.model_copy(update={"model": folder, "revision": None, "content": None}))
