#!/bin/bash
# Verify the checksums of px.big: Helenus, a plain loop of read and CRC-32 over the same files, and Cassandra's sstableverify.
#
# usage: verify.sh          (as root: also with a cold page cache)
#        PEER=no verify.sh  without sstableverify
#
# environment: common.sh, cassandra.sh. The node may run or not; `-f` lets sstableverify run beside it.
set -euo pipefail
. "$(dirname "$0")/common.sh"

table=$(echo "$data"/px/big-*)
# All components: verification reads them all.
files=$(find "$table" -maxdepth 1 -type f -name '*-*' | sort | tr '\n' ' ')
bytes=$(cat $files | wc -c)
echo "px.big: $(ls "$table"/*-Data.db | wc -l) SSTables, $bytes bytes, in the page cache"

one_core="taskset -c 1"
rows() {
    row "read + CRC-32, one core" "exec $one_core $FLOOR crc $files"
    row "helenus, one core" "exec $one_core $helenus sstable verify $table"
    row "helenus, all cores" "exec $helenus sstable verify $table"
    [ "${PEER:-yes}" = no ] ||
        row "sstableverify" "exec $cassandra java org.apache.cassandra.tools.StandaloneVerifier -f px big"
}
rows | measure --bytes "$bytes"

[ -w /proc/sys/vm/drop_caches ] || { echo "not root: no cold runs"; exit 0; }
{
    row "cat, cold" "exec cat $files > /dev/null"
    row "helenus, cold" "exec $helenus sstable verify $table"
} | sed 's/, cold\t/ cold\t/' | measure --bytes "$bytes"
