#!/bin/bash
# The upload engine against an S3 server that takes everything and keeps nothing, and the memory of a backup of one
# SSTable of 500 GB (a sparse file) to it.
#
# usage: sink.sh             HUGE_SECONDS=0 sink.sh: only the engine
#
# environment: common.sh, and
#   SINK          the server [default: sink/target/release/sink, from `cargo build --release` in sink/]
#   SINK_PORT     where it listens on 127.0.0.1 [default: 17080]
#   UPLOAD        the engine's bench [default: it is built, `cargo bench -p helenus --bench upload`]
#   GIGABYTES     how much the engine sends [default: 8]
#   HUGE_BYTES    length of the sparse file [default: 500000000000]
#   HUGE_SECONDS  the backup is ended after so long [default: 100]: memory has its height after the first parts
#
# Client and server share the machine. With two cores each has its own: the client runs on the first one.
set -euo pipefail
. "$(dirname "$0")/common.sh"
: "${SINK:=$here/sink/target/release/sink}" "${SINK_PORT:=17080}" "${GIGABYTES:=8}"
: "${HUGE_BYTES:=500000000000}" "${HUGE_SECONDS:=100}"

taskset -c 1 "$SINK" "$SINK_PORT" &
server=$!
work=$BENCH_DIR/sink
trap 'kill $server; rm -rf "$work"' EXIT
for _ in $(seq 50); do (: < "/dev/tcp/127.0.0.1/$SINK_PORT") 2> /dev/null && break; sleep 0.1; done
endpoint=http://127.0.0.1:$SINK_PORT

echo "--- the engine, $GIGABYTES GB in 4 objects, on one core"
if [ -n "${UPLOAD:-}" ]; then
    taskset -c 0 "$UPLOAD" "$endpoint" "$GIGABYTES"
else
    taskset -c 0 cargo bench --quiet --manifest-path "$here/../../Cargo.toml" -p helenus --bench upload -- \
        "$endpoint" "$GIGABYTES"
fi

[ "$HUGE_SECONDS" -gt 0 ] || exit 0
echo "--- a backup of one SSTable of $HUGE_BYTES bytes, ended after $HUGE_SECONDS s"
table=$work/data/huge/table-0c1f6a203b1011eea5d0c5b6c1b0a1f2
mkdir -p "$table"
truncate -s "$HUGE_BYTES" "$table/nb-1-big-Data.db"
# What the bytes would have to have as their sum is only looked at when all of them were read.
printf 1 > "$table/nb-1-big-Digest.crc32"
printf 'state_dir = "%s"\n[backup]\ncompress = "none"\n' "$work/state" > "$work/helenus.toml"
export AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret AWS_REGION=us-east-1 AWS_ENDPOINT_URL=$endpoint
"$HELENUS" --config "$work/helenus.toml" backup --data-dir "$work/data" --repository s3://bucket/bench \
    --cluster bench --host-id 7c0f1a52-2c4b-4e0f-9d0c-5a0f4b1f7d10 --quiet &
backup=$!
sleep "$HUGE_SECONDS"
grep -E 'VmHWM|VmRSS' "/proc/$backup/status"
awk '/rchar/ { printf "%.1f GB read\n", $2 / 1e9 }' "/proc/$backup/io"
kill "$backup"
wait "$backup" || true
