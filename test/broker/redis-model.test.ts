import { exerciseBrokerModel } from "../conformance/broker-model.js";
import { makeRedisBroker } from "../support/redis-harness.js";

// On a busy machine a life may take longer than the times it is about.
exerciseBrokerModel(
  "the Redis broker",
  (options) => makeRedisBroker({ ...options, frozen: true }),
  {
    runs: 12,
    commands: 50,
  },
);
