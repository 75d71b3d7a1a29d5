import { defaultNamespace } from "../task/task.js";

/** Who calls. The namespace comes from here and from nowhere else. */
export interface Principal {
  readonly namespace: string;
}

/**
 * Every door asks this once per call or stream. Rejects with a DroverError if the caller may not
 * enter.
 */
export type Authenticate = (headers: Headers) => Promise<Principal>;

/** Without authentication everybody is in the namespace `default`. */
export const openAccess: Authenticate = async () => ({ namespace: defaultNamespace });
