#!/usr/bin/env bash
# Check and measure segwatch's model on a rented GPU: one command, at most nine minutes, no internet needed there.
#
#   benchmarks/gpu_check.sh                     everything but training
#   benchmarks/gpu_check.sh --train FILE.zip    training of the default model alone, from the packed archive
#   options: --device cuda|cpu   --quick (small sizes)   --seconds 540   --parts parity,shared,memory,compile
#            --again (measure again what is measured)   --start FOLDER (model to go on from)   --work FOLDER   --out FOLDER
#
# Parts, in order of worth: parity on the GPU (float32 and bfloat16), full-size random weights with K = 1, 4, 16, 64
# instructions shared against one by one, the memory bound and the halving of batches, torch.compile; then training. Each
# part is a process with its own time limit, and its result is written when it ends: after an interruption, run the same
# command again. Results: benchmarks/results/<card name>.json, or --out.
#
# What must travel, below 64 MiB together; `benchmarks/gpu_check.sh --pack FILE.tar.gz [--train FILE.zip] [--start FOLDER]`
# writes it, checks the size, and the archive is unpacked and run there:
#   - for the check: model/, benchmarks/, .dev/, tests/data/oracle, tests/support/{oracle,paths}.py, pyproject.toml
#   - for training: model/, benchmarks/, .dev/, pyproject.toml, the packed archive (python -m segwatch.model.train.archive), and
#     the folder of the model to go on from. Neither tests/data nor imagery.
#   - --wheels FOLDER: wheels for what the machine lacks. torch with CUDA is too large to travel and must be installed there;
#     the check says what is missing, and which parts that costs. On a machine with internet and the same Python:
#     pip download -d wheels --no-deps -c constraints.txt transformers tokenizers safetensors huggingface_hub ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -n "${PYTHON:-}" ]; then python=$PYTHON; elif [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi
work=.gpu-check
if compgen -G 'wheels/*.whl' > /dev/null && [ ! -e "$work/site/.done" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" wheels/*.whl
    touch "$work/site/.done"
fi
export PYTHONPATH="$PWD/.dev:$PWD:$PWD/$work/site${PYTHONPATH:+:$PYTHONPATH}"
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
exec "$python" benchmarks/gpu_check.py "$@"
