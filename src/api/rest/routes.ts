import { getOption, hasOption, type DescMethod, type DescService } from "@bufbuild/protobuf";
import { http } from "../../../gen/google/api/annotations_pb.js";
import type { HttpRule } from "../../../gen/google/api/http_pb.js";

/** One binding of a method to a verb and a path, compiled from its google.api.http annotation. */
export interface Route {
  readonly verb: string;
  /** As written in the proto, e.g. /api/v1/tasks/{task_id}. */
  readonly template: string;
  readonly pattern: RegExp;
  /** Paths of the request's fields, in the order of the pattern's groups. */
  readonly variables: readonly string[];
  readonly method: DescMethod;
  /** "" no body, "*" the whole request, otherwise the field the body is. */
  readonly body: string;
  /** "" the whole response, otherwise the field that is sent. */
  readonly responseBody: string;
}

/**
 * All bindings of the methods of a service that take one request; those that answer with a stream
 * are served as Server-Sent Events. The OpenAPI document is made of the same.
 */
export const compileRoutes = (service: DescService): Route[] =>
  service.methods
    .filter((method) => hasOption(method, http) && takesOne(method))
    .flatMap((method) => compileRule(method, getOption(method, http)));

const takesOne = ({ methodKind }: DescMethod): boolean =>
  methodKind === "unary" || methodKind === "server_streaming";

function compileRule(method: DescMethod, rule: HttpRule): Route[] {
  const { pattern, body, responseBody } = rule;
  const more = rule.additionalBindings.flatMap((it) => compileRule(method, it));
  if (pattern.case === undefined || pattern.case === "custom") return more;
  const compiled = compileTemplate(pattern.value);
  const verb = pattern.case.toUpperCase();
  return [{ verb, template: pattern.value, ...compiled, method, body, responseBody }, ...more];
}

/**
 * Variables match one segment without a colon, since a colon begins a verb of its own (":cancel").
 */
function compileTemplate(template: string): Pick<Route, "pattern" | "variables"> {
  const variables: string[] = [];
  const source = template
    .split(/(\{[^}]+\})/)
    .map((part) => {
      if (!part.startsWith("{")) return part.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
      variables.push(part.slice(1, -1));
      return "([^/:]+)";
    })
    .join("");
  return { pattern: new RegExp(`^${source}$`), variables };
}

export type Match =
  | { readonly kind: "found"; readonly route: Route; readonly values: readonly string[] }
  | { readonly kind: "wrong_verb"; readonly allowed: readonly string[] }
  | { readonly kind: "unknown" };

export function matchRoute(routes: readonly Route[], verb: string, path: string): Match {
  const allowed: string[] = [];
  for (const route of routes) {
    const match = route.pattern.exec(path);
    if (!match) continue;
    if (route.verb === verb) return { kind: "found", route, values: match.slice(1) };
    allowed.push(route.verb);
  }
  return allowed.length > 0 ? { kind: "wrong_verb", allowed } : { kind: "unknown" };
}
