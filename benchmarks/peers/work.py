#!/usr/bin/env python3
"""Multiply-accumulates of one U-Net evaluation of a model, by kind of op: what rooflines and shares are reckoned from.

    python3 work.py MODEL [--latent 64] [--tokens 77]

MODEL is a folder in diffusers layout, of which only unet/config.json is read.
"""
import argparse
import json
import os
from collections import Counter


def count(config, latent, tokens):
    total = Counter()
    widths, layers, text = config["block_out_channels"], config.get("layers_per_block", 2), config["cross_attention_dim"]
    down, up = config["down_block_types"], config["up_block_types"]
    last, embedded = len(widths) - 1, 4 * widths[0]

    def conv(edge, inputs, outputs, kernel=3):
        total[f"{kernel}x{kernel} convolution"] += edge * edge * inputs * outputs * kernel * kernel

    def linear(rows, inputs, outputs):
        total["linear"] += rows * inputs * outputs

    def resnet(edge, inputs, outputs):
        conv(edge, inputs, outputs)
        linear(1, embedded, outputs)
        conv(edge, outputs, outputs)
        if inputs != outputs:
            conv(edge, inputs, outputs, 1)

    def transformer(edge, c):
        n = edge * edge
        conv(edge, c, c, 1)
        conv(edge, c, c, 1)
        # Self-attention projects four times; queries and the output of cross-attention twice, the text's keys and values twice.
        linear(n, c, 6 * c)
        linear(tokens, text, 2 * c)
        linear(n, c, 8 * c)
        linear(n, 4 * c, c)
        total["self-attention"] += 2 * n * n * c
        total["cross-attention"] += 2 * n * tokens * c

    linear(1, widths[0], embedded)
    linear(1, embedded, embedded)
    edge, channels = latent, widths[0]
    conv(edge, config["in_channels"], channels)
    skips = [channels]
    for i, width in enumerate(widths):
        for _ in range(layers):
            resnet(edge, channels, width)
            channels = width
            if "CrossAttn" in down[i]:
                transformer(edge, width)
            skips.append(channels)
        if i < last:
            edge //= 2
            conv(edge, channels, channels)
            skips.append(channels)
    resnet(edge, channels, channels)
    transformer(edge, channels)
    resnet(edge, channels, channels)
    for i in range(len(widths)):
        width = widths[last - i]
        for _ in range(layers + 1):
            resnet(edge, channels + skips.pop(), width)
            channels = width
            if "CrossAttn" in up[i]:
                transformer(edge, width)
        if i < last:
            edge *= 2
            conv(edge, channels, channels)
    conv(edge, channels, config["out_channels"])
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--latent", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=77)
    a = parser.parse_args()
    with open(os.path.join(a.model, "unet", "config.json"), encoding="utf-8") as file:
        total = count(json.load(file), a.latent, a.tokens)
    whole = sum(total.values())
    for kind, macs in total.most_common():
        print(f"{kind:18} {macs / 1e9:9.2f} GMAC {100 * macs / whole:5.1f} %")
    print(f"{'all':18} {whole / 1e9:9.2f} GMAC, {2 * whole / 1e9:.1f} GFLOP")


if __name__ == "__main__":
    main()
