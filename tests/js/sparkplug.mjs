// Eclipse Tahu's encoder makes payloads of Sparkplug B. Standard input is a JSON list of payloads in its own terms, with
// bytes as {"$bytes": BASE64}; standard output the list of the encoded ones in base64.
// Usage: node sparkplug.mjs < PAYLOADS

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { encodePayload } = createRequire(import.meta.url)("sparkplug-payload").get("spBv1.0");
const revive = (_key, value) => (value?.$bytes === undefined ? value : Buffer.from(value.$bytes, "base64"));
const payloads = JSON.parse(readFileSync(0, "utf8"), revive);
console.log(JSON.stringify(payloads.map((payload) => Buffer.from(encodePayload(payload)).toString("base64"))));
