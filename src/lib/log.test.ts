import assert from "node:assert/strict";
import { test } from "node:test";
import Fastify from "fastify";
import { answerProblems } from "../api/problems.ts";
import { openLog } from "./log.ts";

test("what we did not expect is logged with its name, its words, its place and what caused it", async () => {
  const lines: string[] = [];
  const server = Fastify({
    loggerInstance: openLog("error", { write: (line) => lines.push(line) }),
  });
  answerProblems(server as never);
  server.get("/", () => {
    const cause = Object.assign(new Error("deeper"), { code: "ECONNREFUSED" });
    throw new TypeError("not a function", { cause });
  });
  const answer = await server.inject("/");
  assert.equal(answer.statusCode, 500);
  assert.doesNotMatch(answer.body, /not a function/);
  const { error } = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === "bug");
  assert.partialDeepStrictEqual(error, {
    name: "TypeError",
    message: "not a function",
    cause: { message: "deeper", errorCode: "ECONNREFUSED" },
  });
  assert.match(error.stack, /log\.test\.ts/);
});
