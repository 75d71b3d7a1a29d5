"""A Drover producer in plain Python: submits tasks, waits for them, and judges what came back.

`python3 producer.py HOST:PORT[,HOST:PORT] [--queue NAME]`. Now and then it asks its caller for
trouble by a line `trouble: ...` on stdout, and goes on when a line comes back on stdin. Exits
non-zero on any difference from what it computed by itself.
"""
import argparse
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value

from drover.v1 import task_pb2 as pb
from drover.v1.task_pb2_grpc import TaskServiceStub

COMPLETED, FAILED, CANCELLED = (
    pb.TASK_STATUS_COMPLETED,
    pb.TASK_STATUS_FAILED,
    pb.TASK_STATUS_CANCELLED,
)
ANY_JSON = [
    None, True, False, 0, -1.5, 1e300, 2**53, "", "plain", "Grüße, 世界, 🐂", 'quote " and \\',
    [], {}, [1, [2, [3]]], {"a": {"b": [None, {"c": "d"}]}}, "x" * 100_000,
]  # fmt: skip
UNKNOWN_OUTCOME = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
RUN_SECONDS = 80

differences = []


def check(what, got, expected):
    if got != expected:
        differences.append(f"{what}: got {shorten(got)}, expected {shorten(expected)}")


def shorten(value):
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."


def uuid7():
    """Milliseconds, version, chance: makes a repeated submission safe."""
    millis = int(time.time() * 1000)
    number = millis << 80 | 0x7 << 76 | (uuid.uuid4().int & ((1 << 76) - 1))
    return str(uuid.UUID(int=number & ~(0xC << 60) | 0x8 << 60))


class Producer:
    def __init__(self, addresses, queue):
        # All coordinators are alike: grpcio itself takes whichever answers.
        self.stub = TaskServiceStub(grpc.insecure_channel(f"ipv4:{addresses}"))
        self.queue = queue
        self.deadline = time.monotonic() + RUN_SECONDS

    def call(self, method, request, timeout=15):
        """Every call here may be repeated: reads by nature, submissions by their request_id."""
        while True:
            try:
                return getattr(self.stub, method)(request, timeout=timeout)
            except grpc.RpcError as error:
                if error.code() not in UNKNOWN_OUTCOME or time.monotonic() > self.deadline:
                    raise
                time.sleep(0.1)

    def task(self, kind, payload, **fields):
        value = json_format.ParseDict(payload, Value())
        return pb.Task(type=kind, queue=self.queue, payload=value, **fields)

    def submit(self, kind, payload, **fields):
        task = self.task(kind, payload, **fields)
        answer = self.call("SubmitTask", pb.SubmitTaskRequest(task=task, request_id=uuid7()))
        return answer.task_id

    def submit_many(self, tasks):
        ids = [uuid7() for _ in tasks]
        request = pb.SubmitTasksRequest(tasks=tasks, request_ids=ids)
        return self.call("SubmitTasks", request).outcomes

    def get(self, task_id):
        return self.call("GetTask", pb.GetTaskRequest(task_id=task_id)).task

    def wait(self, task_id):
        while True:
            request = pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=10))
            answer = self.call("WaitTask", request)
            if answer.finished:
                return answer.task
            if time.monotonic() > self.deadline:
                differences.append(f"task {task_id} ({answer.task.type}) has not ended in time")
                return answer.task

    def until_running(self, task_id):
        while (task := self.get(task_id)).status != pb.TASK_STATUS_RUNNING or not task.progress:
            if time.monotonic() > self.deadline:
                raise TimeoutError(f"task {task_id} does not run")
            time.sleep(0.05)
        progress = (task.progress, task.progress_message)
        check("progress of a running task", progress, (0.5, "half way"))

    def refused(self, what, method, request, code):
        try:
            getattr(self.stub, method)(request, timeout=10)
            differences.append(f"{what} was not refused")
        except grpc.RpcError as error:
            check(what, error.code(), code)


