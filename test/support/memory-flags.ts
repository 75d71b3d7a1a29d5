/** Settings of a coordinator with stores in memory, on free ports of this host. */
export const memoryFlags = {
  host: "127.0.0.1",
  http_port: 0,
  grpc_port: 0,
  broker: "memory",
  history: "memory",
  log_level: "silent",
};
