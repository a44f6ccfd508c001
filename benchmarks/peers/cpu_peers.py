#!/usr/bin/env python3
"""Times one U-Net evaluation on the CPU in float32: ONNX Runtime, OpenVINO or PyTorch.

    python3 cpu_peers.py onnxruntime|openvino|torch MODEL [--onnx DIR] [--latent 64] [--batch 1] [--repeats 3] [--threads 2]

MODEL is a folder in diffusers layout; onnxruntime and openvino read DIR/unet.onnx, which unet_onnx.py writes of it (openvino's
reader may need --attention plain). Prints the median of the repeats, after one evaluation that warms up.
Needs numpy and the package of that name; torch needs diffusers as well.
"""
import argparse
import math
import os
import statistics
import time

import numpy as np


def inputs(channels, text_width, sinusoids, a):
    random = np.random.default_rng(0)
    half = sinusoids // 2
    angles = 500 * np.exp(-math.log(10000) * np.arange(half) / half)
    return {
        "sample": random.standard_normal((a.batch, channels, a.latent, a.latent), dtype=np.float32),
        "time": np.concatenate([np.cos(angles), np.sin(angles)])[None].astype(np.float32),
        "text": random.standard_normal((a.batch, 77, text_width), dtype=np.float32),
    }


def with_onnxruntime(a):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = a.threads, 1
    session = onnxruntime.InferenceSession(os.path.join(a.onnx, "unet.onnx"), options, providers=["CPUExecutionProvider"])
    shapes = {i.name: i.shape for i in session.get_inputs()}
    feed = inputs(shapes["sample"][1], shapes["text"][2], shapes["time"][1], a)
    return lambda: session.run(None, feed), onnxruntime.__version__


def with_openvino(a):
    import openvino

    core = openvino.Core()
    model = core.read_model(os.path.join(a.onnx, "unet.onnx"))
    sizes = {i.any_name: i.partial_shape for i in model.inputs}
    feed = inputs(sizes["sample"][1].get_length(), sizes["text"][2].get_length(), sizes["time"][1].get_length(), a)
    model.reshape({name: list(values.shape) for name, values in feed.items()})
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": a.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    )
    request = compiled.create_infer_request()
    return lambda: request.infer(feed), openvino.__version__


def with_torch(a):
    import torch
    from diffusers import UNet2DConditionModel

    torch.set_num_threads(a.threads)
    unet = UNet2DConditionModel.from_pretrained(a.model, subfolder="unet", torch_dtype=torch.float32).eval()
    feed = inputs(unet.config.in_channels, unet.config.cross_attention_dim, unet.config.block_out_channels[0], a)
    sample, text = torch.from_numpy(feed["sample"]), torch.from_numpy(feed["text"])

    @torch.inference_mode()
    def run():
        unet(sample, 500, text)

    return run, torch.__version__


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["onnxruntime", "openvino", "torch"])
    parser.add_argument("model")
    parser.add_argument("--onnx", default=".")
    for name, default in (("latent", 64), ("batch", 1), ("repeats", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    run, version = {"onnxruntime": with_onnxruntime, "openvino": with_openvino, "torch": with_torch}[a.peer](a)
    run()
    times = []
    for _ in range(a.repeats):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    spread = f"({min(times):.0f} to {max(times):.0f})"
    print(f"{a.peer} {version} {a.latent} x {a.latent} batch {a.batch}: median {statistics.median(times):.0f} ms {spread}")


if __name__ == "__main__":
    main()
