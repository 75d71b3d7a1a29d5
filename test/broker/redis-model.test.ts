import { exerciseBrokerModel } from "../conformance/broker-model.js";
import { makeRedisBroker } from "../support/redis-harness.js";

exerciseBrokerModel("the Redis broker", makeRedisBroker, { runs: 40, commands: 50 });
