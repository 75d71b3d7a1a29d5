import { exerciseBroker } from "../conformance/broker.js";
import { makeMemoryBroker } from "../support/memory-harness.js";

exerciseBroker("the memory broker", makeMemoryBroker);
