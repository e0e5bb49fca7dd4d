#!/bin/bash
# Makes the data of the benchmarks once, in $BENCH_DIR/node/data, and leaves the node stopped.
#
#   px.big    2.1 GB of Data.db in 11 SSTables, LZ4
#   many      200 tables x 4 flushes x 8 components = 6,400 files
#
# and, for memory.sh, in $BENCH_DIR/pieces the first tenth of px.big's rows in 11 SSTables a tenth as large.
#
# usage: data.sh
#
# environment: as cassandra.sh, and
#   BENCH_PYTHON     a Python that has cassandra-driver [default: $BENCH_DIR/venv, made here]
#   BENCH_RAW_BYTES  before compression [default: 2800000000]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
: "${BENCH_DIR:?set BENCH_DIR to a directory with 30 GB free}"
lib=${CASSANDRA_LIB:-$HOME/.cache/helenus-cassandra/cassandra-4.1.10/lib}
data=$BENCH_DIR/node/data

if [ -f "$BENCH_DIR/made.txt" ]; then
    cat "$BENCH_DIR/made.txt"
    exit
fi
rm -rf "$BENCH_DIR/node" && mkdir -p "$BENCH_DIR"
if [ -z "${BENCH_PYTHON:-}" ]; then
    [ -x "$BENCH_DIR/venv/bin/python3" ] || {
        python3 -m venv "$BENCH_DIR/venv"
        "$BENCH_DIR/venv/bin/pip" install --quiet cassandra-driver
    }
    BENCH_PYTHON=$BENCH_DIR/venv/bin/python3
fi

"$here/cassandra.sh" start
trap '"$here/cassandra.sh" stop' EXIT
"$BENCH_PYTHON" "$here/tables.py" "${BENCH_ADDRESS:-127.0.0.1}" 200 4 "'$here/cassandra.sh' nodetool flush many"

# Written beside the live tables, so that the import moves the files and does not copy them.
raw=${BENCH_RAW_BYTES:-2800000000}
made=$BENCH_DIR/made/px/big
pieces=$BENCH_DIR/pieces/px/big
rm -rf "$BENCH_DIR/made" "$BENCH_DIR/pieces" && mkdir -p "$made" "$pieces" "$BENCH_DIR/classes"
javac -nowarn -cp "$lib/*" -d "$BENCH_DIR/classes" "$here/BigTable.java"
big_table() {
    "$here/cassandra.sh" java -cp "$BENCH_DIR/classes:$BENCH_DIR/node/conf:$lib/*" BigTable "$@"
}
big_table "$made" "$raw" 256
big_table "$pieces" "$((raw / 10))" 26
"$here/cassandra.sh" nodetool import px big "$made"
"$here/cassandra.sh" nodetool flush

rm -rf "$BENCH_DIR/made"
{
    find "$data"/px/big-* -maxdepth 1 -name '*-Data.db' -printf '%s\n' |
        awk '{ sum += $1 } END { printf "px.big: %d SSTables, %.0f bytes of Data.db\n", NR, sum }'
    echo "many: $(find "$data"/many/t* -maxdepth 1 -type f | wc -l) files"
} | tee "$BENCH_DIR/made.txt"
