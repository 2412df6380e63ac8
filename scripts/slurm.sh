#!/bin/bash
# One run of acdc-train on whole nodes of a SLURM cluster, which goes on by itself after the time limit:
#     sbatch scripts/slurm.sh model=resnet50 sparsity=0.9
#     sbatch --nodes=4 --partition=NAME --account=NAME scripts/slurm.sh model=resnet50 sparsity=0.9
# Options before the script win over those below. acdc-train must be on PATH when you type sbatch (activate the virtual
# environment), and it, data_dir and runs_dir must lie where all nodes see them.
#
# A sweep of runs is no task for this script: acdc-train submits one job a run itself, see docs/clusters.md:
#     acdc-train -m hydra/launcher=submitit_slurm hydra.launcher.gpus_per_node=1 seed=0,1,2 sparsity=0.9,0.95

# One task a GPU: every task is a rank, and srun starts them all, so torchrun is not needed.
#SBATCH --job-name=acdc
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
# By node, not by task: a rank picks the GPU with its number among those of the node, so it has to see them all.
#SBATCH --gpus-per-node=8
# For the loader's threads and the step's.
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# 120 seconds before the time limit every task gets SIGUSR1: it finishes its step, writes a checkpoint and exits with 75.
# No "B:" before it: the signal is for the tasks, this script only waits for them. The cluster can have it sent before a
# pre-emption too (PreemptParameters=send_user_signal).
#SBATCH --signal=USR1@120
# After a pre-emption or the loss of a node SLURM queues the job again by itself.
#SBATCH --requeue
# A job that was queued again goes on in the same file.
#SBATCH --open-mode=append
#SBATCH --output=acdc-%j.out

# --kill-on-bad-exit=0 --wait=300: when the first rank stops, the others get five minutes to write what they are writing.
# --cpus-per-task: srun does not take it over from sbatch (since SLURM 22.05).
# --cpu-bind=none: a rank takes its share of the cores that it sees, so it has to see all that the job has on the node.
srun --kill-on-bad-exit=0 --wait=300 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --cpu-bind=none acdc-train "$@"
code=$?

# 75: interrupted and resumable. Nothing else is tried again: bad input stays bad, and a rank that was killed (137) may
# have run out of memory. scancel does not come here: it ends this script first.
if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
