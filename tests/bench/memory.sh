#!/bin/bash
# Peak memory of a backup: 1 GB against 10 GB in as many SSTables, and 100 SSTables, small or large, against 100,000.
#
# usage: memory.sh            SETS="1GB 10GB" memory.sh: only these
#
# environment: common.sh. Needs 12 GB and 1.7 million inodes in $BENCH_DIR.
set -euo pipefail
. "$(dirname "$0")/common.sh"

clones=$BENCH_DIR/clones
big=$(echo "$data"/px/big-*)
small=$(echo "$data"/many/t000-*)
make() { # NAME TABLE TABLES SSTABLES-PER-TABLE
    [ -d "$clones/$1" ] || "$here/clone.py" "$2" "$clones/$1" "$3" "$4"
}
make 1GB "$BENCH_DIR/pieces/px/big" 5 10
make 10GB "$big" 5 10
make 100 "$small" 100 1
make 100-large "$BENCH_DIR/pieces/px/big" 10 10
make 100000 "$small" 100 1000
# Fewer SSTables than are read at a time.
make 5-large "$big" 1 5

for set in ${SETS:-1GB 10GB 100 100-large 100000 5-large}; do
    repository=$BENCH_DIR/repository-memory
    backup="$helenus backup --data-dir $clones/$set --repository $repository --cluster bench --quiet
        --host-id 7c0f1a52-2c4b-4e0f-9d0c-5a0f4b1f7d10"
    backup=${backup//$'\n'/}
    {
        row "$set" "exec $backup" "rm -rf $repository && sync -f $BENCH_DIR"
    } | ROUNDS=${ROUNDS_MEMORY:-1} measure
    row "$set, nothing new" "exec $backup" | ROUNDS=${ROUNDS_MEMORY:-1} measure
    rm -rf "$repository"
done
