"""A Drover worker in plain Python, made from proto/drover/v1/task.proto alone.

It shows all that a worker does on the Work stream, as a model for SDKs in other languages:

  hello        the session is the process; each new stream resumes it with generation + 1
  offer        how many leases it may hold; absolute, so that repeating it is harmless
  results      kept until acked, sent again on every new stream
  heartbeat    the whole inventory; handlers are aborted if none was renewed for too long
  commands     cancel asks a handler to stop, revoke says that its lease is over
  go away      open the next stream first, half-close the old one then
  leaving      said explicitly; the end of a stream says nothing

One thread owns all state: streams (stream.py) and handlers (attempt.py) run in threads of their own
and only put calls into its inbox.
"""
import queue
import random
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from attempt import Context, run_handler
from drover.v1 import task_pb2 as pb
from stream import Stream

ANSWER_SECONDS = 3  # a heartbeat unanswered for this long: dial again
WELCOME_SECONDS = 12  # a coordinator may wait for a store that is being rebuilt
LINGER_SECONDS = 5  # a replaced stream may still bring acks
ABORT_SHARE = 0.9  # of the lease duration: 13.5 s of 15 s
REDIAL_SECONDS = 0.25, 5  # first and longest pause before dialing again
UNACKED_LIMIT = 1000  # with more results than this unacked, take no more tasks
GRACE_SECONDS = 10  # asked to leave, handlers may take this long to end
TICK_SECONDS = 0.05


