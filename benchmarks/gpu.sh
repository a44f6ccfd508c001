#!/usr/bin/env bash
# Checks and times a GPU: reference cases in every precision, our benchmarks, and PyTorch beside them where a Python with torch is given.
# Writes OUT/gpu.md (one page), the JSON behind it and the logs of the reference cases.
#
#   benchmarks/gpu.sh [--device cuda:0] [--out gpu-results] [--cases DIR] [--bin DIR] [--latent 64] [--repeats 20]
#                     [--python PYTHON [--torch-bench peers/torch_afa_bench.py]]
#
# --bin names a folder with published, self-contained afa-native and AfaNative.Benchmarks, for machines without .NET:
#   dotnet publish tools/afa-native -c Release -r linux-x64 --self-contained -o DIR
#   dotnet publish benchmarks -c Release -r linux-x64 --self-contained -o DIR
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
device=cuda:0 out=gpu-results cases="" bin="" python="" torch=$here/benchmarks/peers/torch_afa_bench.py latent=64 repeats=20
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device=$2 ;; --out) out=$2 ;; --cases) cases=$2 ;; --bin) bin=$2 ;; --python) python=$2 ;; --torch-bench) torch=$2 ;;
    --latent) latent=$2 ;; --repeats) repeats=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
mkdir -p "$out"
if [ -z "$bin" ]; then
  bin=$out/bin
  dotnet publish "$here/tools/afa-native" -c Release -o "$bin" >"$out/build.log" 2>&1 && dotnet publish "$here/benchmarks/AfaNative.Benchmarks.csproj" -c Release -o "$bin" >>"$out/build.log" 2>&1 || { tail -5 "$out/build.log"; exit 1; }
fi
page=$out/gpu.md failed=0
{ echo "# $device, $(date -u +%F)"; echo; echo '```'; "$bin/afa-native" devices; echo '```'; } >"$page"

echo; echo "reference cases"
{ echo; echo "| reference cases | result |"; echo "|---|---|"; } >>"$page"
for precision in f32 f16 bf16; do
  "$bin/afa-native" verify --device "$device" --precision $precision --gradients off ${cases:+--cases "$cases"} >"$out/verify-$precision.log" 2>&1 || failed=1
  echo "| $precision | $(tail -1 "$out/verify-$precision.log") |" | tee -a "$page"
done

model=$out/sd15
[ -d "$model" ] || "$bin/afa-native" synth "$model" --preset sd15 --experts 3 --dtype f16 >/dev/null || exit 1
for precision in f16 bf16; do
  "$bin/AfaNative.Benchmarks" "$model" --what unet,afa,vae --device "$device" --precision $precision --batch 2 --latent "$latent" --repeats "$repeats" --json "$out/ours-$precision.json" || failed=1
done
if [ -n "$python" ]; then
  for mode in eager graph; do
    "$python" "$torch" --experts 3 --batch 2 --latent "$latent" --mode $mode --json "$out/torch-$mode.json" || failed=1
  done
fi
reports=()
for file in "$out"/ours-*.json "$out"/torch-*.json; do [ -f "$file" ] && reports+=("$file"); done
if [ ${#reports[@]} -gt 0 ]; then { echo; "$bin/AfaNative.Benchmarks" table "${reports[@]}"; } >>"$page" || failed=1; fi
echo "$page"
exit $failed
