import type { CoveredBirths, RecordedBirths } from "../broker.js";
import { Packer } from "./bytes.js";
import { asBytes } from "./scripts.js";
import type { Store } from "./store.js";

const packer = new Packer();
/** As covered.lua answers: "r" and "t". */
const isRecorded = 114;
const isTold = 116;

export async function covered(
  store: Store,
  { births, nths }: RecordedBirths,
): Promise<CoveredBirths> {
  packer.reset();
  for (const nth of nths) packer.uuid(births.ids[nth]!);
  const reply = await store.scripts.run("covered", store.base(births.partition), [packer.take()]);
  const fates = asBytes(reply);
  return {
    recorded: nths.filter((_, place) => fates[place] === isRecorded),
    told: nths.filter((_, place) => fates[place] === isTold),
  };
}
