import { openLog } from "../lib/log.ts";
import { sealingKey } from "../lib/secrets.ts";
import { openDatabase } from "./connection.ts";
import { migrate } from "./migrate.ts";

// A process that does nothing but migrate, for the test that kills it.
await using database = openDatabase(process.argv[2] ?? "");
await database.pool.query("select 1");
process.send?.("begins");
const keyring = { current: sealingKey("a key for tests of migrations"), previous: [] };
await migrate(database, { keyring, log: openLog("silent") });
process.disconnect?.();
