#!/bin/bash
# Extended verification of px.big, every row of it: Helenus on one core and on all, and Cassandra's sstableverify -e.
#
# usage: extended.sh
#        PEER=no extended.sh  without sstableverify
#
# environment: common.sh, cassandra.sh. The node may run or not; `-f` lets sstableverify run beside it.
set -euo pipefail
. "$(dirname "$0")/common.sh"

table=$(echo "$data"/px/big-*)
bytes=$(find "$table" -maxdepth 1 -type f -name '*-*' -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
echo "px.big: $(ls "$table"/*-Data.db | wc -l) SSTables, $bytes bytes, in the page cache"

rows() {
    row "helenus --extended, one core" "exec taskset -c 1 $helenus sstable verify --extended $table"
    row "helenus --extended, all cores" "exec $helenus sstable verify --extended $table"
    [ "${PEER:-yes}" = no ] ||
        row "sstableverify -e" "exec $cassandra java org.apache.cassandra.tools.StandaloneVerifier -f -e px big"
}
rows | measure --bytes "$bytes"
