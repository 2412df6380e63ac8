#!/bin/bash
# Run acdc-train once on whole nodes of a SLURM cluster. After the time limit, the run resumes by itself:
#     sbatch scripts/slurm.sh model=resnet50 sparsity=0.9
#     sbatch --nodes=4 --partition=NAME --account=NAME scripts/slurm.sh model=resnet50 sparsity=0.9
# Options before the script override those below. acdc-train must be on PATH when you type sbatch (activate the virtual
# environment). The environment, data_dir and runs_dir must be on a file system that all nodes can read.
#
# Do not use this script for a sweep: acdc-train itself submits one job per run, see docs/clusters.md:
#     acdc-train -m hydra/launcher=submitit_slurm hydra.launcher.gpus_per_node=1 seed=0,1,2 sparsity=0.9,0.95

# There is one task per GPU. Every task is a rank, and srun starts all of them, so torchrun is not needed.
#SBATCH --job-name=acdc
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
# GPUs are requested per node, not per task. A rank uses the GPU of its local number, so it must see all of the node's.
#SBATCH --gpus-per-node=8
# The loader and the training step use these cores for their threads.
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# Every task gets SIGUSR1 120 seconds before the time limit, finishes its step, writes a checkpoint and exits with 75.
# Without "B:", SLURM sends the signal to the tasks and not to this script, which only waits for them. A cluster can be
# set up to send the signal before a pre-emption too (PreemptParameters=send_user_signal).
#SBATCH --signal=USR1@120
# SLURM requeues the job after a pre-emption or the loss of a node.
#SBATCH --requeue
# A requeued job appends to the same output file.
#SBATCH --open-mode=append
#SBATCH --output=acdc-%j.out

# --kill-on-bad-exit=0 --wait=300: when the first rank stops, the others have five minutes to finish writing.
# --cpus-per-task: since SLURM 22.05, srun does not take this option over from sbatch.
# --cpu-bind=none: a rank takes its share of the cores that it sees, so it must see all cores of the job on the node.
srun --kill-on-bad-exit=0 --wait=300 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --cpu-bind=none acdc-train "$@"
code=$?

# Exit code 75 means that the run was interrupted and can be resumed. No other code is retried: bad input would fail
# again, and a killed rank (137) may have run out of memory. scancel ends this script before it reaches this line.
if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
