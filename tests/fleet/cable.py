"""A switch and machines at it, each a network of its own in the kernel: who is unplugged loses packets, unheard."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

_TOOLS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux"}
_STARTING_S = 20


class NoNetworkError(Exception):
    """The kernel or the tools do not do what was asked."""


class Switch:
    """Machines by name, with an address each; their processes are started by the words of ``at``."""

    def __init__(self, *names):
        self.address_of = {name: f"192.0.2.{number}" for number, name in enumerate(names, 1)}  # RFC 5737: nobody's
        self._holders = {}
        try:
            for name in ("switch", *names):
                # A network lives as long as a process that is in it.
                self._holders[name] = subprocess.Popen(
                    ["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
                )
            for name in self._holders:
                self._wait_for(name)
            self._ip("switch", "link", "add", "switch", "type", "bridge")
            self._ip("switch", "link", "set", "switch", "up")
            for name, address in self.address_of.items():
                other = str(self._holders[name].pid)
                self._ip("switch", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", other)
                self._ip("switch", "link", "set", name, "up", "master", "switch")
                self._ip(name, "address", "add", f"{address}/24", "dev", "eth0")
                for link in ("lo", "eth0"):
                    self._ip(name, "link", "set", link, "up")
        except BaseException:
            self.close()
            raise

    def at(self, name):
        """Return the words before those of a command that is to run on a machine."""
        return ("nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net", "--")

    def unplug(self, name):
        """Pull a machine's cable out of the switch; its own end sees nothing of it."""
        self._ip("switch", "link", "set", name, "nomaster")

    def plug(self, name):
        """Put it back."""
        self._ip("switch", "link", "set", name, "master", "switch")

    def close(self):
        """End the networks, once the processes in them have ended."""
        for holder in self._holders.values():
            holder.kill()
            holder.communicate()

    def _ip(self, name, *words):
        done = subprocess.run([*self.at(name), "ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoNetworkError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def _wait_for(self, name):
        holder, ours = self._holders[name], Path("/proc/self/ns/net").readlink()
        until = time.monotonic() + _STARTING_S
        while True:
            if holder.poll() is not None:
                raise NoNetworkError(holder.stderr.read().decode().strip())
            with suppress(OSError):  # it ended a moment ago
                if Path(f"/proc/{holder.pid}/ns/net").readlink() != ours:
                    return
            assert time.monotonic() < until
            time.sleep(0.01)


def switch(*names):
    """Return a switch with these machines; skips, with the reason, where the kernel or its tools give none."""
    if not Path("/proc/self/ns/net").exists() or os.geteuid() != 0:
        pytest.skip("networks of their own are made by root alone, on Linux")
    for tool, package in _TOOLS.items():
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: apt-get install {package}")
    try:
        return Switch(*names)
    except NoNetworkError as error:
        pytest.skip(f"no network of its own can be made here: {error}")
