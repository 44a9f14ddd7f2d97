"""Whole processes, in turn: this program and `kubectl version --client`, both without a cluster; then the peak memory of `list`.
Prints one JSON document. Needs the bed up and the program built.
  bench/startup.py [PAIRS]"""
import json, os, shlex, statistics, subprocess, sys, time

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
program = "dist/kubectl-kaa_backup"
bed = subprocess.run(["bash", "test/e2e/bed/bed", "env"], check=True, capture_output=True, text=True).stdout
environment = subprocess.run(["bash", "-c", bed + "\nenv -0"], check=True, capture_output=True, text=True).stdout
os.environ.update(line.split("=", 1) for line in environment.split("\0") if "=" in line)


def run(command, expected=0):
    """Wall seconds, CPU seconds and peak MiB of one process."""
    started = time.monotonic()
    process = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != expected:
        sys.exit(f"{command}: status {status}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


median = statistics.median
theirs = "kubectl version --client"
count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
figures = {}
# What needs no cluster: a version, a page of help, an error of usage.
for arguments, status in (("version --client", 0), ("--help", 0), ("create --no-such-flag", 2)):
    ours = f"{program} {arguments}"
    run(ours, status), run(theirs)
    pairs = [(run(ours, status), run(theirs)) for _ in range(count)]
    figures[arguments] = {
        "wallSeconds": [round(median(pair[side][0] for pair in pairs), 3) for side in (0, 1)],
        "cpuSeconds": [round(median(pair[side][1] for pair in pairs), 3) for side in (0, 1)],
        "wallRatio": round(median(a[0] / b[0] for a, b in pairs), 2),
    }
peak = max(run(f"{program} list -n production-kaa")[2] for _ in range(5))
print(json.dumps({**figures, "listPeakMebibytes": round(peak, 1)}, indent=1))
