"""Mixed precision by MXNet's AMP, where it holds.

AMP is switched on for a whole process and cannot be switched off again. So a network is first tried in a process of its
own: one step forwards and backwards on noise, whose gradients must be finite.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from detectors.segmentation.mxnet_runtime import MXNET_INPUT, load_mxnet

log = logging.getLogger(__name__)

#: Seconds that the trial may take.
TRIAL_SECONDS = 300


def switch_on_amp(target: str) -> None:
    """From here on MXNet computes convolutions and products in `target`, "bfloat16" (CPU) or "float16" (GPU).

    Concat, by both of its names, must stay in float32: the skips of a U-Net arrive in both types.
    """
    load_mxnet()
    from mxnet.contrib import amp

    lists = amp.lists.symbol_bf16 if target == "bfloat16" else amp.lists.symbol_fp16
    amp.init(target_dtype=target, fp32_ops=[*lists.FP32_FUNCS, "Concat", "concat"])


def use_amp(config, contexts) -> str:
    """Switch AMP on if it can train the network, and say so if not.

    Returns:
        What is computed in: "bfloat16", "float16", or "float32" where AMP fails.
    """
    target = "float16" if all(context.device_type == "gpu" for context in contexts) else "bfloat16"
    order = {"target": target, "size": config.crops.size, "gpu": target == "float16",
             "model": config.model.model_dump(mode="json")}
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); "
                                     "from detectors.training.precision import attempt; attempt()"]
    try:
        tried = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, timeout=TRIAL_SECONDS,
                               check=False)
        lines = tried.stderr.strip().splitlines() or [f"code {tried.returncode}"]
        failure = lines[-1] if tried.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"no answer within {TRIAL_SECONDS} s"
    if failure:
        log.warning("precision = \"amp\": %s cannot be trained in %s on this machine (%s); going on in float32",
                    config.model.network, target, failure)
        return "float32"
    switch_on_amp(target)
    return target


def attempt() -> None:
    """The trial, in its own process; the order comes as JSON on standard input. Fails by an exception."""
    import numpy as np

    from detectors.segmentation.networks import build
    from detectors.training.config import Model

    order = json.load(sys.stdin)
    mx = load_mxnet()
    switch_on_amp(order["target"])
    model = Model.model_validate({**order["model"], "pretrained": False})
    context = mx.gpu(0) if order["gpu"] else mx.cpu()
    network = build(model, context)
    network.hybridize(static_alloc=True, static_shape=True)
    noise = np.random.default_rng(0).integers(0, 255, (2, model.bands, order["size"], order["size"]))
    with mx.autograd.record():
        loss = mx.nd.log_softmax(network(mx.nd.array(noise, ctx=context, dtype=MXNET_INPUT[model.dtype])), axis=1)
        loss = -loss.slice_axis(axis=1, begin=0, end=1).mean()
    loss.backward()
    for parameter in network.collect_params().values():
        if parameter.grad_req != "null" and not np.isfinite(parameter.grad().asnumpy()).all():
            raise ArithmeticError(f"gradient of {parameter.name} is not finite")
