/**
 * Rules of buf.validate as keywords of JSON Schema. A rule that is not known here fails the
 * generation: a limit left out silently would be a limit nobody reads.
 */
import { type DescField, getOption, hasOption } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import {
  field as fieldOption,
  type FieldRules,
  Ignore,
} from "../../../gen/buf/validate/validate_pb.js";
import { writeDuration } from "../../../src/api/rest/times.js";

export type Schema = Record<string, unknown>;
type Rules = Readonly<Record<string, unknown>>;

export const rulesOf = (field: DescField): FieldRules | undefined =>
  hasOption(field, fieldOption) ? getOption(field, fieldOption) : undefined;

/** Whether a value that is left out breaks the rules. */
export function mustBeGiven(field: DescField): boolean {
  const rules = rulesOf(field);
  if (!rules) return false;
  if (rules.required) return true;
  if (rules.ignore === Ignore.IF_ZERO_VALUE) return false;
  const { type } = rules;
  if (type.case === "string") {
    const { pattern, minLen } = type.value;
    const patternSaysNo = pattern !== "" && !new RegExp(pattern).test("");
    return patternSaysNo || minLen > 0n || type.value.wellKnown.case === "uuid";
  }
  return type.case === "repeated" && type.value.minItems > 0n;
}

/** Keywords beside the type of the field. */
export function keywordsOf(rules: FieldRules | undefined): Schema {
  if (rules && rules.cel.length > 0) throw new Error("no translation of rules in CEL");
  if (!rules || rules.type.case === undefined) return {};
  const { case: kind, value } = rules.type;
  const translate = translations[kind];
  if (!translate) throw new Error(`no translation of rules for ${kind}`);
  return translate(value as unknown as Rules);
}

const translations: Readonly<Record<string, (rules: Rules) => Schema>> = {
  string: (rules) =>
    translated(rules, {
      pattern: (it) => ({ pattern: it }),
      minLen: (it) => ({ minLength: Number(it) }),
      maxLen: (it) => ({ maxLength: Number(it) }),
      uuid: (it) => (it === true ? { format: "uuid" } : {}),
    }),
  // Base64 writes four characters for three bytes.
  bytes: (rules) =>
    translated(rules, { maxLen: (it) => ({ maxLength: Math.ceil(Number(it) / 3) * 4 }) }),
  int32: (rules) => numeric(rules),
  int64: (rules) => numeric(rules),
  double: (rules) => numeric(rules),
  // What is not defined has no word.
  enum: (rules) => translated(rules, { definedOnly: () => ({}) }),
  // JSON Schema cannot compare durations: the comments say it to people, this to programs.
  duration: (rules) =>
    translated(rules, {
      gte: (it) => ({ "x-minimum": writeDuration(it as Duration) }),
      lte: (it) => ({ "x-maximum": writeDuration(it as Duration) }),
    }),
  repeated: (rules) =>
    translated(rules, {
      minItems: (it) => ({ minItems: Number(it) }),
      maxItems: (it) => ({ maxItems: Number(it) }),
      items: () => ({}),
    }),
  map: (rules) =>
    translated(rules, {
      maxPairs: (it) => ({ maxProperties: Number(it) }),
      keys: (it) => ({ propertyNames: keywordsOf(it as FieldRules) }),
      values: () => ({}),
    }),
};

const numeric = (rules: Rules): Schema =>
  translated(rules, {
    gte: (it) => ({ minimum: Number(it) }),
    gt: (it) => ({ exclusiveMinimum: Number(it) }),
    lte: (it) => ({ maximum: Number(it) }),
    lt: (it) => ({ exclusiveMaximum: Number(it) }),
  });

function translated(rules: Rules, table: Readonly<Record<string, (it: unknown) => Schema>>) {
  const schema: Schema = {};
  for (const [name, value] of setRules(rules)) {
    const translate = table[name];
    if (!translate) throw new Error(`no translation of the rule ${name}`);
    Object.assign(schema, translate(value));
  }
  return schema;
}

/** Those that are set: members of an oneof by their own name. */
function setRules(rules: Rules): [string, unknown][] {
  return Object.entries(rules).flatMap(([name, value]): [string, unknown][] => {
    if (name.startsWith("$") || isUnset(value)) return [];
    if (typeof value === "object" && value !== null && "case" in value) {
      const { case: chosen, value: given } = value as { case?: string; value?: unknown };
      return chosen === undefined ? [] : [[chosen, given]];
    }
    return [[name, value]];
  });
}

const isUnset = (value: unknown): boolean =>
  value === undefined ||
  value === "" ||
  value === false ||
  value === 0 ||
  value === 0n ||
  (Array.isArray(value) && value.length === 0);
