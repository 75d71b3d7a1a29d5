import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { readFileSync } from "node:fs";

export type Json = Record<string, unknown>;

interface Parameter {
  readonly name: string;
  readonly in: "path" | "query";
  readonly schema: Json;
}

interface Content {
  readonly content: { readonly "application/json": { readonly schema: Json } };
}

/** One verb of one path of the document. */
export interface Operation {
  readonly verb: string;
  readonly path: string;
  readonly operationId: string;
  readonly description?: string;
  readonly parameters: readonly Parameter[];
  readonly requestBody?: Content & { readonly required: boolean };
  readonly responses: Readonly<Record<string, Content>>;
}

export const documentText = readFileSync("gen/openapi.json", "utf8");
const document = JSON.parse(documentText) as {
  readonly paths: Record<string, Record<string, Omit<Operation, "verb" | "path">>>;
};

const all: readonly Operation[] = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([verb, it]) => ({
    ...it,
    verb: verb.toUpperCase(),
    path,
    parameters: it.parameters ?? [],
  })),
);

const isStream = ({ responses }: Operation): boolean =>
  "text/event-stream" in (responses["200"]?.content ?? {});

/** Those that answer with JSON. */
export const operations = all.filter((it) => !isStream(it));
/** Those that answer with Server-Sent Events. */
export const streams = all.filter(isStream);

/** What a reference points at, with its neighbours; anything else as it is. */
export function resolved(schema: Json): Json {
  if (typeof schema["$ref"] !== "string") return schema;
  const names = schema["$ref"].slice(2).split("/");
  const found = names.reduce<unknown>((at, name) => (at as Json)[name], document) as Json;
  return { ...resolved(found), ...schema, $ref: undefined };
}

export const bodySchema = (operation: Operation): Json | undefined =>
  operation.requestBody && resolved(operation.requestBody.content["application/json"].schema);

/** Something the schema allows: its example, else the least. */
export function sample(schema: Json): unknown {
  const whole = resolved(schema);
  if (Array.isArray(whole["examples"])) return whole["examples"][0] as unknown;
  if (Array.isArray(whole["enum"])) return whole["enum"][0] as unknown;
  switch (whole["type"]) {
    case "string":
      return whole["format"] === "uuid" ? "01890000-0000-7000-8000-000000000000" : "abcd";
    case "integer":
    case "number":
      return whole["maximum"] ?? 1;
    case "boolean":
      return true;
    case "array":
      return [sample(whole["items"] as Json)];
    case "object":
      return sampleObject(whole);
    default:
      return { any: ["thing", 1, null] };
  }
}

/** With everything that it may have. */
function sampleObject(whole: Json): Json {
  const { properties, additionalProperties } = whole;
  if (properties) {
    const entries = Object.entries(properties).map(([name, it]) => [name, sample(it as Json)]);
    return Object.fromEntries(entries) as Json;
  }
  return typeof additionalProperties === "object"
    ? { key: sample(additionalProperties as Json) }
    : {};
}

const uuid = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addFormat("uuid", uuid);
ajv.addFormat("date-time", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z$/);
ajv.addFormat("int32", { type: "number", validate: (it) => it === Math.trunc(it) });
ajv.addFormat("int64", { type: "number", validate: (it) => Number.isSafeInteger(it) });
ajv.addFormat("double", { type: "number", validate: Number.isFinite });
ajv.addSchema({ ...(closed(JSON.parse(documentText)) as Json), $id: "openapi" });

/** Answers may grow, but what this version sends must be in the document. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== "object" || schema === null) return schema;
  const inner = Object.fromEntries(
    Object.entries(schema).map(([name, it]) => [name, closed(it)] as const),
  );
  const isOpen = inner["type"] === "object" && inner["properties"] !== undefined;
  return isOpen ? { additionalProperties: false, ...inner } : inner;
}

const escaped = (part: string): string => part.replaceAll("~", "~0").replaceAll("/", "~1");

const pointed = (...parts: string[]): ValidateFunction => {
  const found = ajv.getSchema(`openapi#/${parts.map(escaped).map(encodeURIComponent).join("/")}`);
  if (!found) throw new Error(`the document has no ${parts.join(" ")}`);
  return found;
};

/** What is wrong with this answer, by the document; empty if nothing is. */
export function faultsOf({ path, verb }: Operation, status: number, body: unknown): unknown[] {
  const where = ["paths", path, verb.toLowerCase(), "responses", String(status)];
  const validate = pointed(...where, "content", "application/json", "schema");
  return validate(body) ? [] : (validate.errors ?? []);
}
