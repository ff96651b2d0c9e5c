"""Whether the Ray of this process still answers; its own C++ waits a minute, or for ever."""

from __future__ import annotations

import os
import socket
import time

ASK_S = 1.0
"""Between two questions."""
ANSWER_S = 2.0
PATIENCE_S = 5.0
"""How long a cluster may give no answer, unless one whose head comes back sets `RECONNECT`."""
LOCAL_S = 1.0
"""The same for the Ray of a single machine, where nobody is far away."""
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"


class RayWatch:
    """Asks Ray's head and the node that this process talks to, in turn.

    `stuck` is set by who has left a call to Ray that does not come back.
    """

    def __init__(self) -> None:
        import ray

        context = ray.get_runtime_context()
        host, _, port = context.gcs_address.rpartition(":")
        here = host == "127.0.0.1"
        self._patience = LOCAL_S if here else float(os.environ.get(RECONNECT, PATIENCE_S))
        self._asked = time.monotonic()
        self._silent: dict[str, float] = {}
        self._addresses = {"head": (host, int(port))}
        for node in ray.nodes():
            if node["NodeID"] == context.get_node_id():
                self._addresses["node"] = (node["NodeManagerAddress"], node["NodeManagerPort"])
        self.stuck = False

    def trouble(self) -> str | None:
        """One sentence if Ray is dead. May be called as often as one likes."""
        now = time.monotonic()
        if now - self._asked < ASK_S:
            return None
        for name, address in self._addresses.items():
            try:
                with socket.create_connection(address, ANSWER_S):
                    self._silent.pop(name, None)
            except OSError as error:
                since = self._silent.setdefault(name, now)
                if now - since >= self._patience:
                    return (
                        f"Ray has died: its {name} at {address[0]}:{address[1]} gives no answer "
                        f"({error.strerror or error}); see whether the machine is out of memory"
                    )
        self._asked = time.monotonic()
        return None
