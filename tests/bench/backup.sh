#!/bin/bash
# A backup of everything to a directory on the same disk, and the same again with nothing changed: Helenus, cp, Medusa
# and Esop.
#
# usage: backup.sh          Medusa and Esop need the node to run (cassandra.sh start)
#
# environment: common.sh, cassandra.sh, and
#   MEDUSA     the `medusa` program: pip install cassandra-medusa==0.31.0; left out if not set
#   ESOP_JAR   esop-3.0.1.jar of Maven's com.instaclustr:esop; left out if not set
#   PEER_ROUNDS  how often they run [default: 3]; they are slow
#
# Each full backup starts from an empty repository, with all earlier writes on the disk. Helenus and `cp -r` + `sync`
# end when the files are on the disk; Medusa and Esop sync nothing.
#
# What a run wrote is moved away and deleted at the end of the section (30 GB): ext4 without a journal does not use the
# inodes of deleted files again for some seconds, and whoever creates the most files would pay for that.
set -euo pipefail
. "$(dirname "$0")/common.sh"
: "${PEER_ROUNDS:=3}"

target=$BENCH_DIR/target
bytes=$(find "$data" -path '*/snapshots' -prune -o -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
echo "$(find "$data" -path '*/snapshots' -prune -o -type f -print | wc -l) files, $bytes bytes"
rm -rf "$target" && mkdir -p "$target/old"
trap 'rm -rf "$target"' EXIT
sync -f "$target" && sleep "${PAUSE:=40}"

helenus_backup="$helenus backup --data-dir $data --repository $target/helenus --cluster bench --quiet"
copy="cp -r $data $target/cp && sync -f $target/cp"
empty() { echo "if [ -e $target/$1 ]; then mv $target/$1 $target/old/\$(date +%s%N); fi; sync -f $target"; }
sweep() { rm -rf "$target/old" "$target/cp" && mkdir "$target/old" && sync -f "$target" && sleep "$PAUSE"; }

copy_row() { row "cp -r + sync" "$copy" "$(empty cp)"; }
full_rows() {
    copy_row
    row "helenus" "exec $helenus_backup" "$(empty helenus)"
}
echo "--- everything"
full_rows | measure --bytes "$bytes"
sweep
echo "--- nothing changed since"
row "helenus, nothing new" "exec $helenus_backup" | measure

pid=$(cat "$BENCH_DIR/node/pid" 2> /dev/null) || { echo "the node does not run: no peers"; exit 0; }
jmx_port=${BENCH_JMX_PORT:-7199}

medusa_ini=$BENCH_DIR/medusa.ini
medusa_ini > "$medusa_ini" <<INI
storage_provider = local
base_path = $target
bucket_name = medusa
prefix = bench
INI
medusa="${MEDUSA:-} --config-file $medusa_ini backup-node --backup-name"
esop="java -jar ${ESOP_JAR:-} backup --jmx-service ${BENCH_JMX_HOST:-127.0.0.1}:$jmx_port --data-dir $data
    --storage-location file://$target/esop/bench/datacenter1/bench --create-missing-bucket --snapshot-tag"
esop=${esop//$'\n'/}

names() { echo "\$(date +%s%N)"; }
full_peers() {
    full_rows
    [ -z "${MEDUSA:-}" ] ||
        row "medusa, full" "exec $medusa $(names) --mode full" "$(empty medusa) && mkdir -p $target/medusa"
    [ -z "${ESOP_JAR:-}" ] || row "esop" "exec $esop $(names)" "$(empty esop)"
}
echo "--- everything, with peers"
full_peers | ROUNDS=$PEER_ROUNDS measure --bytes "$bytes" --pid "$pid"
sweep
# A differential backup builds upon a differential one.
[ -z "${MEDUSA:-}" ] || bash -c "$medusa before --mode differential" > /dev/null 2>&1
unchanged_peers() {
    row "helenus, nothing new" "exec $helenus_backup"
    [ -z "${MEDUSA:-}" ] || row "medusa, nothing new" "exec $medusa $(names) --mode differential"
    [ -z "${ESOP_JAR:-}" ] || row "esop, nothing new" "exec $esop $(names)"
}
echo "--- nothing changed since, with peers"
unchanged_peers | ROUNDS=$PEER_ROUNDS measure --pid "$pid"
