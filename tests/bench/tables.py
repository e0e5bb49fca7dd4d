#!/usr/bin/env python3
"""Makes the schema of `px.big`, and the keyspace `many` with its small SSTables.

usage: tables.py ADDRESS TABLES FLUSHES FLUSH-COMMAND

Each of FLUSHES rounds writes 20 rows into each of the TABLES and runs FLUSH-COMMAND, which must flush `many`:
TABLES x FLUSHES SSTables of 8 files. Compaction is off, so that they stay. Needs cassandra-driver.
"""

import subprocess
import sys

from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent_with_args

ROWS_PER_ROUND = 20
REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
COMPACTION = "{'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}"


def main(address: str, tables: int, flushes: int, flush_command: str) -> None:
    session = Cluster([address], protocol_version=4).connect()
    session.default_timeout = 180
    for keyspace in ("px", "many"):
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {REPLICATION}")
    session.execute(
        "CREATE TABLE IF NOT EXISTS px.big"
        " (pk bigint, ck int, at timestamp, words text, noise blob, PRIMARY KEY (pk, ck))"
        f" WITH compaction = {COMPACTION}"
    )
    for number in range(tables):
        session.execute(
            f"CREATE TABLE IF NOT EXISTS many.t{number:03d} (pk int PRIMARY KEY, words text)"
            f" WITH compaction = {COMPACTION}"
        )
    print(f"{tables} tables made", flush=True)
    for flush in range(flushes):
        for number in range(tables):
            insert = session.prepare(f"INSERT INTO many.t{number:03d} (pk, words) VALUES (?, ?)")
            rows = [(flush * 1000 + row, f"row {row} of round {flush} ") for row in range(ROWS_PER_ROUND)]
            execute_concurrent_with_args(session, insert, rows, concurrency=ROWS_PER_ROUND)
        subprocess.run(flush_command, shell=True, check=True)
        print(f"round {flush + 1} of {flushes} flushed", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
