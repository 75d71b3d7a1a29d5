/**
 * A plugin of buf that writes openapi.json. At generation time and not at run time, since only the
 * sources carry the comments, which become its descriptions.
 */
import { createEcmaScriptPlugin, runNodeJs } from "@bufbuild/protoplugin";
import { createDocument } from "./openapi/document.js";

runNodeJs(
  createEcmaScriptPlugin({
    name: "protoc-gen-drover-openapi",
    version: "v1",
    generateTs(schema) {
      const services = schema.files.flatMap((it) => it.services);
      schema.generateFile("openapi.json").print(JSON.stringify(createDocument(services), null, 2));
    },
  }),
);
