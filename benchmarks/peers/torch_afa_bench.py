#!/usr/bin/env python3
"""Times PyTorch on a CUDA GPU: a Stable Diffusion 1.5 U-Net, an AFA ensemble of N of them, a training step of its aggregators.

    python3 torch_afa_bench.py [--experts 3] [--batch 2] [--latent 64] [--mode eager|graph|compile] [--train] [--repeats 20]
                               [--json F]

Random weights of the real shapes, float16, channels last: convolutions by cuDNN, linear layers by cuBLAS, attention by
scaled_dot_product_attention. The ensemble is a loop over U-Nets with an aggregator after every block, as its authors wrote it;
there is no overhead of a pipeline. Prints a line of JSON a case, with the median of the device's own timings; --json writes them
as a list, which `AfaNative.Benchmarks table` joins with ours.
"""
import argparse
import json
import math
import statistics
import sys

import torch
from torch import nn
from torch.nn import functional as F

WIDTHS, TEXT, TOKENS, HEADS = (320, 640, 1280, 1280), 768, 77, 8
TIME = 4 * WIDTHS[0]


class ResnetBlock(nn.Module):
    def __init__(self, inputs, outputs, epsilon=1e-5):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, inputs, epsilon), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(TIME, outputs)
        self.norm2, self.conv2 = nn.GroupNorm(32, outputs, epsilon), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, time):
        y = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    def __init__(self, width, source):
        super().__init__()
        self.q = nn.Linear(width, width, bias=False)
        self.k, self.v = nn.Linear(source, width, bias=False), nn.Linear(source, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x, source):
        batch, _, width = x.shape

        def heads(y):
            return y.view(batch, -1, HEADS, width // HEADS).transpose(1, 2)

        y = F.scaled_dot_product_attention(heads(self.q(x)), heads(self.k(source)), heads(self.v(source)))
        return self.out(y.transpose(1, 2).reshape(x.shape))


class TransformerBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.itself, self.text = Attention(width, width), Attention(width, TEXT)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x, text):
        y = self.norm1(x)
        x = x + self.itself(y, y)
        x = x + self.text(self.norm2(x), text)
        values, gates = self.up(self.norm3(x)).chunk(2, -1)
        return x + self.down(values * F.gelu(gates))


class Transformer(nn.Module):
    def __init__(self, width, layers=1):
        super().__init__()
        self.norm = nn.GroupNorm(32, width, 1e-6)
        self.inward, self.outward = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(layers))

    def forward(self, x, text):
        batch, width, height, columns = x.shape
        y = self.inward(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, height * columns, width)
        for block in self.blocks:
            y = block(y, text)
        return x + self.outward(y.view(batch, height, columns, width).permute(0, 3, 1, 2))


