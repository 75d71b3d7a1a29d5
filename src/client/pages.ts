import type { CallOptions } from "./calls.js";

export interface PageOptions extends CallOptions {
  /** Items fetched at once. Default 50, at most 500. */
  pageSize?: number;
  /** Goes on after the page this token came with, under the same filters. */
  pageToken?: string;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Empty on the last page. */
  readonly nextPageToken: string;
}

/** Item by item over all pages; a page is fetched only when its first item is asked for. */
export async function* everyPage<Item, Options extends PageOptions>(
  options: Options,
  fetch: (options: Options) => Promise<Page<Item>>,
): AsyncGenerator<Item> {
  let pageToken = options.pageToken;
  do {
    const page = await fetch(pageToken === undefined ? options : { ...options, pageToken });
    yield* page.items;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}
