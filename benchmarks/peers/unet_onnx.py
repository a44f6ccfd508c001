#!/usr/bin/env python3
"""Writes the U-Net of a Stable Diffusion 1.x folder (diffusers layout) as an ONNX model in float32.

    python3 unet_onnx.py MODEL OUT [--attention fused|plain]

MODEL/unet holds config.json and diffusion_pytorch_model.safetensors; OUT gets unet.onnx and unet.data (3.4 GB at full size).
Inputs: sample [B, 4, h, w], time [1, channels] (the sinusoids of a time step), text [B, tokens, width]; output: prediction.
"fused" writes attention as the com.microsoft operator that ONNX Runtime has kernels for, "plain" as products and a softmax.
Needs numpy and onnx.
"""
import argparse
import json
import math
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from safetensors_file import Weights


class Graph:
    """Nodes, and weights in a file beside the model (a model by itself ends at 2 GB)."""

    def __init__(self, weights, folder):
        self.weights = weights
        self.data = open(os.path.join(folder, "unet.data"), "wb")
        self.nodes, self.initializers, self.made, self.count = [], [], {}, 0

    def name(self):
        self.count += 1
        return f"n{self.count}"

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values, kind=np.int64):
        name = self.name()
        self.initializers.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def weight(self, tensor, transposed=False, shape=None):
        key = (tensor, transposed, shape)
        if key in self.made:
            return self.made[key]
        values = self.weights[tensor]
        if transposed:
            values = values.reshape(values.shape[0], -1).T
        if shape:
            values = values.reshape(shape)
        values = np.ascontiguousarray(values, np.float32)
        self.data.write(b"\0" * (-self.data.tell() % 4096))
        proto = TensorProto(name=f"{tensor}{'.T' if transposed else ''}", data_type=TensorProto.FLOAT, dims=values.shape)
        proto.data_location = TensorProto.EXTERNAL
        for name, value in (("location", "unet.data"), ("offset", self.data.tell()), ("length", values.nbytes)):
            proto.external_data.add(key=name, value=str(value))
        self.data.write(values.tobytes())
        self.initializers.append(proto)
        self.made[key] = proto.name
        return proto.name


