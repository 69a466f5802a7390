"""A real Slurm cluster on this machine: munged, slurmctld and two slurmd with ports of their own, in one folder.

Needs root and Debian's `slurmctld slurmd slurm-client munge`. Nothing of it touches /etc or a cluster that is there
already: the key, sockets, spools and logs are in the folder, and `SLURM_CONF` names its configuration.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
NODES = ("n1", "n2")
_WITHIN_S = 30.0

_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=6
SlurmctldTimeout=10
InactiveLimit=0
SlurmdParameters=config_overrides
KillWait=2
OverTimeLimit=0
MinJobAge=300
MaxArraySize=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def why_not() -> str:
    """Return why no cluster can be started here; empty if one can."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if missing:
        return f"{missing[0]} is not installed: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "slurmd must run as root"


class SlurmCluster:
    """The daemons of a cluster with two nodes; `env` is what its clients need."""

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder = folder
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname()
        ports = _free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus}"
            for node, port in zip(NODES, ports[1:], strict=True)
        ]
        text = _CONF.format(host=host, ctld_port=ports[0], folder=folder, nodes="\n".join(nodes))
        (folder / "slurm.conf").write_text(text, encoding="utf-8")
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all daemons; return when both nodes take jobs."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        options = [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in files.items()]
        self._start("munged", "munged", "--foreground", "--force", f"--key-file={key}", *options)
        _until(files["socket"].exists, "munged's socket")
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        _until(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), "both nodes")

    def start_controller(self) -> None:
        """Start slurmctld, with the state that an earlier one left."""
        self._start("slurmctld", "slurmctld", "-D")

    @property
    def job_state(self) -> Path:
        """Return the file in which slurmctld writes down its jobs, at most every five seconds."""
        return self.folder / "state" / "job_state"

    def has_saved(self, words: str) -> bool:
        """Return whether slurmctld has written down some words of its jobs: a name, a comment."""
        return self.job_state.is_file() and words.encode() in self.job_state.read_bytes()

    def kill_controller(self) -> None:
        """Kill slurmctld."""
        self._kill("slurmctld")

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node as a power cut would: its slurmd and every process of its jobs at once."""
        self._kill(node)
        for pid in self._job_processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def node_states(self) -> dict[str, str]:
        """Return the state of each node, such as `idle`, `alloc`, `down`."""
        told = self.ask("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %t", check=False)
        return {node: state.rstrip("*") for node, state in (line.split() for line in told.splitlines())}

    def ask(self, *command: str, check: bool = True) -> str:
        """Run a client of Slurm; return what it prints."""
        ran = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, timeout=60)
        if check and ran.returncode:
            raise AssertionError(f"{' '.join(command)}: {ran.stderr}")
        return ran.stdout

    def stop(self) -> None:
        """Stop all daemons and whatever their jobs left."""
        for node in NODES:
            self.kill_node(node)
        for name in ("slurmctld", "munged"):
            self._kill(name)

    def _start(self, name: str, program: str, *options: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen([program, *options], env=self.env, stdout=out, stderr=out)

    def _kill(self, name: str) -> None:
        if (daemon := self._daemons.pop(name, None)) is not None:
            daemon.kill()
            daemon.wait()

    def _job_processes(self, node: str) -> list[int]:
        """Return the processes of a node's jobs, those that watch over them (slurmstepd) first."""
        mark, conf = f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.folder}/slurm.conf".encode()
        jobs, watching = [], []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and {mark, conf} <= set((entry / "environ").read_bytes().split(b"\0")):
                    jobs.append(int(entry.name))
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"slurmstepd"):
                        watching.append(parent)
        return [*watching, *jobs]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not ready after {_WITHIN_S:.0f} s")
        time.sleep(0.1)
