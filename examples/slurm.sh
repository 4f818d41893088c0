#!/usr/bin/env bash
# A run on several machines of a Slurm cluster: one launcher on each, one process for each GPU.
#
#   sbatch examples/slurm.sh run.yaml
#
# output_dir and dataset_prepared_path must be on storage that all machines share. Slurm sends SIGTERM before it
# kills; the run then writes a checkpoint, and the same job goes on from it (resume_from_checkpoint: true).
#SBATCH --job-name=sft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
set -euo pipefail

config=$1
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240

srun --kill-on-bad-exit=1 sft train "$config" --set resume_from_checkpoint=true -- \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$first:29500" \
  --rdzv-id "$SLURM_JOB_ID"
