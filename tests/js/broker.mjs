// Aedes with a log-in and rights. Usage: node broker.mjs PORT FILE, where FILE has a user and its password, a line each.

import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import aedes from "aedes";

const [port, file] = process.argv.slice(2);
const [user, password] = readFileSync(file, "utf8").split("\n");
const broker = aedes({
  authenticate: (_client, name, given, done) => {
    const fits = name === undefined || name === null || (name === user && String(given) === password);
    done(fits ? null : Object.assign(new Error("not this one"), { returnCode: 4 }), fits);
  },
  authorizeSubscribe: (_client, subscription, done) =>
    done(null, subscription.topic.startsWith("secret/") ? null : subscription),
});
createServer(broker.handle).listen(Number(port), "127.0.0.1");
process.on("SIGTERM", () => broker.close(() => process.exit(0)));
