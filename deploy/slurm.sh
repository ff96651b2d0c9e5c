#!/bin/bash
# One sweep as one Slurm job: a Ray cluster on its nodes, for as long as it runs.
#
#   sbatch deploy/slurm.sh vanishing/depth [options of gradsweep launch]
#
# Run it from a folder that all nodes mount, with the environment in .venv (make install). The same
# command again runs only what is missing. A job that nears its time limit stops after the epoch under
# way and queues itself again; Slurm queues one that was preempted. docs/clusters.md says more.
#
# EDIT the lines down to the blank one for your cluster: its partitions, its account, its GPUs.
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00

#SBATCH --job-name=gradsweep
#SBATCH --output=gradsweep-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --signal=B:USR1@180

set -euo pipefail
if [ $# -eq 0 ]; then
    echo "usage: sbatch deploy/slurm.sh SPACE [options of gradsweep launch]" >&2
    exit 2
fi
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
. .venv/bin/activate

# A shared folder; or set GRADSWEEP_STORE before sbatch, to an s3:// URI for instance.
export GRADSWEEP_STORE="${GRADSWEEP_STORE:-$SLURM_SUBMIT_DIR/store}"

# A secret of this job's own: other users of the network may connect, and get no answer.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
# Seconds that nodes wait for one another.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# The head is the first node, by a name that the others resolve.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address=${nodes[0]}:6379
gpus=${SLURM_GPUS_ON_NODE:-0}
launch=(gradsweep launch "$@" --address "$address")
if [ "$gpus" -gt 0 ]; then
    launch+=(--gpus "$((gpus * SLURM_JOB_NUM_NODES))")
fi

# Slurm signals this script (--signal=B:), which tells the driver; Ray's own processes go on until it
# has ended. The driver runs on this node, and leaves its process id here.
pid_file=$(mktemp)
trap 'rm -f "$pid_file"' EXIT
ending=
trap 'ending=yes; kill -TERM "$(cat "$pid_file")" 2>/dev/null || true' USR1

# shellcheck disable=SC2016  # for the inner shell
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$gpus" -- \
    bash -c 'echo $$ > "$0"; exec "$@"' "$pid_file" "${launch[@]}" &
srun=$!
while :; do # a trapped signal ends `wait`, not srun
    status=0
    wait "$srun" || status=$?
    kill -0 "$srun" 2>/dev/null || break
done

if [ -n "$ending" ] && [ "$status" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
