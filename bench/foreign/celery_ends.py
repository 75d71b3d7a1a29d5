"""Producer and worker of Celery: takes what bench/protocol.ts names as lines of JSON."""

import json
import logging
import math
import os
import sys
import threading
import time

from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

QUEUE = sys.argv[1]
THREADS = int(sys.argv[2])
PAYLOAD_BYTES = 100
FRAME_BYTES = len(json.dumps({"p": ""}, separators=(",", ":")))

app = Celery(broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=10,
    broker_pool_limit=THREADS,
    broker_connection_retry_on_startup=True,
)


def now():
    return time.monotonic_ns() / 1_000


def stamped():
    return {"p": f"{round(now())}|".ljust(PAYLOAD_BYTES - FRAME_BYTES, "x")}


def percentile(us, share):
    if not us:
        return None
    return sorted(us)[max(0, math.ceil(len(us) * share) - 1)] / 1_000


def timing(count, started_at, ended_at, us):
    return {
        "count": count,
        "startedAt": started_at,
        "endedAt": ended_at,
        "p50": percentile(us, 0.5),
        "p99": percentile(us, 0.99),
    }


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.starts = 0
        self.ended = 0
        self.first_at = 0
        self.latencies = []

    def start(self, stamp):
        at = now()
        with self.lock:
            if self.starts == 0:
                self.first_at = at
            self.starts += 1
            self.latencies.append(at - stamp)

    def end(self, **_):
        with self.lock:
            self.ended += 1


tally = Tally()
running = None


@app.task(name="noop")
def noop(payload):
    tally.start(int(payload["p"].split("|", 1)[0]))


# The ack is sent right after it, on the same thread or the worker's own.
signals.task_postrun.connect(lambda **given: tally.end(**given), weak=False)


def submit_all(tasks, size, in_flight):
    """Each thread takes the next share, until none is left."""
    lock = threading.Lock()
    state = {"sent": 0}
    took = []

    def loop():
        while True:
            with lock:
                count = min(size, tasks - state["sent"])
                state["sent"] += count
            if count <= 0:
                return
            at = now()
            for _ in range(count):
                noop.apply_async((stamped(),))
            us = now() - at
            with lock:
                took.append(us)

    started_at = now()
    threads = [threading.Thread(target=loop) for _ in range(min(in_flight, THREADS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return timing(tasks, started_at, now(), took)


def pace(tasks, per_second):
    started_at = now()
    took = []
    for n in range(tasks):
        wait = started_at + n * 1e6 / per_second - now()
        if wait > 0:
            time.sleep(wait / 1e6)
        at = now()
        noop.apply_async((stamped(),))
        took.append(now() - at)
    return timing(tasks, started_at, now(), took)


def work():
    global tally, running
    tally = Tally()
    running = start_worker(
        app,
        concurrency=THREADS,
        pool="threads",
        loglevel=logging.ERROR,
        perform_ping_check=False,
        shutdown_timeout=20,
    )
    running.__enter__()


def rest():
    global running
    if running is not None:
        running.__exit__(None, None, None)
    running = None


def until_acked(tasks):
    while tally.ended < tasks:
        time.sleep(0.001)
    return timing(tally.starts, tally.first_at, now(), tally.latencies)


def obey(command):
    what = command["do"]
    if what == "single":
        return submit_all(command["tasks"], 1, command["inFlight"])
    if what == "bulk":
        return submit_all(command["tasks"], command["batch"], command["inFlight"])
    if what == "rate":
        return pace(command["tasks"], command["perSecond"])
    if what == "work":
        return work()
    if what == "acked":
        return until_acked(command["tasks"])
    return rest()


def say(reply):
    OUT.write(json.dumps(reply) + "\n")
    OUT.flush()


# Libraries print; only replies are to stand on the output.
OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
say({"id": 0})
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = obey(request["command"])
        say({"id": request["id"], **({} if answer is None else {"answer": answer})})
    except Exception as error:  # noqa: BLE001: whatever it is, run.ts is told
        say({"id": request["id"], "error": repr(error)})
