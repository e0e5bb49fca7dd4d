#!/bin/bash
# One Cassandra node for the benchmarks, its tools, and nothing else.
#
# usage: cassandra.sh start                     starts the node, returns when it serves CQL
#        cassandra.sh stop                      drains and stops it
#        cassandra.sh pid                       prints the process id of the running node
#        cassandra.sh nodetool ARG...           nodetool against the running node
#        cassandra.sh java CLASS ARG...         any class of Cassandra's jars, with the node's configuration
#
# environment:
#   BENCH_DIR        where everything lies; the node's files are $BENCH_DIR/node
#   CASSANDRA_LIB    the jars [default: ~/.cache/helenus-cassandra/cassandra-4.1.10/lib, fetched by
#                    `cargo run -p helenus-tests --bin fetch_cassandra`]
#   BENCH_ADDRESS    a loopback address that nobody else uses [default: 127.0.0.1]
#   BENCH_JMX_PORT   [default: 7199]
set -euo pipefail

: "${BENCH_DIR:?set BENCH_DIR to a directory with 30 GB free}"
lib=${CASSANDRA_LIB:-$HOME/.cache/helenus-cassandra/cassandra-4.1.10/lib}
address=${BENCH_ADDRESS:-127.0.0.1}
jmx_port=${BENCH_JMX_PORT:-7199}
node=$BENCH_DIR/node

[ -d "$lib" ] || { echo "no jars of Cassandra in $lib: set CASSANDRA_LIB" >&2; exit 1; }

# Packages of the JDK that Cassandra 4.1 reaches into, which Java has closed since.
opened=()
for package in java.base/java.{io,lang,lang.reflect,math,net,nio,security,time,util,util.concurrent,util.concurrent.atomic} \
    java.base/jdk.internal.{math,misc,module,ref,reflect,util.jar,vm} java.base/sun.nio.ch \
    java.management/sun.management java.management.rmi/javax.management.remote.rmi \
    java.rmi/sun.rmi.{registry,server,transport,transport.tcp} java.sql/java.sql \
    jdk.management/com.sun.management.internal jdk.management.jfr/jdk.management.jfr; do
    opened+=(--add-opens "$package=ALL-UNNAMED" --add-exports "$package=ALL-UNNAMED")
done
common=("${opened[@]}" -Djava.security.manager=allow -XX:TieredStopAtLevel=1 -XX:-UsePerfData)
configured=(-javaagent:"$(ls "$lib"/jamm-*.jar)" -Dcassandra.config="file://$node/conf/cassandra.yaml"
    -Dcassandra.storagedir="$node" -Dlogback.configurationFile="file://$node/conf/logback.xml"
    -Djava.io.tmpdir="$node/tmp" -Djna.tmpdir="$node/tmp" -cp "$node/conf:$lib/*")

configure() {
    mkdir -p "$node/conf" "$node/tmp" "$node/log"
    cat > "$node/conf/cassandra.yaml" <<YAML
cluster_name: bench
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "$address"}]
endpoint_snitch: SimpleSnitch
listen_address: $address
rpc_address: $address
start_native_transport: true
data_file_directories: [$node/data]
commitlog_directory: $node/commitlog
saved_caches_directory: $node/saved_caches
hints_directory: $node/hints
cdc_raw_directory: $node/cdc_raw
commitlog_sync: periodic
commitlog_sync_period: 1000ms
auto_snapshot: false
YAML
    cat > "$node/conf/logback.xml" <<XML
<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>$node/log/system.log</file>
    <encoder><pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="FILE"/></root>
</configuration>
XML
}

start() {
    if (exec 3<> "/dev/tcp/$address/9042") 2> /dev/null; then
        echo "$address:9042 is taken: set BENCH_ADDRESS" >&2
        exit 1
    fi
    configure
    setsid java -Xms1g -Xmx1g -XX:+UseSerialGC -Xss512k "${common[@]}" "${configured[@]}" \
        -Djdk.attach.allowAttachSelf=true -Dio.netty.tryReflectionSetAccessible=true \
        -Dcassandra-foreground=yes -Dcassandra.jmx.local.port="$jmx_port" -Dcassandra.ring_delay_ms=1000 \
        -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.superuser_setup_delay_ms=0 \
        org.apache.cassandra.service.CassandraDaemon > "$node/log/output.log" 2>&1 < /dev/null &
    local started=$!
    echo "$started" > "$node/pid"
    for _ in $(seq 900); do
        kill -0 "$started" 2> /dev/null || { tail -20 "$node/log/output.log" >&2; exit 1; }
        if (exec 3<> "/dev/tcp/$address/9042") 2> /dev/null; then return; fi
        sleep 0.2
    done
    echo "Cassandra does not serve CQL on $address after 180 s: see $node/log" >&2
    exit 1
}

stop() {
    [ -f "$node/pid" ] || return 0
    local running
    running=$(cat "$node/pid")
    kill "$running" 2> /dev/null || true
    for _ in $(seq 300); do
        kill -0 "$running" 2> /dev/null || { rm -f "$node/pid"; return; }
        sleep 0.2
    done
    echo "Cassandra (process $running) does not end" >&2
    exit 1
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
start) start ;;
stop) stop ;;
pid) cat "$node/pid" ;;
nodetool)
    exec java "${common[@]}" -Dlogback.configurationFile="file://$node/conf/logback.xml" -cp "$lib/*" \
        org.apache.cassandra.tools.NodeTool -p "$jmx_port" "$@"
    ;;
java) exec java -Xmx1g "${common[@]}" "${configured[@]}" "$@" ;;
*)
    sed -n '2,/^set/p' "$0" | grep '^#' | cut -c3- >&2
    exit 2
    ;;
esac
