// Clarify's own JavaScript client inserts samples, saves signals and selects items; what it got is printed as JSON.
// Usage: node insert.mjs CREDENTIALS-FILE SUFFIX-OF-THE-INPUTS

import { readFile } from "node:fs/promises";
import { Client } from "@clarify/api";

const [credentials, suffix] = process.argv.slice(2);
const client = new Client(JSON.parse(await readFile(credentials, "utf8")));
const number = `number_${suffix}`;
const mode = `mode_${suffix}`;

const saved = await client.saveSignals({
  createOnly: false,
  inputs: {
    [number]: { name: "Flow \u00e9 <b>", engUnit: "m3/h", labels: { hall: ["3", "1"] }, annotations: { made: "by node" } },
    [mode]: { name: "Mode", type: "enum", enumValues: { 0: "off", 1: "on" } },
  },
});
const inserted = await client.insert({
  data: {
    times: ["2026-05-01T12:00:00Z", "2026-05-01T14:00:00.000001+02:00", "2026-05-01T12:00:01Z"],
    series: { [number]: [1.5, -2, null], [mode]: [0, null, 1], [`new_${suffix}`]: [null, 1e300, 0.1] },
  },
});
const refused = await client
  .insert({ data: { times: ["yesterday"], series: { [number]: [1] } } })
  .catch((error) => ({ name: error.name, code: error.code, type: error.type, message: error.message }));
const selected = await client.selectItems({
  items: { include: true, filter: { name: `Flow ${suffix}` } },
  data: { include: true, notBefore: new Date("2026-05-01T12:00:00Z"), before: new Date("2026-05-02"), rollup: null },
});
client.agent.destroy(); // it keeps connections alive, and with them this process

console.log(JSON.stringify({ saved, inserted, refused, selected }));
