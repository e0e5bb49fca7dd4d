#!/bin/bash
# A backup of everything to an S3 server on this machine, the same again with nothing changed, and its restore: Helenus,
# and Medusa with its defaults.
#
# usage: s3.sh               Medusa needs the node to run (cassandra.sh start)
#
# environment: common.sh, cassandra.sh, and
#   VERSITYGW  the server [default: the one that the tests build, ~/.cache/helenus-versitygw/v1.8.0/versitygw]
#   S3_PORT    where it listens on 127.0.0.1 [default: 17070]
#   MEDUSA     the `medusa` program; left out if not set
#   PEER_ROUNDS  how often it runs [default: 1]; it is slow
#
# Server and client share the machine; the columns for the server say what it took.
set -euo pipefail
. "$(dirname "$0")/common.sh"
: "${VERSITYGW:=$HOME/.cache/helenus-versitygw/v1.8.0/versitygw}" "${S3_PORT:=17070}" "${PEER_ROUNDS:=1}"

export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=benchbench AWS_REGION=us-east-1
export AWS_ENDPOINT_URL=http://127.0.0.1:$S3_PORT
root=$BENCH_DIR/s3
rm -rf "$root" && mkdir -p "$root/data/bench" "$root/home" "$root/old"
HOME=$root/home "$VERSITYGW" --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" \
    --port "127.0.0.1:$S3_PORT" posix "$root/data" > "$root/log" 2>&1 &
server=$!
trap 'kill $server; rm -rf "$root"' EXIT
for _ in $(seq 50); do (: < "/dev/tcp/127.0.0.1/$S3_PORT") 2> /dev/null && break; sleep 0.1; done

bytes=$(find "$data" -path '*/snapshots' -prune -o -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
echo "$(find "$data" -path '*/snapshots' -prune -o -type f -print | wc -l) files, $bytes bytes"

# What a run wrote is moved away and deleted at the end.
empty="mv $root/data/bench $root/old/\$(date +%s%N); mkdir $root/data/bench; sync -f $root"
helenus_backup="$helenus backup --data-dir $data --repository s3://bench/helenus --cluster bench --quiet"
away="rm -rf $root/restored && sync -f $root"

echo "--- everything"
row "helenus" "exec $helenus_backup" "$empty" | measure --bytes "$bytes" --pid $server
echo "--- nothing changed since"
row "helenus, nothing new" "exec $helenus_backup" | measure --pid $server
echo "--- restore into an empty directory"
row "helenus" "exec $helenus restore latest --repository s3://bench/helenus --to-dir $root/restored --quiet" "$away" |
    measure --bytes "$bytes" --pid $server
bash -c "$away"

[ -n "${MEDUSA:-}" ] || exit 0
[ -e "$BENCH_DIR/node/pid" ] || { echo "the node does not run: no peer"; exit 0; }
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
    "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" > "$root/credentials"
medusa_ini > "$root/medusa.ini" <<INI
storage_provider = s3_compatible
host = 127.0.0.1
port = $S3_PORT
key_file = $root/credentials
secure = False
region = us-east-1
s3_addressing_style = path
bucket_name = bench
prefix = medusa
INI
medusa="$MEDUSA --config-file $root/medusa.ini"
peers() {
    row "helenus" "exec $helenus_backup" "$empty"
    row "medusa, full" "exec $medusa backup-node --backup-name bench --mode full" "$empty"
}
echo "--- everything, with the peer"
peers | ROUNDS=$PEER_ROUNDS measure --bytes "$bytes" --pid $server
