#!/bin/bash
# All rows of one SSTable as JSON lines: Helenus and sstabledump -l, whole process against whole process, one after the
# other.
#
# usage: dump.sh DATA_DB [HELENUS]
#
# environment: CASSANDRA_LIB  the jars of Cassandra 4.1 or 5.0 (without it Helenus alone is measured)
#              CASSANDRA_CONF a directory with a cassandra.yaml
#              ROUNDS         how often [default: 3]
#
# The SSTable of the figures in performance.md has 1,187,500 rows of a text, a double, a timestamp and a map of three in
# 59,375 partitions: 100 MB, LZ4, written by Cassandra's CQLSSTableWriter.
set -euo pipefail
data=$1 helenus=${2:-helenus} rounds=${ROUNDS:-3}
cat "$data" > /dev/null
time_it() { # name, command
    /usr/bin/time -f "$1: %e s wall, %U + %S s CPU, %M KiB" bash -c "$2 > /dev/null"
}
for _ in $(seq "$rounds"); do
    time_it "helenus sstable dump -l" "exec '$helenus' sstable dump -l '$data'"
    time_it "helenus sstable dump" "exec '$helenus' sstable dump '$data'"
    if [ -n "${CASSANDRA_LIB:-}" ]; then
        flags=$(for p in java.io java.lang java.lang.reflect java.math java.net java.nio java.util java.util.concurrent \
            java.util.concurrent.atomic jdk.internal.misc jdk.internal.ref jdk.internal.reflect sun.nio.ch; do
            printf -- '--add-opens java.base/%s=ALL-UNNAMED --add-exports java.base/%s=ALL-UNNAMED ' "$p" "$p"
        done)
        time_it "sstabledump -l" "exec java $flags -Djava.security.manager=allow -Xmx512m \
            -javaagent:$(echo "$CASSANDRA_LIB"/jamm-*.jar) -Dcassandra.config=file://$CASSANDRA_CONF/cassandra.yaml \
            -cp '$CASSANDRA_LIB/*' org.apache.cassandra.tools.SSTableExport '$data' -l"
    fi
done
