#!/usr/bin/env bash
# Times one U-Net evaluation of ONNX Runtime and of this engine by turns, on two threads, and prints medians and ratios.
#   benchmarks/peers.sh MODEL [ROUNDS]
# MODEL is a folder in diffusers layout, such as afa-native synth MODEL --preset sd15 --experts 3 --dtype f16 makes. Needs Python
# with numpy and onnx (Debian: python3-onnx) and about 4 GB in ${PEERS_WORK:-/tmp/afa-peers}.
set -euo pipefail
model=$1 rounds=${2:-3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=${PEERS_WORK:-/tmp/afa-peers}
python=${PYTHON:-python3}
if [ ! -f "$work/unet.onnx" ]; then
  "$python" "$root/benchmarks/peers/unet_onnx.py" "$model" "$work" >&2
fi
dotnet build -c Release "$root/benchmarks/peers/onnxruntime" -v q >&2
dotnet build -c Release "$root/benchmarks/AfaNative.Benchmarks.csproj" -v q >&2
median() { sed -n 's/.*median \([0-9.]*\) ms.*/\1/p'; }
ours() {
  "$root/benchmarks/bin/Release/net10.0/AfaNative.Benchmarks" "$model" --what unet --latent "$latent" --batch "$batch" --repeats 3 \
    --threads 2 --precision "$1" | median
}
theirs() {
  "$root/benchmarks/peers/onnxruntime/bin/Release/net10.0/OnnxRuntimePeer" "$work/unet.onnx" "$latent" "$batch" 3 2 | median
}
middle() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "| latents, batch | ONNX Runtime, ms | AfaNative f32, ms | ratio | bf16, ms | ratio |"
echo "|---|---|---|---|---|---|"
for case in "64 1" "64 2" "32 1"; do
  read -r latent batch <<<"$case"
  a="" b="" c=""
  for _ in $(seq "$rounds"); do
    a+="$(theirs)"$'\n'
    b+="$(ours f32)"$'\n'
    c+="$(ours bf16)"$'\n'
  done
  p=$(printf %s "$a" | middle) o=$(printf %s "$b" | middle) q=$(printf %s "$c" | middle)
  awk -v case="${latent}x${latent}, $batch" -v p="$p" -v o="$o" -v q="$q" \
    'BEGIN { printf "| %s | %.0f | %.0f | %.2f | %.0f | %.2f |\n", case, p, o, o / p, q, q / p }'
done