class Piece(nn.Module):
    """Between two aggregation points: a ResNet block, perhaps a transformer and an upsampler; or a downsampler alone."""

    def __init__(self, resnet=None, transformer=None, resize=None):
        super().__init__()
        self.resnet, self.transformer, self.resize = resnet, transformer, resize

    def forward(self, x, time, text):
        if self.resnet is None:
            return self.resize(x)
        x = self.resnet(x, time)
        if self.transformer is not None:
            x = self.transformer(x, text)
        return x if self.resize is None else self.resize(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.time1, self.time2 = nn.Linear(WIDTHS[0], TIME), nn.Linear(TIME, TIME)
        self.first = nn.Conv2d(4, WIDTHS[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels, skips = WIDTHS[0], [WIDTHS[0]]
        # Channels of every aggregation point, in order.
        self.points = [WIDTHS[0]]
        for i, width in enumerate(WIDTHS):
            for _ in range(2):
                self.down.append(Piece(ResnetBlock(channels, width), Transformer(width) if i < 3 else None))
                channels = width
                skips.append(channels)
            if i < 3:
                self.down.append(Piece(resize=nn.Conv2d(channels, channels, 3, stride=2, padding=1)))
                skips.append(channels)
        self.points += skips[1:] + [channels]
        self.middle1, self.middle2 = ResnetBlock(channels, channels), ResnetBlock(channels, channels)
        self.middle = Transformer(channels)
        for i, width in enumerate(reversed(WIDTHS)):
            for j in range(3):
                resize = nn.Conv2d(width, width, 3, padding=1) if j == 2 and i < 3 else None
                self.up.append(Piece(ResnetBlock(channels + skips.pop(), width), Transformer(width) if i > 0 else None, resize))
                channels = width
                self.points.append(channels)
        self.norm, self.last = nn.GroupNorm(32, channels), nn.Conv2d(channels, 4, 3, padding=1)
        # The last piece's maps are not fused by themselves: the prediction made of them is.
        self.points[-1] = 4

    def embed(self, time):
        half = WIDTHS[0] // 2
        angles = time.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half, device=time.device) / half)
        waves = torch.cat([angles.cos(), angles.sin()], -1).to(self.time1.weight.dtype)
        return self.time2(F.silu(self.time1(waves)))

    def bottom(self, x, time, text):
        return self.middle2(self.middle(self.middle1(x, time), text), time)

    def predict(self, x):
        return self.last(F.silu(self.norm(x)))

    def forward(self, x, time, text):
        time = self.embed(time)
        x = self.first(x)
        skips = [x]
        for piece in self.down:
            x = piece(x, time, text)
            skips.append(x)
        x = self.bottom(x, time, text)
        for piece in self.up:
            x = piece(torch.cat([x, skips.pop()], 1), time, text)
        return self.predict(x)


class Aggregator(nn.Module):
    """SABW: a weight per expert and pixel, from all experts' maps, the time step and the text."""

    def __init__(self, channels, experts, width=128, layers=2):
        super().__init__()
        self.inward = nn.Conv2d(channels * experts, width, 1)
        self.resnet, self.transformer = ResnetBlock(width, width, 1e-6), Transformer(width, layers)
        self.logits = nn.Conv2d(width, experts, 1, bias=False)

    def forward(self, maps, time, text):
        y = self.inward(torch.cat(maps, 1))
        weights = torch.softmax(self.logits(self.transformer(self.resnet(y, time), text)), 1)
        return sum(m * weights[:, i : i + 1] for i, m in enumerate(maps))


class Ensemble(nn.Module):
    def __init__(self, experts):
        super().__init__()
        self.unets = nn.ModuleList(UNet() for _ in range(experts))
        self.aggregators = nn.ModuleList(Aggregator(c, experts) for c in self.unets[0].points)

    def forward(self, x, time, texts):
        times = [u.embed(time) for u in self.unets]
        mean_time, mean_text = torch.stack(times).mean(0), texts.mean(0)
        aggregators = iter(self.aggregators)

        def fuse(maps):
            return next(aggregators)(maps, mean_time, mean_text)

        experts = list(zip(self.unets, times, texts))
        x = fuse([u.first(x) for u in self.unets])
        skips = [x]
        for i in range(len(self.unets[0].down)):
            x = fuse([u.down[i](x, t, c) for u, t, c in experts])
            skips.append(x)
        x = fuse([u.bottom(x, t, c) for u, t, c in experts])
        last = len(self.unets[0].up) - 1
        for i in range(last + 1):
            joined = torch.cat([x, skips.pop()], 1)
            maps = [u.up[i](joined, t, c) for u, t, c in experts]
            if i < last:
                x = fuse(maps)
        return fuse([u.predict(m) for u, m in zip(self.unets, maps)])


def as_graph(run):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measure(run, repeats):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("experts", 3), ("batch", 2), ("latent", 64), ("repeats", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mode", choices=["eager", "graph", "compile"], default="eager")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--json")
    a = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: this peer is timed on one")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    rows = []

    def case(name, run):
        torch.cuda.reset_peak_memory_stats()
        times = measure(run, a.repeats)
        rows.append(
            {
                "peer": f"torch {torch.__version__}",
                "case": name,
                "experts": a.experts,
                "batch": a.batch,
                "latent": a.latent,
                "mode": a.mode,
                "ms": round(statistics.median(times), 3),
                "min": round(min(times), 3),
                "max": round(max(times), 3),
                "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
            }
        )
        print(json.dumps(rows[-1]), flush=True)

    with torch.device("cuda"):
        ensemble = Ensemble(a.experts)
        time = torch.full((a.batch,), 500)
        texts = torch.randn(a.experts, a.batch, TOKENS, TEXT, dtype=torch.float16)
        x = torch.randn(a.batch, 4, a.latent, a.latent, dtype=torch.float16).to(memory_format=torch.channels_last)
    ensemble.unets.to(torch.float16).to(memory_format=torch.channels_last).requires_grad_(False)
    if a.train:
        optimizer = torch.optim.AdamW(ensemble.aggregators.parameters(), 1e-4, weight_decay=0.01, fused=True)
        noise = torch.randn_like(x).float()

        def step():
            with torch.autocast("cuda", torch.float16):
                loss = F.mse_loss(ensemble(x, time, texts).float(), noise)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        case("afa_train_step", step)
    else:
        ensemble.aggregators.to(torch.float16).to(memory_format=torch.channels_last)
        networks = {"unet_forward": (ensemble.unets[0], texts[0]), "afa_forward": (ensemble, texts)}
        with torch.no_grad():
            for name, (network, text) in networks.items():
                called = torch.compile(network) if a.mode == "compile" else network

                def run(called=called, text=text):
                    return called(x, time, text)

                case(name, as_graph(run) if a.mode == "graph" else run)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
