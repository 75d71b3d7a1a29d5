import { exerciseBrokerModel } from "../conformance/broker-model.js";
import { makeMemoryBroker } from "../support/memory-harness.js";

exerciseBrokerModel("the memory broker", makeMemoryBroker, { runs: 300, commands: 60 });
