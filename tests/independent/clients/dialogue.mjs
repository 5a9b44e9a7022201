// What a program says to the test that runs it, and hears from it: a line of JSON for each step, and
// the address that the browser came back to.

import { once } from 'node:events';
import { createInterface } from 'node:readline';

const input = createInterface({ input: process.stdin });

export function report(members) {
  console.log(JSON.stringify(members));
}

export async function callbackAddress() {
  const [line] = await once(input, 'line');
  input.close();
  return new URL(line);
}
