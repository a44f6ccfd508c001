#!/usr/bin/env bash
# Times one U-Net evaluation of ONNX Runtime and of this engine by turns, on two threads, and prints medians and ratios.
#   benchmarks/peers.sh PEERS MODEL [ROUNDS]
# PEERS holds synth_sd15.py and ort/ (Program.cs, ort.csproj, make_unet_onnx.py); it is not written to. MODEL is a folder made by
# afa-native synth MODEL --preset sd15. Needs Python with numpy and onnx (Debian: python3-onnx), about 6 GB in ${PEERS_WORK:-/tmp/afa-peers}.
set -euo pipefail
peers=$1 model=$2 rounds=${3:-3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=${PEERS_WORK:-/tmp/afa-peers}
python=${PYTHON:-/usr/bin/python3}
mkdir -p "$work"
if [ ! -f "$work/unet.onnx" ]; then
  cp -r "$peers/ort" "$peers/synth_sd15.py" "$work/" && chmod -R u+w "$work"
  "$python" "$work/synth_sd15.py" "$work/a.safetensors" 1 >&2
  "$python" "$work/ort/make_unet_onnx.py" "$work/a.safetensors" "$work" >&2
fi
dotnet build -c Release "$work/ort" -v q >&2
dotnet build -c Release "$root/benchmarks" -v q >&2
ours() {
  "$root/benchmarks/bin/Release/net10.0/AfaNative.Benchmarks" "$model" --what unet --latent "$latent" --batch "$batch" --repeats 3 --threads 2 --precision "$1" |
    sed -n 's/.*median \([0-9.]*\) ms.*/\1/p'
}
theirs="$work/ort/bin/Release/net10.0/linux-x64/ort.dll"
middle() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "| latents, batch | ONNX Runtime, ms | AfaNative f32, ms | ratio | bf16, ms | ratio |"
echo "|---|---|---|---|---|---|"
for case in "64 1" "64 2" "32 1"; do
  read -r latent batch <<<"$case"
  a="" b="" c=""
  for _ in $(seq "$rounds"); do
    a+="$(dotnet "$theirs" unet $((latent * 8)) "$batch" 3 "$work/unet.onnx" | sed -n 's/.* f32 \([0-9]*\) ms .*/\1/p')"$'\n'
    b+="$(ours f32)"$'\n'
    c+="$(ours bf16)"$'\n'
  done
  p=$(printf %s "$a" | middle) o=$(printf %s "$b" | middle) q=$(printf %s "$c" | middle)
  echo "| ${latent}x${latent}, $batch | $p | $(printf %.0f "$o") | $(awk "BEGIN { printf \"%.2f\", $o / $p }") | $(printf %.0f "$q") | $(awk "BEGIN { printf \"%.2f\", $q / $p }") |"
done
