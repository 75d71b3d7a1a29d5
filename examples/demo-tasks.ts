import type { Priority } from "drover/client";

/** A task as it is submitted, in the words of the REST surface. */
export interface DemoTask {
  type: string;
  priority: Priority;
  payload: Record<string, unknown>;
  max_retries: number;
}

/** One task for each sample handler, on input that `sampleUrl` (the sample server) really has. */
export function demoTasks(sampleUrl: string): DemoTask[] {
  return [
    {
      type: "send_email",
      priority: 2,
      payload: {
        recipient: "user@example.com",
        subject: "Hello World",
        body: "This is a test email",
      },
      max_retries: 3,
    },
    {
      type: "process_image",
      priority: 1,
      payload: { image_url: `${sampleUrl}/photo.jpg`, operation: "resize" },
      max_retries: 3,
    },
    {
      type: "call_webhook",
      priority: 1,
      payload: {
        url: `${sampleUrl}/hooks`,
        method: "POST",
        body: { event: "demo.finished", message: "Hello from Drover" },
      },
      max_retries: 3,
    },
    // Last, so that the tasks above are among those it exports.
    { type: "export_data", priority: 0, payload: { format: "csv", filters: {} }, max_retries: 3 },
  ];
}