class Expected:
    """What should become of a task."""

    def __init__(self, task_id, result, status=COMPLETED, attempts=1, retries=0, code=""):
        self.task_id, self.result, self.status = task_id, result, status
        self.attempts, self.retries, self.code = attempts, retries, code

    def judge(self, task):
        name = f"{task.type} {task.id}"
        result = json_format.MessageToDict(task.result)
        check(f"{name} status", pb.TaskStatus.Name(task.status), pb.TaskStatus.Name(self.status))
        check(f"{name} result", result, self.result)
        check(f"{name} attempts", task.attempt, self.attempts)
        check(f"{name} retries", task.retry_count, self.retries)
        if self.status != COMPLETED or not self.retries:
            check(f"{name} error", task.error.code, self.code)
        check(f"{name} has ended", task.HasField("completed_at"), True)


def one_by_one(producer):
    """40 single submissions, some at the same time."""
    def submit(n):
        return Expected(producer.submit("square", {"n": n}), {"n": n, "square": n * n})

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(submit, range(40)))


def in_batches(producer):
    """44 in one request, between two that are refused by themselves."""
    values = [ANY_JSON[i % len(ANY_JSON)] for i in range(44)]
    good = [producer.task("describe", value, priority=i % 4) for i, value in enumerate(values)]
    wrong_name = producer.task("not a name!", {})
    output_only = producer.task("describe", {}, status=COMPLETED)
    first, *outcomes, last = producer.submit_many([wrong_name, *good, output_only])
    for outcome, field in ((first, "type"), (last, "status")):
        check("a refused item has no id", outcome.task_id, "")
        check("the field to blame", outcome.error.field.split(".")[-1], field)
    for outcome in outcomes:
        check("an item of a batch", outcome.status, pb.SUBMIT_STATUS_SUBMITTED)
    return [
        Expected(outcome.task_id, described(value)) for outcome, value in zip(outcomes, values)
    ]


def described(value):
    kinds = {dict: "object", list: "list", str: "text", bool: "bool", type(None): "null"}
    return {"kind": kinds.get(type(value), "number"), "value": value}


def retried(producer):
    """10 that fail once or twice first, and two that never succeed."""
    policy = pb.RetryPolicy(initial_backoff=Duration(nanos=50_000_000), jitter=0.0)
    expected = []
    for i in range(10):
        at = 2 + i % 2
        task_id = producer.submit("flaky", {"succeed_at": at}, retry_policy=policy)
        result = {"attempt": at, "fenced": True}
        expected.append(Expected(task_id, result, attempts=at, retries=at - 1))
    hopeless = producer.submit("flaky", {"succeed_at": 99}, retry_policy=policy, max_retries=1)
    expected.append(Expected(hopeless, None, FAILED, attempts=2, retries=1, code="flaky"))
    refused = producer.submit("refuse", {"why": "never"}, retry_policy=policy)
    expected.append(Expected(refused, None, FAILED, code="refused"))
    return expected


def once_by_key(producer):
    """One task, submitted twice by key and once more by request_id; the key is then taken."""
    key = f"foreign-{uuid.uuid4()}"
    task = producer.task("square", {"n": 7}, idempotency_key=key)
    answers = [producer.call("SubmitTask", pb.SubmitTaskRequest(task=task)) for _ in range(2)]
    check("the key's first use", answers[0].status, pb.SUBMIT_STATUS_SUBMITTED)
    check("the key's second use", answers[1].status, pb.SUBMIT_STATUS_EXISTING)
    check("the task of a repeated key", answers[1].task_id, answers[0].task_id)
    other = producer.task("square", {"n": 8}, idempotency_key=key)
    request = pb.SubmitTaskRequest(task=other)
    taken = grpc.StatusCode.ALREADY_EXISTS
    producer.refused("another task by that key", "SubmitTask", request, taken)

    request = pb.SubmitTaskRequest(task=producer.task("square", {"n": 9}), request_id=uuid7())
    first, second = (producer.call("SubmitTask", request) for _ in range(2))
    check("a repeated request_id", second.status, pb.SUBMIT_STATUS_EXISTING)
    check("the task of a repeated request_id", second.task_id, first.task_id)
    return [
        Expected(answers[0].task_id, {"n": 7, "square": 49}),
        Expected(first.task_id, {"n": 9, "square": 81}),
    ]


