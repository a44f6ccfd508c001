"""Reads the tensors of a safetensors file as float32 arrays, without copying what is not asked for."""
import json
import struct

import numpy as np


class Weights:
    """Tensors by name; float16, bfloat16 and float32 files."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self.header = json.loads(file.read(length))
        self.header.pop("__metadata__", None)
        self.data = np.memmap(path, np.uint8, "r", offset=8 + length)

    def __contains__(self, name):
        return name in self.header

    def __getitem__(self, name):
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        raw = self.data[begin:end]
        if entry["dtype"] == "F32":
            values = raw.view(np.float32)
        elif entry["dtype"] == "F16":
            values = raw.view(np.float16).astype(np.float32)
        elif entry["dtype"] == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            raise SystemExit(f"{self.path}: {name} is {entry['dtype']}, expected F32, F16 or BF16")
        return values.reshape(entry["shape"])
