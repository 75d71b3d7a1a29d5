import { exerciseBrokerModel } from "../conformance/broker-model.js";
import { makeRedisBroker } from "../support/redis-harness.js";

// Where two tasks that are alike stand together, nearly all of a life does.
exerciseBrokerModel(
  "the Redis broker with bundles of two",
  (options) => makeRedisBroker({ ...options, bounds: { bundleTasks: 2 }, frozen: true }),
  { runs: 8, commands: 50 },
);
