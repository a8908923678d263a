import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { days, minutes } from "../../sandbox/google/clock.ts";
import { addFault, clearFaults } from "../../sandbox/google/faults.ts";
import { changePassword, endGrantsOf } from "../../sandbox/google/grants.ts";
import { findPerson } from "../../sandbox/google/people.ts";
import { boundTo } from "../../src/accounts/connections.ts";
import {
  accessToken,
  refreshDueTokens,
  renewAccessToken,
  serviceAccessToken,
} from "../../src/accounts/google-tokens.ts";
import { countSealed, resealTokens } from "../../src/accounts/reseal.ts";
import { type SealingKey, seal, sealingKey, unseal } from "../../src/lib/secrets.ts";
import { openTestApp, type TestApp } from "../harness.ts";
import { until } from "../timing.ts";

const run = promisify(execFile);

describe("Google's tokens", () => {
  let t: TestApp;
  before(async () => {
    t = await openTestApp();
  });
  after(() => t[Symbol.asyncDispose]());

  const connectionOf = async (person: string) => {
    const visitor = await t.signIn(person);
    const { body } = await visitor.call("GET", "/api/v1/me");
    return { visitor, id: body.connections[0].id as string };
  };
  const read = (id: string) =>
    t.app.db.selectFrom("connections").selectAll().where("id", "=", id).executeTakeFirstOrThrow();
  const expire = (id: string) =>
    t.app.db
      .updateTable("connections")
      .set({ access_expires_at: new Date(0) })
      .where("id", "=", id)
      .execute();
  const refreshes = () =>
    t.google.state.requests.filter(({ endpoint }) => endpoint === "oauth.token.refresh").length;
  const environment = () => ({
    ...process.env,
    DATABASE_URL: t.database.url,
    SERVICE_KEY: "a-service-key-for-tests",
    ENCRYPTION_KEY: "an-encryption-key-for-tests",
    SESSION_SECRET: "a-session-secret-for-tests",
    GOOGLE_CLIENT_ID: t.google.client.id,
    GOOGLE_CLIENT_SECRET: t.google.client.secret,
    GOOGLE_API_URL: t.google.url,
  });

  test("a token that is good for more than five minutes is used as it is", async () => {
    const { id } = await connectionOf("ana@example.com");
    const count = refreshes();
    const token = await accessToken(t.app, id);
    assert.equal(await accessToken(t.app, id), token);
    assert.equal(refreshes(), count);
    t.clock.advance(56 * minutes);
    assert.notEqual(await accessToken(t.app, id), token);
    assert.equal(refreshes(), count + 1);
  });

  test("a hundred callers in four processes cause one refresh, and all get the same token", async () => {
    const { id } = await connectionOf("ana@example.com");
    await expire(id);
    const count = refreshes();
    addFault(t.google.state, { endpoint: "oauth.token.refresh", delayMs: 1500 });
    const processes = Array.from({ length: 4 }, () =>
      run(process.execPath, ["test/token-caller.ts", id, "25"], { env: environment() }),
    );
    const tokens = new Set(
      (await Promise.all(processes)).flatMap(({ stdout }) => JSON.parse(stdout) as string[]),
    );
    assert.equal(tokens.size, 1);
    assert.equal(refreshes(), count + 1);
  });

  test("a process killed in the middle of a refresh leaves a lease that ends, and the next caller refreshes", async () => {
    const { id } = await connectionOf("ana@example.com");
    await expire(id);
    addFault(t.google.state, { endpoint: "oauth.token.refresh", delayMs: 20_000 });
    const child = spawn(process.execPath, ["test/token-caller.ts", id, "1"], {
      env: environment(),
    });
    await until(async () => (await read(id)).refresh_lease_owner !== null);
    child.kill("SIGKILL");
    await t.app.db
      .updateTable("connections")
      .set({ refresh_lease_until: new Date(Date.now() - 1) })
      .where("id", "=", id)
      .execute();
    assert.match(await accessToken(t.app, id), /^ya29/);
    assert.equal((await read(id)).refresh_lease_owner, null);
  });

  test("a dead grant marks the connection, tells why, and is not tried again; signing in re-arms it", async () => {
    const { id, visitor } = await connectionOf("priya@example.com");
    await expire(id);
    endGrantsOf(t.google.state, findPerson(t.google.state, "priya@example.com")!);
    await assert.rejects(accessToken(t.app, id), { failure: "reauthorise" });
    const { body } = await visitor.call("GET", "/api/v1/me");
    assert.equal(body.connections[0].state, "reconnect_needed");
    assert.equal(body.connections[0].state_reason, "grant_dead");
    const count = refreshes();
    await assert.rejects(accessToken(t.app, id), { failure: "reauthorise" });
    assert.equal(refreshes(), count);
    await t.signIn("priya@example.com");
    assert.equal((await read(id)).state, "active");
    assert.match(await accessToken(t.app, id), /^ya29/);
  });

  test("signing in after a password change brings a grant that lives, though Google remembers the consent", async () => {
    const { id } = await connectionOf("priya@example.com");
    await expire(id);
    changePassword(t.google.state, findPerson(t.google.state, "priya@example.com")!);
    await assert.rejects(accessToken(t.app, id), { failure: "reauthorise" });
    await t.signIn("priya@example.com");
    await expire(id);
    assert.match(await accessToken(t.app, id), /^ya29/);
    assert.equal((await read(id)).state, "active");
  });

  test("of many whose token Google refused, one refreshes, and nobody is given the refused one again", async () => {
    const { id } = await connectionOf("ana@example.com");
    const refused = await accessToken(t.app, id);
    const count = refreshes();
    addFault(t.google.state, { endpoint: "oauth.token.refresh", delayMs: 1_000 });
    const tokens = await Promise.all(
      Array.from({ length: 5 }, () => renewAccessToken(t.app, id, refused)),
    );
    clearFaults(t.google.state);
    assert.equal(refreshes(), count + 1);
    assert.equal(new Set(tokens).size, 1);
    assert.notEqual(tokens[0], refused);
    assert.equal(await renewAccessToken(t.app, id, refused), tokens[0]);
  });

  test("nothing but a 400 with invalid_grant ends a connection", async () => {
    const { id } = await connectionOf("ana@example.com");
    const faults = [
      { status: 401, reason: "invalid_client" },
      { status: 400, reason: "invalid_request" },
      { status: 400, reason: "unauthorized_client" },
      { status: 403, reason: "access_denied" },
      { status: 429, reason: "rate_limit_exceeded" },
      { status: 500, reason: "internal_failure" },
      { status: 502, html: true },
      { status: 401, reason: "invalid_grant" },
      { reset: "before" as const },
    ];
    for (const fault of faults) {
      await expire(id);
      addFault(t.google.state, { endpoint: "oauth.token.refresh", times: null, ...fault });
      await assert.rejects(accessToken(t.app, id), { name: "ProviderError" });
      clearFaults(t.google.state);
      assert.equal((await read(id)).state, "active", JSON.stringify(fault));
      await t.app.db
        .updateTable("connections")
        .set({ next_refresh_at: null, refresh_failures: 0 })
        .where("id", "=", id)
        .execute();
    }
    assert.match(await accessToken(t.app, id), /^ya29/);
  });

  test("the schedule refreshes what ends within ten minutes, and one failure hides no other", async () => {
    const { id } = await connectionOf("ana@example.com");
    const other = await connectionOf("jonas.weber@example.com");
    t.clock.advance(52 * minutes);
    addFault(t.google.state, {
      endpoint: "oauth.token.refresh",
      person: "ana@example.com",
      status: 500,
      times: null,
    });
    const results = await refreshDueTokens(t.app);
    clearFaults(t.google.state);
    assert.equal(results.find(({ connectionId }) => connectionId === other.id)?.error, null);
    assert.notEqual(results.find(({ connectionId }) => connectionId === id)?.error, null);
    // A failed one waits for its own time.
    assert.deepEqual(await refreshDueTokens(t.app), []);
    t.clock.advance(2 * minutes);
    assert.equal(
      (await refreshDueTokens(t.app)).find(({ connectionId }) => connectionId === id)?.error,
      null,
    );
  });

  test("the schedule can be run by the service, its run is on record, and nobody else may", async () => {
    const { visitor } = await connectionOf("ana@example.com");
    t.clock.advance(55 * minutes);
    const { status, body } = await t.asService("POST", "/api/v1/cron/refresh-google-tokens");
    assert.equal(status, 200);
    assert.ok(body.counts.refreshed >= 1);
    const runs = await t.asService("GET", "/api/v1/cron/runs?name=refresh-google-tokens&limit=1");
    assert.deepEqual(runs.body.items[0].counts, body.counts);
    assert.equal((await visitor.call("POST", "/api/v1/cron/refresh-google-tokens")).status, 403);
    assert.equal((await t.asService("POST", "/api/v1/cron/no-such-thing")).status, 404);
    const old = await t.asService("POST", "/functions/v1/refresh-google-token");
    assert.equal(typeof old.body.refreshed, "number");
  });

  test("a user refreshes their own token and no other's; the service names whose", async () => {
    const ana = await connectionOf("ana@example.com");
    const priya = await connectionOf("priya@example.com");
    const refresh = "/api/v1/auth/google/token/refresh";
    assert.equal((await ana.visitor.call("POST", refresh, {})).status, 200);
    assert.equal(
      (await ana.visitor.call("POST", refresh, { user_id: priya.visitor.userId })).status,
      404,
    );
    assert.equal(
      (await ana.visitor.call("POST", refresh, { connection_id: priya.id })).status,
      404,
    );
    assert.equal(
      (await t.asService("POST", refresh, { user_id: priya.visitor.userId })).body.connection_id,
      priya.id,
    );
    assert.equal((await t.asService("POST", refresh, {})).status, 422);
  });

  test("a new key seals what is new, opens what is old, and a job reseals the rest", async () => {
    await connectionOf("ana@example.com");
    const previous = t.app.config.keyring.current;
    const config = {
      ...t.app.config,
      keyring: { current: sealingKey("another key for the tests"), previous: [previous] },
    };
    const rotated = { ...t.app, config };
    const { total, old } = await countSealed(rotated);
    assert.equal(old, total);
    const progress: number[] = [];
    await resealTokens(rotated, ({ done }) => void progress.push(done));
    assert.equal(progress.at(-1), total);
    const rows = await t.app.db.selectFrom("connections").select(["id", "refresh_token"]).execute();
    for (const { refresh_token } of rows)
      assert.ok(refresh_token?.startsWith(`v1.${config.keyring.current.id}.`));
    const withoutPrevious = {
      ...rotated,
      config: { ...config, keyring: { ...config.keyring, previous: [] } },
    };
    assert.match(await accessToken(withoutPrevious, rows[0]!.id), /^ya29/);
    await resealTokens({
      ...t.app,
      config: { ...config, keyring: { current: previous, previous: [config.keyring.current] } },
    });
  });

  test("a token that no known key opens hinders neither the schedule nor the sealing of others", async () => {
    const { id: lost } = await connectionOf("ana@example.com");
    const { id: other } = await connectionOf("jonas.weber@example.com");
    const { current } = t.app.config.keyring;
    const older = sealingKey("an older key of the tests");
    const sealedBy = async (id: string, key: SealingKey) => {
      const bound = boundTo(id, "refresh_token");
      const token = unseal(t.app.config.keyring, (await read(id)).refresh_token ?? "", bound);
      await t.app.db
        .updateTable("connections")
        .set({ refresh_token: seal({ current: key, previous: [] }, token, bound) })
        .where("id", "=", id)
        .execute();
    };
    await sealedBy(lost, sealingKey("a key that nobody has any more"));
    await expire(lost);
    await expire(other);
    const errorOf = async (id: string) =>
      (await refreshDueTokens(t.app)).find(({ connectionId }) => connectionId === id)?.error;
    assert.equal(await errorOf(lost), "unknown_key");
    await until(async () => (await read(lost)).refresh_lease_owner === null);
    await sealedBy(other, older);
    const config = { ...t.app.config, keyring: { current, previous: [older] } };
    const { total: _total, ...counts } = await countSealed({ ...t.app, config });
    assert.deepEqual(counts, { old: 2, unknown: 1 });
    assert.deepEqual(await resealTokens({ ...t.app, config }), { resealed: 1, unreadable: 1 });
    assert.ok((await read(other)).refresh_token?.startsWith(`v1.${current.id}.`));
    // Its person signs in again: what does not open is not taken for a token.
    await t.signIn("ana@example.com");
    await expire(lost);
    assert.match(await accessToken(t.app, lost), /^ya29/);
  });

  test("grants that die a week after consent are named for what they are", async () => {
    await t.app.db.deleteFrom("grant_deaths").execute();
    for (const person of ["ana@example.com", "jonas.weber@example.com"]) {
      const { id } = await connectionOf(person);
      await t.app.db
        .updateTable("connections")
        .set({ consented_at: t.clock.now() })
        .where("id", "=", id)
        .execute();
    }
    t.clock.advance(7 * days + 30 * minutes);
    for (const person of ["ana@example.com", "jonas.weber@example.com"]) {
      endGrantsOf(t.google.state, findPerson(t.google.state, person)!);
    }
    await refreshDueTokens(t.app);
    const visitor = await t.signIn("ana@example.com");
    const { body } = await visitor.call("GET", "/api/v1/me");
    assert.ok(
      body.notices.some(({ code }: { code: string }) => code === "testing_client"),
      JSON.stringify(body.notices),
    );
  });

  test("the service account gets a token, by delegation too, and keeps it until shortly before its end", async () => {
    const scopes = ["https://www.googleapis.com/auth/drive.readonly"];
    const token = await serviceAccessToken(t.app, scopes);
    assert.equal(await serviceAccessToken(t.app, scopes), token);
    const subject = "ana@example.com";
    assert.notEqual(await serviceAccessToken(t.app, scopes, { subject }), token);
    const renewed = await serviceAccessToken(t.app, scopes, { refused: token });
    assert.notEqual(renewed, token, "a token that Google refused is not kept");
    assert.equal(await serviceAccessToken(t.app, scopes, { refused: token }), renewed);
    t.clock.advance(56 * minutes);
    assert.notEqual(await serviceAccessToken(t.app, scopes), token);
    await assert.rejects(
      serviceAccessToken(t.app, ["https://www.googleapis.com/auth/no.such.scope"]),
      { failure: "give_up" },
    );
  });
});
