import { exerciseBroker } from "../conformance/broker.js";
import { makeRedisBroker } from "../support/redis-harness.js";

exerciseBroker("the Redis broker", makeRedisBroker);