def stopped(producer):
    """One cancelled while it runs, one that overruns its timeout, whose lease is revoked."""
    cancelled = producer.submit("slow", {"seconds": 45})
    late = producer.submit("slow", {"seconds": 45}, timeout=Duration(seconds=1), max_retries=0)
    producer.until_running(cancelled)
    answer = producer.call("CancelTask", pb.CancelTaskRequest(task_id=cancelled))
    check("the cancel is on record", answer.task.HasField("cancel_requested_at"), True)
    return [
        Expected(cancelled, None, CANCELLED),
        Expected(late, None, FAILED, code="timeout"),
    ]


def through_trouble(producer, trouble, seconds):
    """A task runs on while its coordinator goes: no attempt is spent, the result is accepted."""
    task_id = producer.submit("slow", {"seconds": seconds})
    producer.until_running(task_id)
    print(f"trouble: {trouble}", flush=True)
    if not sys.stdin.readline():
        raise EOFError("nobody made the trouble asked for")
    return [Expected(task_id, {"slept": seconds})]


def outlasting(producer):
    """Longer than a session lives without heartbeats, 15 s: they keep it, and so the lease."""
    return [Expected(producer.submit("slow", {"seconds": 17}), {"slept": 17})]


def judge_attempts(producer, expected):
    for one in expected:
        request = pb.ListAttemptsRequest(task_id=one.task_id)
        attempts = producer.call("ListAttempts", request).attempts
        outcomes = ["failed"] * (one.attempts - 1)
        outcomes.append("completed" if one.status == COMPLETED else "failed")
        check(f"attempts of {one.task_id}", [a.outcome for a in attempts], outcomes)
        tokens = [a.fencing_token for a in attempts]
        check(f"fencing tokens of {one.task_id} rise", tokens, sorted(set(tokens)))


def judge_counts(producer, expected):
    stats = producer.call("GetStats", pb.GetStatsRequest(queue=producer.queue)).stats
    for name, status in (("completed", COMPLETED), ("failed", FAILED), ("cancelled", CANCELLED)):
        count = sum(one.status == status for one in expected)
        check(f"stats: {name}", getattr(stats, name), count)
    check("stats: still live", stats.pending + stats.processing + stats.retrying, 0)


def main():
    parser = argparse.ArgumentParser(description="Submits tasks and judges what becomes of them")
    parser.add_argument("addresses", help="coordinators, as host:port,host:port")
    parser.add_argument("--queue", default="default")
    args = parser.parse_args()
    producer = Producer(args.addresses, args.queue)

    failing = retried(producer)
    expected = one_by_one(producer) + in_batches(producer) + failing
    expected += once_by_key(producer) + stopped(producer)
    expected += through_trouble(producer, "stop the coordinator", 6)
    expected += through_trouble(producer, "kill the coordinator", 5)
    expected += through_trouble(producer, "kill every coordinator", 2)
    expected += outlasting(producer)
    with ThreadPoolExecutor(16) as pool:
        ended = list(pool.map(lambda one: producer.wait(one.task_id), expected))
    for one, task in zip(expected, ended):
        one.judge(task)
    judge_attempts(producer, failing)
    judge_counts(producer, expected)
    unknown = pb.GetTaskRequest(task_id=uuid7())
    producer.refused("an unknown task", "GetTask", unknown, grpc.StatusCode.NOT_FOUND)

    check("ids are distinct", len({one.task_id for one in expected}), len(expected))
    for difference in differences:
        print(f"difference: {difference}", flush=True)
    print(f"completed: {sum(task.status == COMPLETED for task in ended)}", flush=True)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