class Worker:
    def __init__(self, addresses, handlers, queue_name="default", slots=10, log=print):
        self.addresses, self.handlers, self.slots, self.log = addresses, handlers, slots, log
        self.subscriptions = [pb.Subscription(queue=queue_name, types=sorted(handlers))]
        self.session_id = str(uuid.uuid4())
        self.generation = 0
        self.inbox = queue.SimpleQueue()
        self.pool = ThreadPoolExecutor(max_workers=slots)
        self.running = {}  # lease token -> Context
        self.unacked = {}  # lease token -> TaskResult
        self.streams = set()
        self.current = None  # the latest welcomed stream
        self.dialing = None
        self.redial_at = 0.0  # None: nothing planned
        self.dials = self.failures = 0
        self.renewed_at = time.monotonic()
        self.abort_after, self.beat_every = 13.5, 5.0
        self.next_beat, self.beat_number = 0.0, 0
        self.beats = {}  # number -> when it was sent, while unanswered
        self.offered = None
        self.leaving_since = None

    def run(self):
        """Returns after leave(), when every result is acked."""
        while not self.gone():
            try:
                self.inbox.get(timeout=TICK_SECONDS)()
            except queue.Empty:
                pass
            self.tick(time.monotonic())

    def leave(self):
        """Takes nothing new, lets the running end, and goes. May be called from any thread."""
        self.inbox.put(self.on_leave)

    # Streams

    def tick(self, now):
        if self.redial_at is not None and now >= self.redial_at and self.dialing is None:
            self.dial()
        for stream in [s for s in self.streams if s.deadline and now >= s.deadline]:
            stream.deadline = None
            stream.cancel()
        if self.current and now >= self.next_beat:
            self.beat(now)
        if self.beats and now - min(self.beats.values()) > ANSWER_SECONDS:
            self.beats.clear()
            self.plan_dial(now)
        if now >= self.renewed_at + self.abort_after:
            # Somebody else may run these tasks by now.
            self.abort_all("lapsed")
        if self.leaving_since and now >= self.leaving_since + GRACE_SECONDS:
            self.abort_all("leaving")

    def plan_dial(self, at):
        self.redial_at = at if self.redial_at is None else min(at, self.redial_at)

    def dial(self):
        """The next address of the list, so that a lost coordinator is not asked twice running."""
        self.redial_at = None
        address = self.addresses[self.dials % len(self.addresses)]
        self.dialing = Stream(address, self, time.monotonic() + WELCOME_SECONDS)
        self.dials += 1
        self.streams.add(self.dialing)
        self.dialing.start()

    def on_connected(self, stream):
        """From this hello on, leases that arrive on older streams are not ours to take."""
        if stream is not self.dialing:
            return
        self.generation += 1
        stream.generation = self.generation
        stream.hello_at = time.monotonic()
        stream.send(
            hello=pb.Hello(
                worker_id=socket.gethostname()[:100] + "-python",
                session_id=self.session_id,
                generation=self.generation,
                held_lease_tokens=self.inventory(),
                offer=self.offer(),
                sdk="drover-python-example/1",
                host=socket.gethostname(),
            )
        )

    def on_frame(self, stream, frame):
        if frame.HasField("welcome") and stream is self.dialing:
            self.on_welcome(stream, frame.welcome)
        if stream.generation == self.generation:
            for lease in frame.leases:
                self.on_lease(lease)
        for ack in frame.acks:
            self.on_ack(ack)
        for command in frame.commands:
            self.on_command(command)
        if stream is not self.current:
            return
        if frame.HasField("heartbeat_ack"):
            self.on_heartbeat_ack(frame.heartbeat_ack)
        if frame.HasField("go_away"):
            delay = frame.go_away.reconnect_delay.ToTimedelta().total_seconds()
            self.log(f"asked to move: {pb.GoAwayReason.Name(frame.go_away.reason)}")
            self.plan_dial(time.monotonic() + min(delay, REDIAL_SECONDS[1]))

    def on_welcome(self, stream, welcome):
        old, self.current = self.current, stream
        self.dialing = self.redial_at = stream.deadline = None
        self.failures = 0
        if old:
            old.half_close()
            old.deadline = time.monotonic() + LINGER_SECONDS
        for token in welcome.revoked_lease_tokens:
            self.abort(token, "revoked")
        self.abort_after = welcome.lease_duration.ToTimedelta().total_seconds() * ABORT_SHARE
        self.beat_every = welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self.renewed_at = stream.hello_at  # the hello counts as a renewal, from when it was sent
        self.beats.clear()
        self.next_beat = stream.hello_at + self.beat_every
        for result in self.unacked.values():
            stream.send(results=[result])
        if self.leaving_since:
            stream.send(leaving=True)
        self.log(
            f"connected: generation {stream.generation}, {'resumed' if welcome.resumed else 'new'},"
            f" {len(self.running)} running, {len(self.unacked)} unacked"
        )

    def on_closed(self, stream, error):
        self.streams.discard(stream)
        if stream is self.dialing:
            self.dialing = None
            self.failures += 1
        elif stream is self.current:
            self.current = None
            self.beats.clear()
        else:
            return
        if self.leaving_since and not self.running and not self.unacked:
            return
        first, longest = REDIAL_SECONDS
        self.plan_dial(time.monotonic() + random.random() * min(longest, first * 2**self.failures))
        self.log(f"lost a stream: {error or 'it ended'}")

    def send(self, **parts):
        """Without a stream nothing is lost: hello says the state, results are sent again."""
        if self.current:
            self.current.send(**parts)

    # Heartbeats

    def inventory(self):
        running = [t for t, context in self.running.items() if context.cause != "revoked"]
        return running + list(self.unacked)

    def beat(self, now):
        self.beat_number += 1
        self.beats[self.beat_number] = now
        self.next_beat = now + self.beat_every * random.uniform(0.9, 1.1)
        held = self.inventory()
        self.send(heartbeat=pb.Heartbeat(number=self.beat_number, held_lease_tokens=held))

    def on_heartbeat_ack(self, ack):
        sent_at = self.beats.pop(ack.number, None)
        if ack.renewed and sent_at is not None:
            self.renewed_at = max(self.renewed_at, sent_at)
        for token in ack.unknown_lease_tokens:
            self.abort(token, "unknown")

    # Leases

    def offer(self):
        """Handlers that run on without a lease use a slot that nobody may fill."""
        strays = sum(context.cause == "revoked" for context in self.running.values())
        closed = self.leaving_since or len(self.unacked) >= UNACKED_LIMIT
        slots = 0 if closed else max(0, self.slots - strays)
        self.offered = pb.Offer(slots=slots, subscriptions=self.subscriptions)
        return self.offered

    def offer_again(self):
        """Only if it has changed."""
        if self.offered != self.offer():
            self.send(offer=self.offered)

    def on_lease(self, lease):
        if lease.lease_token in self.running or lease.lease_token in self.unacked:
            return
        context = Context(lease, self.report)
        self.running[lease.lease_token] = context
        if self.leaving_since:
            self.on_finished(context, {"release": pb.TaskRelease()})
        else:
            self.pool.submit(self.execute, context)

    def execute(self, context):
        """In a thread of the pool."""
        outcome = run_handler(self.handlers[context.task.type], context)
        self.inbox.put(partial(self.on_finished, context, outcome))

    def on_finished(self, context, outcome):
        del self.running[context.token]
        if context.cause != "revoked":
            result = pb.TaskResult(lease_token=context.token, **outcome)
            self.unacked[context.token] = result
            self.send(results=[result])
        self.offer_again()

    def on_ack(self, ack):
        if ack.status == pb.RESULT_STATUS_RETRY:
            # It stays, and gets its second chance on a new stream.
            self.plan_dial(time.monotonic() + random.uniform(1, 2))
            return
        if ack.status in (pb.RESULT_STATUS_STALE, pb.RESULT_STATUS_INVALID):
            self.log(f"result {pb.ResultStatus.Name(ack.status)}: {ack.message}")
        self.unacked.pop(ack.lease_token, None)
        self.offer_again()

    def on_command(self, command):
        if command.HasField("cancel"):
            self.abort(command.cancel.lease_token, "cancelled")
        if command.HasField("revoke"):
            self.abort(command.revoke.lease_token, "revoked")

    def abort(self, token, cause):
        """The first cause stays, except that a revoked lease is past every other."""
        context = self.running.get(token)
        if not context or (context.cause and cause != "revoked"):
            return
        context.cause = cause
        context.stop.set()
        self.offer_again()

    def abort_all(self, cause):
        for token in list(self.running):
            self.abort(token, cause)

    def report(self, token, fraction, message):
        progress = pb.TaskProgress(lease_token=token, fraction=fraction, message=message)
        self.inbox.put(lambda: token in self.running and self.send(progress=[progress]))

    # Leaving

    def on_leave(self):
        self.leaving_since = self.leaving_since or time.monotonic()
        self.send(leaving=True, offer=self.offer())

    def gone(self):
        """Once all is acked the stream is half-closed, and its end awaited."""
        if not self.leaving_since or self.running or self.unacked:
            return False
        if self.current and self.current.deadline is None:
            self.current.half_close()
            self.current.deadline = time.monotonic() + 1
        return self.current is None
