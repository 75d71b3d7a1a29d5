import { fromBinary, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import type { PayloadDecoder } from "../task/same-spec.js";

const text = new TextDecoder("utf-8", { fatal: true });

/** The JSON value of a payload; undefined for typed bytes, and for bytes that do not decode. */
export const decodePayload: PayloadDecoder = (payload) => {
  try {
    if (payload.contentType === "") {
      return { value: toJson(ValueSchema, fromBinary(ValueSchema, payload.data)) };
    }
    if (payload.contentType !== "application/json") return undefined;
    return { value: JSON.parse(text.decode(payload.data)) as unknown };
  } catch {
    return undefined;
  }
};
