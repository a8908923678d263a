import { accessToken } from "../src/accounts/google-tokens.ts";
import { openApp } from "../src/app.ts";
import { loadConfig } from "../src/config.ts";
import { openLog } from "../src/lib/log.ts";

// A process of its own that asks for one connection's access token many times at once. Prints what it got.
const [connectionId = "", callers = "1"] = process.argv.slice(2);
await using app = await openApp(loadConfig(process.env), { log: openLog("silent") });
const tokens = await Promise.all(
  Array.from({ length: Number(callers) }, () => accessToken(app, connectionId)),
);
process.stdout.write(JSON.stringify([...new Set(tokens)]));