class UNet:
    def __init__(self, graph, config, fused):
        self.g, self.config, self.fused = graph, config, fused
        self.groups = config.get("norm_num_groups", 32)

    def conv(self, x, p, stride=1, kernel=3):
        return self.g.op(
            "Conv", x, self.g.weight(p + ".weight"), self.g.weight(p + ".bias"),
            kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4, strides=[stride, stride],
        )

    def linear(self, x, p):
        y = self.g.op("MatMul", x, self.g.weight(p + ".weight", transposed=True))
        return self.g.op("Add", y, self.g.weight(p + ".bias")) if p + ".bias" in self.g.weights else y

    def pointwise(self, x, p):
        return self.conv(x, p, kernel=1)

    def group_norm(self, x, p, channels, epsilon):
        flat = self.g.op("Reshape", x, self.g.constant([0, self.groups, -1]))
        ones, zeros = (self.g.constant(np.full(self.groups, v), np.float32) for v in (1, 0))
        y = self.g.op("InstanceNormalization", flat, ones, zeros, epsilon=epsilon)
        y = self.g.op("Reshape", y, self.g.op("Shape", x))
        y = self.g.op("Mul", y, self.g.weight(p + ".weight", shape=(channels, 1, 1)))
        return self.g.op("Add", y, self.g.weight(p + ".bias", shape=(channels, 1, 1)))

    def layer_norm(self, x, p):
        return self.g.op("LayerNormalization", x, self.g.weight(p + ".weight"), self.g.weight(p + ".bias"), axis=-1, epsilon=1e-5)

    def silu(self, x):
        return self.g.op("Mul", x, self.g.op("Sigmoid", x))

    def gelu(self, x):
        erf = self.g.op("Erf", self.g.op("Div", x, self.g.constant(math.sqrt(2), np.float32)))
        half = self.g.op("Mul", self.g.op("Add", erf, self.g.constant(1, np.float32)), self.g.constant(0.5, np.float32))
        return self.g.op("Mul", x, half)

    def resnet(self, x, time, p, inputs, outputs):
        y = self.conv(self.silu(self.group_norm(x, p + ".norm1", inputs, 1e-5)), p + ".conv1")
        t = self.linear(self.silu(time), p + ".time_emb_proj")
        y = self.g.op("Add", y, self.g.op("Reshape", t, self.g.constant([-1, outputs, 1, 1])))
        y = self.conv(self.silu(self.group_norm(y, p + ".norm2", outputs, 1e-5)), p + ".conv2")
        return self.g.op("Add", y, x if inputs == outputs else self.pointwise(x, p + ".conv_shortcut"))

    def attention(self, x, context, p, heads, channels):
        q, k, v = (self.linear(s, f"{p}.to_{n}") for n, s in (("q", x), ("k", context), ("v", context)))
        if self.fused:
            y = self.g.op("MultiHeadAttention", q, k, v, domain="com.microsoft", num_heads=heads)
        else:
            split = self.g.constant([0, 0, heads, channels // heads])
            q, k, v = (
                self.g.op("Transpose", self.g.op("Reshape", s, split), perm=perm)
                for s, perm in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3]))
            )
            scores = self.g.op("Mul", self.g.op("MatMul", q, k), self.g.constant((channels // heads) ** -0.5, np.float32))
            y = self.g.op("MatMul", self.g.op("Softmax", scores, axis=-1), v)
            y = self.g.op("Reshape", self.g.op("Transpose", y, perm=[0, 2, 1, 3]), self.g.constant([0, 0, channels]))
        return self.linear(y, p + ".to_out.0")

    def transformer(self, x, text, p, channels, heads):
        y = self.pointwise(self.group_norm(x, p + ".norm", channels, 1e-6), p + ".proj_in")
        size = self.g.op("Shape", y)
        y = self.g.op("Reshape", self.g.op("Transpose", y, perm=[0, 2, 3, 1]), self.g.constant([0, -1, channels]))
        b = p + ".transformer_blocks.0"
        n = self.layer_norm(y, b + ".norm1")
        y = self.g.op("Add", y, self.attention(n, n, b + ".attn1", heads, channels))
        y = self.g.op("Add", y, self.attention(self.layer_norm(y, b + ".norm2"), text, b + ".attn2", heads, channels))
        up = self.linear(self.layer_norm(y, b + ".norm3"), b + ".ff.net.0.proj")
        values, gates = self.g.op("Split", up, self.g.constant([4 * channels] * 2), outputs=2, axis=-1)
        y = self.g.op("Add", y, self.linear(self.g.op("Mul", values, self.gelu(gates)), b + ".ff.net.2"))
        y = self.g.op("Reshape", self.g.op("Transpose", y, perm=[0, 2, 1]), size)
        return self.g.op("Add", self.pointwise(y, p + ".proj_out"), x)

    def heads(self, level):
        given = self.config.get("num_attention_heads") or self.config.get("attention_head_dim", 8)
        return given[level] if isinstance(given, list) else given

    def build(self):
        c = self.config
        widths, layers = c["block_out_channels"], c.get("layers_per_block", 2)
        down, up = c["down_block_types"], c["up_block_types"]
        last = len(widths) - 1
        time = self.linear(self.silu(self.linear("time", "time_embedding.linear_1")), "time_embedding.linear_2")
        x, channels = self.conv("sample", "conv_in"), widths[0]
        skips = [(x, channels)]
        for i, width in enumerate(widths):
            p = f"down_blocks.{i}"
            for j in range(layers):
                x, channels = self.resnet(x, time, f"{p}.resnets.{j}", channels, width), width
                if "CrossAttn" in down[i]:
                    x = self.transformer(x, "text", f"{p}.attentions.{j}", width, self.heads(i))
                skips.append((x, channels))
            if i < last:
                x = self.conv(x, f"{p}.downsamplers.0.conv", stride=2)
                skips.append((x, channels))
        x = self.resnet(x, time, "mid_block.resnets.0", channels, channels)
        x = self.transformer(x, "text", "mid_block.attentions.0", channels, self.heads(last))
        x = self.resnet(x, time, "mid_block.resnets.1", channels, channels)
        for i in range(len(widths)):
            p, width = f"up_blocks.{i}", widths[last - i]
            for j in range(layers + 1):
                skip, more = skips.pop()
                x = self.resnet(self.g.op("Concat", x, skip, axis=1), time, f"{p}.resnets.{j}", channels + more, width)
                channels = width
                if "CrossAttn" in up[i]:
                    x = self.transformer(x, "text", f"{p}.attentions.{j}", width, self.heads(last - i))
            if i < last:
                doubled = self.g.op(
                    "Resize", x, "", self.g.constant([1, 1, 2, 2], np.float32),
                    mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
                )
                x = self.conv(doubled, f"{p}.upsamplers.0.conv")
        x = self.conv(self.silu(self.group_norm(x, "conv_norm_out", channels, 1e-5)), "conv_out")
        self.g.nodes.append(helper.make_node("Identity", [x], ["prediction"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--attention", choices=["fused", "plain"], default="fused")
    a = parser.parse_args()
    with open(os.path.join(a.model, "unet", "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    os.makedirs(a.out, exist_ok=True)
    graph = Graph(Weights(os.path.join(a.model, "unet", "diffusion_pytorch_model.safetensors")), a.out)
    UNet(graph, config, a.attention == "fused").build()
    graph.data.close()

    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "unet",
            [
                value("sample", ["batch", config["in_channels"], "height", "width"]),
                value("time", [1, config["block_out_channels"][0]]),
                value("text", ["batch", "tokens", config["cross_attention_dim"]]),
            ],
            [value("prediction", ["batch", config["out_channels"], "height", "width"])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
    )
    model.ir_version = 8
    with open(os.path.join(a.out, "unet.onnx"), "wb") as file:
        file.write(model.SerializeToString())
    print(f"{a.out}/unet.onnx: {len(graph.nodes)} nodes")


if __name__ == "__main__":
    main()
