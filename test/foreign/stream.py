"""A Work stream, in a thread of its own."""
import queue
import threading
from functools import partial

import grpc

from drover.v1 import task_pb2 as pb
from drover.v1.task_pb2_grpc import WorkerServiceStub

CONNECT_SECONDS = 3

CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Else a new stream to the same address would share the old, perhaps dead, connection.
    ("grpc.use_local_subchannel_pool", 1),
]


class Stream(threading.Thread):
    """One Work stream on a connection of its own. `deadline` is when the worker gives it up."""

    def __init__(self, address, worker, deadline):
        super().__init__(daemon=True)
        self.address = address
        self.generation = 0  # none yet: hello is sent once the connection stands
        self.deadline = deadline
        self._worker = worker
        self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        self._frames = queue.SimpleQueue()

    def run(self):
        post, worker, error = self._worker.inbox.put, self._worker, None
        try:
            self._connect()
            post(partial(worker.on_connected, self))
            for frame in WorkerServiceStub(self._channel).Work(iter(self._frames.get, None)):
                post(partial(worker.on_frame, self, frame))
        except grpc.RpcError as refusal:
            error = f"{refusal.code().name}: {refusal.details()}"
        except (ConnectionError, queue.Empty, ValueError) as failure:
            # Empty: no connection in time. ValueError: the channel was closed by cancel().
            error = f"{type(failure).__name__} {failure}"
        self.cancel()
        post(partial(worker.on_closed, self, error))

    def _connect(self):
        """grpcio would wait and try again; with other addresses to try, a refusal is enough."""
        states = queue.SimpleQueue()
        self._channel.subscribe(states.put, try_to_connect=True)
        while (state := states.get(timeout=CONNECT_SECONDS)) != grpc.ChannelConnectivity.READY:
            if state == grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise ConnectionError(f"nobody answers at {self.address}")

    def send(self, **parts):
        self._frames.put(pb.WorkRequest(**parts))

    def half_close(self):
        self._frames.put(None)

    def cancel(self):
        self._frames.put(None)
        self._channel.close()
