#!/bin/bash
# All rows of one SSTable of 1,187,500 small rows: Helenus and Cassandra's sstabledump, as JSON and as JSON lines, and a
# lookup of one partition.
#
# usage: dump.sh            makes the SSTable first, once, in $BENCH_DIR/rows
#        PEER=no dump.sh    without sstabledump
#
# environment: common.sh, cassandra.sh
set -euo pipefail
. "$(dirname "$0")/common.sh"
lib=${CASSANDRA_LIB:-$HOME/.cache/helenus-cassandra/cassandra-4.1.10/lib}

made=$BENCH_DIR/rows/px/rows
if ! ls "$made"/*-Data.db > /dev/null 2>&1; then
    rm -rf "$made" && mkdir -p "$made" "$BENCH_DIR/classes"
    javac -nowarn -cp "$lib/*" -d "$BENCH_DIR/classes" "$here/SmallRows.java"
    "$cassandra" java -Xmx6g -cp "$BENCH_DIR/classes:$BENCH_DIR/node/conf:$lib/*" SmallRows "$made" 59375
fi
sstable=$(echo "$made"/*-Data.db)
echo "px.rows: $(stat -c %s "$sstable") bytes of Data.db"

# Through a pipe: what is written to a file would wait for the disk.
rows() {
    row "helenus sstable dump -l" "$helenus sstable dump -l $sstable | cat > /dev/null"
    row "helenus sstable dump" "$helenus sstable dump $sstable | cat > /dev/null"
    row "helenus sstable get" "exec $helenus sstable get $sstable 31415"
    [ "${PEER:-yes}" = no ] || {
        row "sstabledump -l" "$cassandra java org.apache.cassandra.tools.SSTableExport $sstable -l | cat > /dev/null"
        row "sstabledump" "$cassandra java org.apache.cassandra.tools.SSTableExport $sstable | cat > /dev/null"
    }
}
rows | measure
