# Sourced by the benchmarks: where things lie, and who takes part.
#
# environment:
#   BENCH_DIR   where everything lies; data.sh has filled it
#   HELENUS     the program [default: target/release/helenus of this repository]
#   FLOOR       the yardstick [default: floor/target/release/floor, from `cargo build --release` in floor/]
#   ROUNDS      how often each command runs [default: 5]
#   RESULTS     a CSV file to which every single run is appended [default: $BENCH_DIR/results.csv]
: "${BENCH_DIR:?set BENCH_DIR to the directory that data.sh filled}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${HELENUS:=$here/../../target/release/helenus}"
: "${FLOOR:=$here/floor/target/release/floor}"
: "${ROUNDS:=5}"
: "${RESULTS:=$BENCH_DIR/results.csv}"
data=$BENCH_DIR/node/data
cassandra=$here/cassandra.sh

for needed in "$HELENUS" "$FLOOR" /usr/bin/time; do
    [ -x "$needed" ] || { echo "$needed is missing" >&2; exit 1; }
done

# Nothing of the machine's own configuration takes part.
config=$BENCH_DIR/helenus.toml
printf 'state_dir = "%s"\n' "$BENCH_DIR/state" > "$config"
helenus="$HELENUS --config $config"

measure() { "$here/measure.py" -n "$ROUNDS" --csv "$RESULTS" "$@" -; }
row() { local IFS=$'\t'; printf '%s\n' "$*"; }

# medusa_ini: prints Medusa's configuration for the node of cassandra.sh; the lines of its storage come from standard
# input. What differs from Medusa's defaults: no sudo, no systemd, our nodetool, another storage.
medusa_ini() {
    printf '#!/bin/bash\nexec %s nodetool "$@"\n' "$cassandra" > "$BENCH_DIR/nodetool"
    chmod +x "$BENCH_DIR/nodetool"
    cat <<INI
[cassandra]
config_file = $BENCH_DIR/node/conf/cassandra.yaml
nodetool_executable = $BENCH_DIR/nodetool
nodetool_flags =
start_cmd = true
stop_cmd = true
check_running = true
resolve_ip_addresses = False
use_sudo = False
[checks]
health_check = cql
[logging]
enabled = 0
[storage]
fqdn = bench
use_sudo_for_restore = False
INI
    cat
}
