#!/bin/bash
# A complete snapshot of 200 tables: Helenus, a bare loop of links, and nodetool.
#
# usage: snapshot.sh          the node must run (cassandra.sh start)
#        PEER=no snapshot.sh  without nodetool and the node
#
# Helenus has no command that only snapshots. The closest whole process is a backup to which nothing is new: it finds
# the SSTables, links all of them for --keep-snapshot, and neither reads nor sends any. The same without --keep-snapshot
# is timed too; the difference is the snapshot.
#
# Every run makes a new snapshot, and all of them go at the end: ext4 without a journal does not use the inodes of
# deleted files again for some seconds, and to search past them would cost more than the links.
#
# environment: common.sh, cassandra.sh
set -euo pipefail
. "$(dirname "$0")/common.sh"

repository=$BENCH_DIR/repository-many
tables="$data/many/*-*"
rm -rf "$repository"
backup="$helenus backup --data-dir $data --repository $repository --cluster bench --keyspace many --quiet"
clear="rm -rf $tables/snapshots && sync -f $BENCH_DIR"
trap 'bash -c "$clear"' EXIT
bash -c "$clear"
$backup
sleep 40

tag='bench-$(date +%s%N)'
rows() {
    row "bare links and copies, synced" "exec $FLOOR snapshot $tag $tables"
    row "helenus --keep-snapshot" "exec $backup --keep-snapshot $tag"
    row "helenus, nothing to link" "exec $backup"
    [ "${PEER:-yes}" = no ] ||
        row "nodetool snapshot -sf" "exec $cassandra nodetool snapshot -sf -t $tag -- many"
}
if [ "${PEER:-yes}" = no ]; then rows | measure; else rows | measure --pid "$("$cassandra" pid)"; fi
