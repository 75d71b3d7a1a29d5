"""The worker of the foreign test: `python3 handlers.py HOST:PORT ... [--queue NAME]`.

producer.py computes by itself what these handlers should answer.
"""
import argparse
import signal
import sys

from attempt import TaskError
from worker import Worker


def say(line):
    """In one piece: handlers and the worker share stdout, and run.ts reads it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def square(payload, _context):
    return {"n": payload["n"], "square": payload["n"] ** 2}


def describe(payload, _context):
    """Takes any JSON and gives it back with what it is."""
    kinds = {dict: "object", list: "list", str: "text", bool: "bool", type(None): "null"}
    return {"kind": kinds.get(type(payload), "number"), "value": payload}


def flaky(payload, context):
    """Fails until the attempt that was asked for."""
    if context.attempt < payload["succeed_at"]:
        raise TaskError("flaky", f"attempt {context.attempt} fails as asked")
    return {"attempt": context.attempt, "fenced": context.fencing_token > 0}


def refuse(payload, _context):
    raise TaskError("refused", payload["why"], non_retryable=True)


def slow(payload, context):
    """Ends early only when it is asked to stop."""
    context.progress(0.5, "half way")
    context.sleep(payload["seconds"])
    say(f"slept {payload['seconds']}")
    return {"slept": payload["seconds"]}


HANDLERS = {f.__name__: f for f in (square, describe, flaky, refuse, slow)}


def main():
    parser = argparse.ArgumentParser(description="Runs the handlers of this file")
    parser.add_argument("addresses", nargs="+", help="coordinators, as host:port")
    parser.add_argument("--queue", default="default")
    parser.add_argument("--slots", type=int, default=10)
    args = parser.parse_args()
    worker = Worker(args.addresses, HANDLERS, args.queue, args.slots, log=say)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: worker.leave())
    worker.run()
    say("left")


if __name__ == "__main__":
    main()
