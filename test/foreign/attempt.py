"""One attempt of a task: what its handler gets, and what becomes of it."""
import json
import threading
import traceback

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from drover.v1 import task_pb2 as pb


class Stopped(Exception):
    """Raised by a handler that ends because it was asked to."""


class TaskError(Exception):
    """A failure with a code of the handler's own."""

    def __init__(self, code, message, non_retryable=False):
        super().__init__(message)
        self.code = code
        self.non_retryable = non_retryable


class Context:
    """What a handler gets beside its payload. A handler that may take long looks at `stop`."""

    def __init__(self, lease, report):
        self.token = lease.lease_token
        self.task = lease.task
        self.attempt = lease.task.attempt
        self.fencing_token = lease.fencing_token
        self.timeout = lease.timeout.ToTimedelta().total_seconds()
        self.stop = threading.Event()
        self.cause = None  # why stop is set: cancelled, revoked, unknown, lapsed or leaving
        self._report = report

    def sleep(self, seconds):
        if self.stop.wait(seconds):
            raise Stopped()

    def progress(self, fraction, message=""):
        self._report(self.token, fraction, message)


def run_handler(handler, context):
    """The outcome, as a part of TaskResult. Whether to retry is the coordinator's to judge."""
    try:
        value = handler(payload_of(context.task), context)
        return {"success": pb.TaskSuccess(result=json_format.ParseDict(value, Value()))}
    except Stopped:
        if context.cause == "cancelled":
            return {"cancelled": pb.TaskCancelled()}
        return {"release": pb.TaskRelease()}
    except Exception as failure:
        code = getattr(failure, "code", type(failure).__name__)
        stack = traceback.format_exc()[-16_384:]
        error = pb.Error(code=str(code)[:128], message=str(failure)[:4096], stack=stack)
        final = getattr(failure, "non_retryable", False)
        return {"failure": pb.TaskFailure(error=error, non_retryable=final)}


def payload_of(task):
    """Plain JSON comes as a Value from most clients, and as bytes from typed ones."""
    if not task.HasField("payload_blob"):
        return json_format.MessageToDict(task.payload)
    if task.payload_blob.content_type == "application/json":
        return json.loads(task.payload_blob.data)
    return task.payload_blob.data
