/**
 * Prints buf/validate/validate.proto from the descriptor inside @bufbuild/protovalidate: no npm
 * package carries the source. Comments and the CEL of predefined rules are left out; they do not
 * matter to generated code.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

const file = file_buf_validate_validate.proto;
const target = "third_party/buf/validate";

const header = `// Copyright 2023-2026 Buf Technologies, Inc.
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Printed by .ci/scripts/print-validate-proto.ts from the descriptor in @bufbuild/protovalidate.
`;

function field(it: FieldDescriptorProto, inOneof = false): string {
  const label = inOneof ? "" : `${Label[it.label].toLowerCase()} `;
  const type = it.typeName === "" ? Type[it.type].toLowerCase() : it.typeName;
  return `${label}${type} ${it.name} = ${it.number};`;
}

const isOneofMember = (it: FieldDescriptorProto) =>
  Object.hasOwn(it, "oneofIndex") && !it.proto3Optional;

function message(it: DescriptorProto): string[] {
  const oneofs = it.oneofDecl.flatMap((oneof, index) => {
    const members = it.field.filter((f) => isOneofMember(f) && f.oneofIndex === index);
    return [`oneof ${oneof.name} {`, ...indent(members.map((f) => field(f, true))), "}"];
  });
  const body = [
    ...it.nestedType.flatMap(message),
    ...it.enumType.flatMap(enumeration),
    ...oneofs,
    ...it.field.filter((f) => !isOneofMember(f)).map((f) => field(f)),
    ...it.extensionRange.map((r) => `extensions ${range(r.start, r.end)};`),
    ...it.reservedRange.map((r) => `reserved ${range(r.start, r.end)};`),
    ...it.reservedName.map((name) => `reserved "${name}";`),
  ];
  return [`message ${it.name} {`, ...indent(body), "}"];
}

/** Ranges in descriptors exclude their end, ranges in the source include it. */
function range(start: number, end: number): string {
  const last = end - 1;
  if (last === start) return String(start);
  return `${start} to ${last >= 536_870_911 ? "max" : last}`;
}

function enumeration(it: EnumDescriptorProto): string[] {
  const alias = it.options?.allowAlias ? ["option allow_alias = true;"] : [];
  const values = it.value.map((v) => `${v.name} = ${v.number};`);
  return [`enum ${it.name} {`, ...indent([...alias, ...values]), "}"];
}

const indent = (lines: string[]) => lines.map((line) => `  ${line}`);

const text = [
  header,
  `syntax = "${file.syntax || "proto2"}";`,
  "",
  `package ${file.package};`,
  "",
  ...file.dependency.map((name) => `import "${name}";`),
  "",
  'option go_package = "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate";',
  "option java_multiple_files = true;",
  'option java_outer_classname = "ValidateProto";',
  'option java_package = "build.buf.validate";',
  "",
  ...file.extension.flatMap((it) => [`extend ${it.extendee} {`, ...indent([field(it)]), "}"]),
  ...file.messageType.flatMap(message),
  ...file.enumType.flatMap(enumeration),
];
mkdirSync(target, { recursive: true });
writeFileSync(`${target}/validate.proto`, `${text.join("\n")}\n`);
