import { createRegistry, toBinary, type DescFile, type Registry } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { file_grpc_health_v1_health } from "../../gen/grpc/health/v1/health_pb.js";
import {
  ServerReflection,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from "../../gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflection as ServerReflectionAlpha,
  type ServerReflectionRequest as RequestAlpha,
} from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { contractFiles, mount, type MountedService, type OpaqueInit } from "./contract.js";

/** grpc.reflection v1 and v1alpha: grpcurl and `buf curl` work without files. */
export function reflectionServices(): MountedService[] {
  const book = createBook([...contractFiles, file_grpc_health_v1_health]);
  async function* info(
    requests: AsyncIterable<Request>,
  ): AsyncGenerator<OpaqueInit<ServerReflectionResponse>> {
    for await (const request of requests) yield answer(book, request);
  }
  return [
    mount(ServerReflection, { serverReflectionInfo: info }),
    mount(ServerReflectionAlpha, { serverReflectionInfo: info }),
  ];
}

/** What both versions share. */
interface Request {
  readonly host: string;
  readonly messageRequest: (ServerReflectionRequest | RequestAlpha)["messageRequest"];
}
type Answer = OpaqueInit<ServerReflectionResponse>["messageResponse"];

interface Book {
  readonly registry: Registry;
  readonly files: ReadonlyMap<string, DescFile>;
  readonly services: readonly string[];
}

function createBook(roots: readonly DescFile[]): Book {
  const files = new Map<string, DescFile>();
  for (const file of roots.flatMap(closure)) files.set(file.proto.name, file);
  return {
    registry: createRegistry(...files.values()),
    files,
    services: roots.flatMap((file) => file.services.map((it) => it.typeName)),
  };
}

/** The file and all it imports: some clients ask for nothing twice and refuse a gap. */
function closure(file: DescFile): DescFile[] {
  const seen = new Set<DescFile>();
  const visit = (it: DescFile): void => {
    if (seen.has(it)) return;
    seen.add(it);
    it.dependencies.forEach(visit);
  };
  visit(file);
  return [...seen];
}

function answer(book: Book, request: Request): OpaqueInit<ServerReflectionResponse> {
  const { messageRequest, host } = request;
  // The request is sent back as the protocol asks; both versions have the same fields.
  return {
    validHost: host,
    originalRequest: { host, messageRequest } as NonNullable<
      OpaqueInit<ServerReflectionResponse>["originalRequest"]
    >,
    messageResponse: find(book, messageRequest),
  };
}

function find(book: Book, request: Request["messageRequest"]): Answer {
  switch (request.case) {
    case "listServices": {
      const service = book.services.map((name) => ({ name }));
      return { case: "listServicesResponse", value: { service } };
    }
    case "fileByFilename":
      return fileAnswer(book.files.get(request.value), request.value);
    case "fileContainingSymbol":
      return fileAnswer(fileOfSymbol(book.registry, request.value), request.value);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = request.value;
      const known = extensionsOf(book.registry, containingType);
      const found = known.find((it) => it.number === extensionNumber);
      return fileAnswer(found?.file, `${containingType} ${extensionNumber}`);
    }
    case "allExtensionNumbersOfType": {
      const extensionNumber = extensionsOf(book.registry, request.value).map((it) => it.number);
      const value = { baseTypeName: request.value, extensionNumber };
      return { case: "allExtensionNumbersResponse", value };
    }
    case undefined:
      return errorAnswer(Code.InvalidArgument, "the request asks for nothing");
  }
}

const extensionsOf = (registry: Registry, typeName: string) =>
  [...registry].filter((it) => it.kind === "extension" && it.extendee.typeName === typeName) as {
    number: number;
    file: DescFile;
  }[];

/** A symbol may be a method, field or value: then its parent is known. */
function fileOfSymbol(registry: Registry, symbol: string): DescFile | undefined {
  for (let name = symbol; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf(".")))) {
    const found = registry.get(name);
    if (found) return found.file;
  }
  return undefined;
}

function fileAnswer(file: DescFile | undefined, asked: string): Answer {
  if (!file) return errorAnswer(Code.NotFound, `unknown: ${asked.slice(0, 200)}`);
  const fileDescriptorProto = closure(file).map((it) =>
    toBinary(FileDescriptorProtoSchema, it.proto),
  );
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

const errorAnswer = (errorCode: number, errorMessage: string): Answer => ({
  case: "errorResponse",
  value: { errorCode, errorMessage },
});
