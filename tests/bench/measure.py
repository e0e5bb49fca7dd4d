#!/usr/bin/env python3
"""Times whole processes side by side, in turn: A B C A B C ..., and prints their medians and the ratios.

usage: measure.py [-n ROUNDS] [--bytes N] [--pid PID] [--csv FILE] FILE

FILE (`-`: standard input) has one command per line, for a shell, behind its name and a tab:

    name <TAB> command
    name <TAB> command <TAB> what is run before it and not timed

A name that ends in ` cold` has the page cache emptied before each run (root only). The ratio is each command's median
of (its wall time / that of the first command in the same round): what drifts between rounds cancels out.

  --bytes N   also print N / wall as GB/s, and CPU seconds per GB
  --pid PID   also print the CPU seconds that this other process, a server, spent meanwhile
  --csv FILE  append every single run

Wall is measured here; CPU and peak memory of the process (and of those it waits for) by /usr/bin/time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def server_cpu(pid: int | None) -> float:
    if pid is None:
        return 0.0
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drop_caches() -> None:
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3\n")


def run(command: str, pid: int | None) -> dict:
    with tempfile.NamedTemporaryFile("r") as report, tempfile.TemporaryFile() as output:
        server = server_cpu(pid)
        started = time.monotonic()
        # `exec`: the shell becomes the program, unless the command is more than one.
        code = subprocess.run(
            ["/usr/bin/time", "-o", report.name, "-f", "%U %S %M", "bash", "-c", command],
            stdout=output,
            stderr=output,
        ).returncode
        wall = time.monotonic() - started
        server = server_cpu(pid) - server
        if code != 0:
            output.seek(0)
            sys.stderr.write(f"exit code {code}: {command}\n{output.read().decode(errors='replace')[-2000:]}\n")
        user, system, peak = report.read().split("\n")[-2].split()
    return {
        "wall": wall,
        "user": float(user),
        "system": float(system),
        "peak": int(peak) / 1024,
        "server": server,
        "code": code,
    }


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--pid", type=int)
    parser.add_argument("--csv")
    parser.add_argument("file")
    options = parser.parse_args()
    with sys.stdin if options.file == "-" else open(options.file, encoding="utf-8") as file:
        commands = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
    runs: dict[str, list[dict]] = {name: [] for name, *_ in commands}
    load = [os.getloadavg()[0]]
    for number in range(options.n):
        for name, command, *before in commands:
            if before:
                subprocess.run(["bash", "-c", before[0]], check=True, stdout=subprocess.DEVNULL)
            if name.endswith(" cold"):
                drop_caches()
            result = run(command, options.pid)
            runs[name].append(result)
            if options.csv:
                with open(options.csv, "a", encoding="utf-8") as csv:
                    fields = ("wall", "user", "system", "peak", "server", "code")
                    csv.write(f"{name},{number}," + ",".join(f"{result[field]:.3f}" for field in fields) + "\n")
        load.append(os.getloadavg()[0])
    print(f"load {min(load):.1f}-{max(load):.1f}, {options.n} rounds in turn, medians (least-most)")
    width = max(len(name) for name in runs)
    first = runs[commands[0][0]]
    failed = False
    for name, results in runs.items():
        median = {field: statistics.median(result[field] for result in results) for field in results[0]}
        walls = [result["wall"] for result in results]
        ratio = statistics.median(result["wall"] / base["wall"] for result, base in zip(results, first))
        cpu = statistics.median(result["user"] + result["system"] for result in results)
        cpu_ratio = cpu / max(statistics.median(base["user"] + base["system"] for base in first), 0.005)
        line = (
            f"{name:{width}}  wall {median['wall']:7.3f} s ({min(walls):.3f}-{max(walls):.3f})  x{ratio:6.2f}"
            f"  cpu {cpu:6.2f} s x{cpu_ratio:6.2f}  peak {median['peak']:6.1f} MiB"
        )
        if options.bytes:
            line += f"  {options.bytes / 1e9 / median['wall']:5.2f} GB/s  {cpu / (options.bytes / 1e9):5.2f} cpu s/GB"
        if options.pid:
            line += f"  server cpu {median['server']:5.2f} s"
        codes = {result["code"] for result in results}
        if codes != {0}:
            line += f"  EXIT CODES {sorted(codes)}"
            failed = True
        print(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
