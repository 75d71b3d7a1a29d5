import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { status as Status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import { openDoors, type Doors } from "./doors.js";
import { RawClient } from "./grpc-client.js";

let doors: Doors;
let client: RawClient;
beforeAll(async () => {
  doors = await openDoors();
  client = new RawClient(doors.address);
});
afterAll(async () => {
  client.close();
  await doors.stop();
});

const run = promisify(execFile);

/** `buf curl` as people call it: no files, the server tells what it can do. */
async function bufCurl(...args: string[]): Promise<string> {
  const flags = ["curl", "--http2-prior-knowledge", "--protocol", "grpc"];
  const { stdout } = await run("node_modules/.bin/buf", [...flags, ...args]);
  return stdout;
}

describe("reflection", () => {
  it("buf curl lists the services and calls them with no files", async () => {
    const base = `http://${doors.address}`;
    const services = (await bufCurl("--list-services", base)).trim().split("\n");
    expect(services).toEqual([
      "drover.v1.AdminService",
      "drover.v1.BatchService",
      "drover.v1.QueueService",
      "drover.v1.ScheduleService",
      "drover.v1.TaskService",
      "drover.v1.WorkerService",
      "grpc.health.v1.Health",
    ]);
    const data = '{"task":{"type":"send_email","payload":{"a":[1,null]}}}';
    const submit = `${base}/drover.v1.TaskService/SubmitTask`;
    const { taskId } = JSON.parse(await bufCurl("-d", data, submit)) as { taskId: string };
    const get = `${base}/drover.v1.TaskService/GetTask`;
    const alpha = ["--reflect-protocol", "grpc-v1alpha"];
    const read = JSON.parse(await bufCurl(...alpha, "-d", `{"taskId":"${taskId}"}`, get));
    expect(read).toMatchObject({
      task: { id: taskId, payload: { a: [1, null] }, status: "TASK_STATUS_PENDING" },
    });
  });

  it.each([
    ["a field", { case: "fileContainingSymbol", value: "drover.v1.Task.payload" }, "drover.v1"],
    [
      "a method",
      { case: "fileContainingSymbol", value: "drover.v1.TaskService.GetTask" },
      "drover.v1",
    ],
    ["a file", { case: "fileByFilename", value: "buf/validate/validate.proto" }, "buf.validate"],
    [
      "an extension",
      {
        case: "fileContainingExtension",
        value: { containingType: "google.protobuf.MethodOptions", extensionNumber: 72295728 },
      },
      "google.api",
    ],
  ] as const)("%s is found, with all that its file imports", async (_, messageRequest, text) => {
    const stream = client.bidi(ServerReflection.method.serverReflectionInfo);
    stream.send({ messageRequest });
    const { messageResponse } = await stream.next();
    if (messageResponse.case !== "fileDescriptorResponse") return expect.fail("no file");
    const files = messageResponse.value.fileDescriptorProto.map((it) => Buffer.from(it));
    expect(files[0]!.includes(text)).toBe(true);
    expect(files.some((it) => it.includes("descriptor.proto"))).toBe(true);
    stream.end();
    expect((await stream.status()).code).toBe(Status.OK);
  });

  it("what is unknown is answered, and the stream goes on", async () => {
    const stream = client.bidi(ServerReflection.method.serverReflectionInfo);
    stream.send({ messageRequest: { case: "fileContainingSymbol", value: "no.Such" } });
    expect((await stream.next()).messageResponse).toMatchObject({
      case: "errorResponse",
      value: { errorCode: 5 },
    });
    stream.send({
      messageRequest: { case: "allExtensionNumbersOfType", value: "google.protobuf.MethodOptions" },
    });
    expect((await stream.next()).messageResponse.case).toBe("allExtensionNumbersResponse");
    stream.end();
  });
});

describe("health", () => {
  it("follows whether the coordinator is ready", async () => {
    const check = (service: string) => client.unary(Health.method.check, { service });
    expect(await check("")).toMatchObject({ status: Serving.SERVING });
    expect(await check("drover.v1.TaskService")).toMatchObject({ status: Serving.SERVING });
    await expect(check("no.Such")).rejects.toMatchObject({ code: Status.NOT_FOUND });
    const watch = client.bidi(Health.method.watch as never) as unknown as ReturnType<
      typeof client.bidi<typeof Health.method.watch.input, typeof Health.method.watch.output>
    >;
    watch.send({});
    watch.end();
    expect(await watch.next()).toMatchObject({ status: Serving.SERVING });
    doors.coordinator.reason = "Redis is away";
    expect(await watch.next()).toMatchObject({ status: Serving.NOT_SERVING });
    expect(await check("")).toMatchObject({ status: Serving.NOT_SERVING });
    doors.coordinator.reason = undefined;
    watch.call.cancel();
  });

  it("says of the service of workers alone that it misses the broker", async () => {
    const check = (service: string) => client.unary(Health.method.check, { service });
    doors.coordinator.trouble = "the broker does not answer";
    expect(await check("drover.v1.WorkerService")).toMatchObject({ status: Serving.NOT_SERVING });
    expect(await check("drover.v1.TaskService")).toMatchObject({ status: Serving.SERVING });
    doors.coordinator.trouble = undefined;
    expect(await check("drover.v1.WorkerService")).toMatchObject({ status: Serving.SERVING });
  });
});
