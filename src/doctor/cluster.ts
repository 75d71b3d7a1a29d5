import type { Nodes } from "../broker/redis/nodes.js";
import { asText } from "../broker/redis/scripts.js";
import { type Check, createChart } from "./check.js";
import type { Slice } from "./slices.js";

/** Of a Redis Cluster: is each partition served, and what happens when a node goes? */
export async function checkCluster(
  nodes: Nodes,
  slices: readonly Slice[],
  bases: readonly string[],
): Promise<Check[]> {
  const chart = createChart("redis");
  const moving = bases.filter((base) => nodes.isMoving(base)).length;
  const served = slices.reduce((sum, slice) => sum + slice.partitions.length, 0);
  const says = `${slices.length} nodes serve ${served} of ${bases.length} partitions`;
  if (served < bases.length) {
    const mend = "Start the nodes that are away; CLUSTER SLOTS shows slots without a home.";
    chart.fail("cluster", `${says}: nothing is leased in the others`, { mend });
  } else if (moving > 0) {
    const mend = "A partition is frozen while its slot moves. Let the resharding end.";
    chart.warn("cluster", `${says}; the slots of ${moving} are on the move`, { mend });
  } else if (bases.length === 1) {
    const mend = "With partitions: 1 the other nodes are idle; 64 is a good number.";
    chart.warn("cluster", `${says}: one node does all the work`, { mend });
  } else chart.ok("cluster", says);
  for (const { address, connection } of slices) {
    const info = asText(await connection.send("CLUSTER", ["INFO"]));
    const state = /^cluster_state:(\w+)/m.exec(info)?.[1];
    if (state === "ok") continue;
    const mend = "It is cut off from most primaries, or slots have no home: see CLUSTER INFO.";
    chart.fail("cluster state", `${address}: ${state}: it answers CLUSTERDOWN`, { mend });
  }
  const strict = slices.filter(
    ({ facts }) => facts.config?.get("cluster-require-full-coverage") === "yes",
  );
  if (strict.length > 0) {
    chart.warn("full coverage", "cluster-require-full-coverage yes: one node away stops all", {
      mend: "CONFIG SET cluster-require-full-coverage no on each node, and in redis.conf.",
    });
  }
  return chart.checks;
}
