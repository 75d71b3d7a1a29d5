/**
 * Messages of the contract as schemas of OpenAPI 3.1, in the plain JSON of src/api/rest. A message
 * that is both sent and read has two: what may be sent (`TaskInput`: closed, without output-only
 * fields) and what is answered (`Task`: every field is written, null where nothing is set).
 */
import { type DescEnum, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { getComments } from "@bufbuild/protoplugin";
import type { FieldRules } from "../../../gen/buf/validate/validate_pb.js";
import { Ignore } from "../../../gen/buf/validate/validate_pb.js";
import { wordOf } from "../../../src/api/rest/read-scalar.js";
import { isJsonText, plainName } from "../../../src/api/rest/write-plain.js";
import { keywordsOf, mustBeGiven, rulesOf, type Schema } from "./rules.js";

export type Direction = "input" | "output";

/** The schemas that were asked for, by name, for `components`. */
export class Schemas {
  readonly #found = new Map<string, Schema>();
  readonly #examples: Readonly<Record<string, unknown>>;
  constructor(examples: Readonly<Record<string, unknown>>) {
    this.#examples = examples;
  }

  get all(): Record<string, Schema> {
    const names = [...this.#found.keys()].toSorted();
    return Object.fromEntries(names.map((name) => [name, this.#found.get(name)!]));
  }

  /** `omitted`: fields that are in the path. */
  message(desc: DescMessage, direction: Direction, omitted: readonly string[] = []): Schema {
    const bare = /(Request|Response)$/.test(desc.name) || direction === "output";
    const name = bare ? desc.name : `${desc.name}Input`;
    const known = this.#found.get(name);
    if (!known) {
      // Set before it is filled in: a message may hold itself.
      const schema: Schema = { type: "object" };
      this.#found.set(name, schema);
      Object.assign(schema, this.#objectOf(desc, direction, omitted));
      if (name in this.#examples) schema["examples"] = [this.#examples[name]];
    }
    return { $ref: `#/components/schemas/${name}` };
  }

  #objectOf(desc: DescMessage, direction: Direction, omitted: readonly string[]): Schema {
    const isInput = direction === "input";
    const fields = desc.fields.filter(
      (it) => !omitted.includes(it.name) && !(isInput && isOutputOnly(it)),
    );
    const required = fields.filter((it) =>
      isInput ? mustBeGiven(it) : it.oneof === undefined && !isBlobBesideValue(it),
    );
    return {
      description: commentOf(desc),
      properties: Object.fromEntries(
        fields.map((it) => [plainName(it), this.#property(it, direction)] as const),
      ),
      ...(required.length > 0 && { required: required.map(plainName) }),
      ...(isInput && { additionalProperties: false }),
    };
  }

  #property(field: DescField, direction: Direction): Schema {
    const description = commentOf(field);
    const schema = this.field(field, direction);
    const whole = isNullable(field, direction) ? orNull(schema) : schema;
    const readOnly = isOutputOnly(field) ? { readOnly: true } : {};
    return { description, ...whole, ...readOnly };
  }

  /** One value of the field, without its description. */
  field(field: DescField, direction: Direction): Schema {
    const rules = appliedRules(field, direction);
    const limits = keywordsOf(rules);
    if (isJsonText(field)) return { type: ["object", "null"] };
    switch (field.fieldKind) {
      case "list": {
        const inner = rules?.type.case === "repeated" ? rules.type.value.items : undefined;
        return { type: "array", items: this.#item(field, direction, inner), ...limits };
      }
      case "map": {
        const inner = rules?.type.case === "map" ? rules.type.value.values : undefined;
        const additionalProperties = this.#item(field, direction, inner);
        return { type: "object", additionalProperties, ...limits };
      }
      case "scalar":
        return { ...scalar(field.scalar), ...limits };
      case "enum":
        return this.#enum(field.enum);
      case "message":
        return this.#known(field.message, direction, limits);
    }
  }

  #item(
    field: DescField & { fieldKind: "list" | "map" },
    direction: Direction,
    rules: FieldRules | undefined,
  ): Schema {
    if (field.message) return this.#known(field.message, direction, {});
    if (field.enum) return this.#enum(field.enum);
    return { ...scalar(field.scalar), ...keywordsOf(rules) };
  }

  #known(desc: DescMessage, direction: Direction, limits: Schema): Schema {
    switch (desc.typeName) {
      case "google.protobuf.Timestamp":
        return { type: "string", format: "date-time", examples: ["2026-11-22T08:30:00.000Z"] };
      case "google.protobuf.Duration":
        return { type: "string", ...durations[direction], ...limits };
      case "google.protobuf.FieldMask":
        return { type: "string", examples: ["paused,retention"] };
      case "google.protobuf.Value":
        return {};
      default:
        return { ...this.message(desc, direction), ...limits };
    }
  }

  #enum(desc: DescEnum): Schema {
    const values = desc.values.filter((it) => it.number !== 0);
    const words = values.map((it) => `- \`${wordOf(desc, it.name)}\`: ${commentOf(it)}`);
    this.#found.set(desc.name, {
      type: "string",
      description: [commentOf(desc), "", ...words].join("\n"),
      enum: values.map((it) => wordOf(desc, it.name)),
    });
    return { $ref: `#/components/schemas/${desc.name}` };
  }
}

const durations: Readonly<Record<Direction, Schema>> = {
  input: { pattern: "^-?\\d{1,12}(\\.\\d{1,9})?(ms|s|m|h|d)$", examples: ["1.5s"] },
  output: { pattern: "^-?\\d{1,12}(\\.\\d{1,9})?s$", examples: ["1.5s"] },
};

/** What an ignored rule forbids may stand in an answer: the value that nobody gave. */
function appliedRules(field: DescField, direction: Direction): FieldRules | undefined {
  const rules = rulesOf(field);
  const isIgnored = rules?.ignore === Ignore.IF_ZERO_VALUE;
  return direction === "output" && isIgnored ? undefined : rules;
}

export function commentOf(desc: Parameters<typeof getComments>[0]): string {
  const text = getComments(desc).leading?.trim();
  if (!text) throw new Error(`${desc.toString()} has no comment`);
  return text
    .split("\n")
    .map((line) => line.trim())
    .join(" ");
}

const isOutputOnly = (field: DescField): boolean => commentOf(field).startsWith("Output only.");

/** Written only where its bytes are no JSON. */
const isBlobBesideValue = (field: DescField): boolean =>
  field.parent.fields.some((it) => `${it.name}_blob` === field.name);

function isNullable(field: DescField, direction: Direction): boolean {
  if (isValue(field)) return false;
  // On input null says the same as nothing, but there is no need to advertise it.
  if (direction === "input") return false;
  if (field.fieldKind === "enum") return commentOf(field.enum.values[0]!) !== "Never sent.";
  if (field.fieldKind === "message") {
    return !field.parent.name.endsWith("Response") || /\bUnset\b/.test(commentOf(field));
  }
  return field.proto.proto3Optional;
}

const isValue = (field: DescField): boolean =>
  field.fieldKind === "message" && field.message.typeName === "google.protobuf.Value";

function orNull(schema: Schema): Schema {
  if (typeof schema["type"] !== "string") return { anyOf: [schema, { type: "null" }] };
  return { ...schema, type: [schema["type"], "null"] };
}

function scalar(type: ScalarType): Schema {
  switch (type) {
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.INT32:
      return { type: "integer", format: "int32" };
    case ScalarType.INT64:
      return { type: "integer", format: "int64" };
    case ScalarType.DOUBLE:
      return { type: "number", format: "double" };
    default:
      throw new Error(`no schema for scalar ${ScalarType[type]}`);
  }
}
