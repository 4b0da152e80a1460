"""ONNX Runtime and OpenVINO on a CPU, at their best: batches sorted by length, in each precision that they have.

Both run the graph that PyTorch exports. ONNX Runtime's int8 quantises activations as they come. OpenVINO's is NNCF's,
calibrated on a sample, with bf16 around it where the processor has that.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from jobs.bench.rivals.rival import Rival, Texts, fastest_batch
from rerank.engines.device.choices import pick_dtype
from rerank.engines.device.cores import available_cores

Batch = dict[str, Any]  # arrays [rows, tokens] by the name of the model's input
Run = Callable[[Iterable[Batch]], list[Any]]  # logits [rows, 1] of each batch

_BATCHES = (8, 32, 128)
_EXAMPLE = [("a query", "a document of a few words"), ("another query", "another document")]


def exported_rivals(model: CrossEncoder, sample: Texts) -> list[Rival]:
    """Return the two libraries, as far as they are installed, with the weights of a model in float32.

    NNCF calibrates on `sample`, and each library has the batch size that is fastest on it.
    """
    makers = {"onnxruntime": _onnx_runtime, "openvino": _openvino}
    runs = [run for package, make in makers.items() if find_spec(package) for run in make(model, sample)]
    return [_rival(name, run, model, sample) for name, run in runs]


def _rival(name: str, run: Run, model: CrossEncoder, sample: Texts) -> Rival:
    batch = fastest_batch(lambda pairs, size: run(_batches(model, pairs, size)), sample, _BATCHES)

    def score(pairs: Texts) -> int:
        tokens = 0

        def counted() -> Iterator[Batch]:
            nonlocal tokens
            for inputs in _batches(model, pairs, batch):
                tokens += inputs["input_ids"].size
                yield inputs

        run(counted())
        return tokens

    return Rival(f"{name}, batch {batch}", score)


def _batches(model: CrossEncoder, pairs: Texts, size: int) -> Iterator[Batch]:
    """Yield the pairs, longest first, in batches that are padded to their longest."""
    tokenizer: Any = model.tokenizer
    rows = tokenizer(list(pairs), truncation=True, max_length=model.max_seq_length)
    order = np.argsort([-len(ids) for ids in rows["input_ids"]], kind="stable").tolist()
    for start in range(0, len(order), size):
        batch = {name: [values[place] for place in order[start : start + size]] for name, values in rows.items()}
        yield dict(tokenizer.pad(batch, return_tensors="np"))


def _example(model: CrossEncoder) -> dict[str, torch.Tensor]:
    """Return the inputs with which the graph is traced."""
    return {name: torch.from_numpy(values) for name, values in next(_batches(model, _EXAMPLE, 2)).items()}


def _onnx_runtime(model: CrossEncoder, sample: Texts) -> list[tuple[str, Run]]:
    """Return ONNX Runtime in float32 and in int8."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    example = _example(model)
    axes = {name: dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC) for name in example}

    def run(session: Any, batches: Iterable[Batch]) -> list[Any]:
        return [session.run(None, inputs)[0] for inputs in batches]

    with TemporaryDirectory() as folder:
        files = {"float32": Path(folder, "float32.onnx"), "int8": Path(folder, "int8.onnx")}
        torch.onnx.export(
            model[0].model, kwargs=example, f=files["float32"], dynamic_shapes=axes, dynamo=True, verbose=False
        )
        quantize_dynamic(files["float32"], files["int8"], weight_type=QuantType.QInt8, per_channel=True)
        sessions = {name: onnxruntime.InferenceSession(file, options) for name, file in files.items()}
    return [(f"ONNX Runtime {name}", partial(run, session)) for name, session in sessions.items()]


def _openvino(model: CrossEncoder, sample: Texts) -> list[tuple[str, Run]]:
    """Return OpenVINO in the fastest precision of this processor, and in int8 if NNCF is installed."""
    import openvino

    fastest = "bf16" if pick_dtype("auto", torch.device("cpu")) == torch.bfloat16 else "f32"
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": fastest}
    graph = openvino.convert_model(model[0].model, example_input=_example(model))
    graphs = {fastest: graph}
    if find_spec("nncf"):
        import nncf

        calibration = nncf.Dataset(list(_batches(model, sample, 1)))
        graphs[f"int8 by NNCF and {fastest}"] = nncf.quantize(
            graph, calibration, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(sample)
        )

    def run(compiled: Any, batches: Iterable[Batch]) -> list[Any]:
        logits: dict[int, Any] = {}
        queue = openvino.AsyncInferQueue(compiled)
        queue.set_callback(lambda request, place: logits.update({place: request.get_output_tensor().data.copy()}))
        for place, inputs in enumerate(batches):
            queue.start_async(inputs, place)
        queue.wait_all()
        return [logits[place] for place in sorted(logits)]

    compiled = {name: openvino.compile_model(graph, "CPU", settings) for name, graph in graphs.items()}
    return [(f"OpenVINO {name}", partial(run, network)) for name, network in compiled.items()]
