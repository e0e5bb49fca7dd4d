#!/usr/bin/env python3
"""Makes a data directory with as many SSTables as wanted out of the few of a real table, by hard links.

usage: clone.py TABLE-DIRECTORY DATA-DIRECTORY TABLES SSTABLES-PER-TABLE

Each of the TABLES in the keyspace `clones` gets SSTABLES-PER-TABLE SSTables, which are those of TABLE-DIRECTORY over
and over under other sequence ids. The links cost no space, so 10 GB of data need 2 GB. Every 1,000 links of a file
begin with a true copy if the file is small: ext4 allows 65,000 links, and a snapshot needs as many again.
"""

import os
import re
import shutil
import sys
import uuid

LINKS_MAX = 1000
SMALL_BYTES = 1 << 20
NAME = re.compile(r"(?P<version>[a-z]{2})-(?P<id>[^-]+)-(?P<component>(?:big|bti)-.+)")


def sstables(directory: str) -> list[list[tuple[str, re.Match]]]:
    found: dict[str, list[tuple[str, re.Match]]] = {}
    for entry in sorted(os.listdir(directory)):
        name = NAME.fullmatch(entry)
        if name:
            found.setdefault(name["id"], []).append((os.path.join(directory, entry), name))
    return list(found.values())


def main(source: str, target: str, tables: int, per_table: int) -> None:
    originals = sstables(source)
    if not originals:
        sys.exit(f"no SSTables in {source}")
    latest: dict[str, list] = {}
    for table in range(tables):
        # Table ids as Cassandra writes them; fixed, so that two runs make the same names.
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"clones.t{table}").hex
        directory = os.path.join(target, "clones", f"t{table:03d}-{identity}")
        os.makedirs(directory)
        for number in range(per_table):
            for path, name in originals[number % len(originals)]:
                new = os.path.join(directory, f"{name['version']}-{number + 1}-{name['component']}")
                last = latest.get(path)
                if last is None or last[1] >= LINKS_MAX:
                    if os.path.getsize(path) < SMALL_BYTES:
                        shutil.copy2(path, new)
                        latest[path] = [new, 1]
                        continue
                    latest[path] = last = [path, 1]
                os.link(last[0], new)
                last[1] += 1


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
