import type { Page } from "../coordinator/coordinator.js";
import { limits } from "../limits.js";

/** 0 means the default. */
export const toPage = (request: Page): Page => ({
  pageSize: request.pageSize || limits.pageSize,
  pageToken: request.pageToken,
});
