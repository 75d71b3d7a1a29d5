import { exerciseBrokerModel } from "../conformance/broker-model.js";
import { makeRedisBroker } from "../support/redis-harness.js";

exerciseBrokerModel("the Redis broker", makeRedisBroker, { runs: 12, commands: 50 });
