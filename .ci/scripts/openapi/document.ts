/** The OpenAPI 3.1 document: the same compiled routes that the HTTP door serves. */
import type { DescField, DescMessage, DescService } from "@bufbuild/protobuf";
import { compileRoutes, type Route } from "../../../src/api/rest/routes.js";
import { inputExamples } from "./examples.js";
import { enqueueOperation, probePaths } from "./probes.js";
import { errorReply, refusalsOf } from "./refusals.js";
import { mustBeGiven, type Schema } from "./rules.js";
import { commentOf, Schemas } from "./schemas.js";

const about = `Drover's REST API, made of the same descriptors as its gRPC API.

Plain JSON: snake_case names, enum words in lower case, RFC 3339 times, 64-bit numbers as numbers.
Answers write every field, null where nothing is set. Requests may be in canonical proto JSON as
well, durations also in ms, m, h and d; an empty query parameter counts as left out. What is not
known is refused: a misspelt field with 400, a path with 404 \`route_not_found\`, a verb with 405
\`method_not_allowed\`. A body takes at most 4 MiB.`;

type Paths = Record<string, Record<string, Schema>>;

export function createDocument(services: readonly DescService[]): Schema {
  const schemas = new Schemas(inputExamples);
  const paths: Paths = {};
  const served = services.filter((service) => compileRoutes(service).length > 0);
  for (const service of served) {
    const seen = new Set<string>();
    for (const route of compileRoutes(service)) {
      const alias = seen.has(route.method.name) ? `By${titled(route.verb)}` : "";
      seen.add(route.method.name);
      const item = (paths[openPath(route)] ??= {});
      item[route.verb.toLowerCase()] = operationOf(route, alias, schemas);
    }
  }
  const submit = paths["/api/v1/tasks"]?.["post"];
  if (!submit) throw new Error("SubmitTask has no POST /api/v1/tasks");
  Object.assign(paths, { "/task": { post: enqueueOperation(submit) } }, probePaths);
  return {
    openapi: "3.1.1",
    info: {
      title: "Drover",
      version: "v1",
      description: about.replaceAll(/(\S)\n(\S)/g, "$1 $2"),
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "The coordinator that serves this document." }],
    security: [],
    tags: [
      ...served.map((it) => ({ name: tagOf(it), description: commentOf(it) })),
      { name: "Coordinator", description: "The process that answers." },
    ],
    paths,
    components: { schemas: { ...schemas.all, ErrorReply: errorReply } },
  };
}

const tagOf = (service: DescService): string => service.name.replace(/Service$/, "");

const titled = (word: string): string => word[0]!.toUpperCase() + word.slice(1).toLowerCase();

/** `{queue.name}` is written `{name}`: one path has one name for its variable. */
const openPath = ({ template }: Route): string =>
  template.replaceAll(/\{(?:\w+\.)*(\w+)\}/g, "{$1}");

function operationOf(route: Route, alias: string, schemas: Schemas): Schema {
  const { method } = route;
  const comment = commentOf(method);
  const body = bodyOf(route, schemas);
  const parameters = [
    ...route.variables.map((it) => parameter(fieldAt(method.input, it), "path", schemas)),
    ...queryFields(route).map((it) => parameter(it, "query", schemas)),
    ...(isStream(route) ? [lastEventId] : []),
  ];
  return {
    operationId: lowered(method.name) + alias,
    tags: [tagOf(method.parent)],
    summary: comment.split(/(?<=\.)\s/)[0]!,
    description: comment,
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: body }),
    responses: {
      ...(isStream(route) ? eventsOf(route, schemas) : okOf(route, schemas)),
      ...refusalsOf(method.name),
    },
  };
}

const isStream = ({ method }: Route): boolean => method.methodKind === "server_streaming";

const okOf = (route: Route, schemas: Schemas): Schema => ({
  "200": {
    description: "OK.",
    content: { "application/json": { schema: replyOf(route, schemas) } },
  },
});

/** OpenAPI 3.1 has no schema for the events of a stream; this one is of the `data` of each. */
const eventsOf = (route: Route, schemas: Schemas): Schema => ({
  "200": {
    description:
      "Server-Sent Events: `event` names what happened, `id` is the cursor, `data` one line of " +
      "JSON. A comment every 15 s keeps the connection alive. An event `end` is the last one.",
    content: {
      "text/event-stream": {
        schema: {
          type: "string",
          contentMediaType: "application/json",
          contentSchema: replyOf(route, schemas),
        },
      },
    },
  },
  "204": { description: "Everything was sent before this cursor: do not come again." },
});

const lastEventId: Schema = {
  name: "Last-Event-ID",
  in: "header",
  required: false,
  description: "As `cursor`; browsers send it when they reconnect.",
  schema: { type: "string" },
};

const lowered = (name: string): string => name[0]!.toLowerCase() + name.slice(1);

function fieldAt(desc: DescMessage, dotted: string): DescField {
  const [first, ...rest] = dotted.split(".");
  const field = desc.fields.find((it) => it.name === first);
  if (!field) throw new Error(`${desc.typeName} has no ${first}`);
  if (rest.length === 0) return field;
  if (field.fieldKind !== "message") throw new Error(`nothing below ${dotted}`);
  return fieldAt(field.message, rest.join("."));
}

/** What is neither in the path nor in the body. */
function queryFields({ method, body, variables }: Route): DescField[] {
  if (body === "*") return [];
  return method.input.fields.filter((it) => it.name !== body && !variables.includes(it.name));
}

function parameter(field: DescField, place: "path" | "query", schemas: Schemas): Schema {
  return {
    name: field.name,
    in: place,
    required: place === "path",
    description: commentOf(field),
    schema: schemas.field(field, "input"),
  };
}

function bodyOf(route: Route, schemas: Schemas): Schema | undefined {
  const { body, method, variables } = route;
  if (body === "") return undefined;
  const whole = body === "*";
  const desc = whole ? method.input : messageOf(fieldAt(method.input, body));
  const prefix = whole ? "" : `${body}.`;
  const omitted = variables
    .filter((it) => it.startsWith(prefix))
    .map((it) => it.slice(prefix.length));
  const schema = schemas.message(desc, "input", omitted);
  return {
    required: !whole || desc.fields.some((it) => !omitted.includes(it.name) && mustBeGiven(it)),
    content: { "application/json": { schema } },
  };
}

function messageOf(field: DescField): DescMessage {
  if (field.fieldKind !== "message") throw new Error(`${field.name} is no message`);
  return field.message;
}

function replyOf({ method, responseBody }: Route, schemas: Schemas): Schema {
  if (responseBody === "") return schemas.message(method.output, "output");
  return schemas.field(fieldAt(method.output, responseBody), "output");
}
