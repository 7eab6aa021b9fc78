// What the scripts for Node share: the words exchanged with the test that runs them, and waiting.

import { createInterface } from "node:readline";

export const [host, port, protocol] = [...process.argv[2].split(":"), Number(process.argv[3])];

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the server killed and started again. */
export async function restartServer() {
  console.log("restart");
  const { value } = await answers.next();
  if (value !== "restarted") throw new Error(`told ${value}`);
}

/** Waits until something holds. */
export async function until(what, holds) {
  const end = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const blockedClients = (info) => Number(/blocked_clients:(\d+)/.exec(info)[1]);

/** Ends the process: what is left open would keep it alive. */
export function done() {
  console.log("done");
  process.exit(0);
}
