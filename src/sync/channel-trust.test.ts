import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { start, usual } from "../../test/looks.ts";
import { afterLook, initialCadence, isChannelDoubted, rememberedCadence } from "./cadence.ts";
import {
  type ChannelTrust,
  frailty,
  looked,
  noChannel,
  pushPriorOf,
  usualPushPrior,
  withChannel,
} from "./channel-trust.ts";

const hour = { seconds: 3_600, hasSpoken: false, announced: 0, missed: 0 };
const told = { ...hour, hasSpoken: true, announced: 1 };
const untold = { ...hour, missed: 1 };
const times = (count: number, from: ChannelTrust, look: typeof hour) =>
  Array.from({ length: count }).reduce((trust: ChannelTrust) => looked(trust, look), from);
const opened = withChannel(noChannel, "a");
const deathsPerDay = (trust: ChannelTrust) => frailty(trust).deathRate * 86_400;

describe("what is believed of a channel", () => {
  test("silence shows nothing until there was something to tell of", () => {
    const silent = times(48, times(48, opened, told), hour);
    assert.equal(deathsPerDay(silent), deathsPerDay(times(48, opened, told)));
    assert.equal(deathsPerDay(withChannel(silent, "b")), deathsPerDay(silent));
    assert.ok(deathsPerDay(looked(silent, untold)) > 1.5 * deathsPerDay(silent));
  });

  test("who speaks again lived all along: what was not told of was lost, and of a dead one it was not", () => {
    const missed = times(2, times(50, opened, told), untold);
    assert.ok(frailty(looked(missed, told)).loss > 2 * frailty(times(50, opened, told)).loss);
    assert.ok(deathsPerDay(looked(missed, told)) < usualPushPrior.deathsPerDay);
    let neverTold = noChannel;
    for (let channel = 0; channel < 50; channel += 1) {
      neverTold = withChannel(neverTold, String(channel));
      while (!isChannelDoubted({ channel: neverTold })) neverTold = looked(neverTold, untold);
    }
    assert.ok(frailty(neverTold).loss < 0.2, `${frailty(neverTold).loss} are lost`);
    assert.ok(deathsPerDay(neverTold) > 1);
  });

  test("a new channel is not charged with the time before it, nor with what the one before it did not tell of", () => {
    const day = 86_400_000;
    const timeOf = (days: number) => new Date(start + days * day);
    const look = (days: number, id: string, opened: number, missed = 0) => ({
      at: timeOf(days),
      changedAt: [],
      hasSpoken: false,
      announced: 0,
      missed,
      channel: { id, openedAt: timeOf(opened) },
    });
    let state = initialCadence(new Date(start));
    for (const each of [look(1, "a", 0), look(2, "a", 0, 3), look(32, "b", 31.99)])
      state = afterLook("calendar", state, each, usual);
    assert.ok(state.channel.alive > 0.99, `${state.channel.alive}`);
    assert.ok(Math.abs(state.channel.deaths - 1) < 0.01 && state.channel.untold === 0);
  });

  test("a death that an earlier version believed in counts once it is known", () => {
    const { untold: _, fatalSilence: __, ...earlier } = times(10, opened, told);
    const intensity = initialCadence(new Date(start)).intensity;
    const row = { intensity, channel: { ...earlier, alive: 0.7, deaths: 2.3, silent: 8 } };
    const { channel } = rememberedCadence(row);
    assert.ok(Math.abs(channel.deaths - 2) < 1e-9);
    assert.ok(Math.abs(looked(channel, told).deaths - 2) < 1e-9);
    const dead = times(3, channel, untold);
    assert.ok(Math.abs(withChannel(dead, "b").deaths - 3) < 0.01);
  });

  test("one feed that shows very much counts for little among those of its kind", () => {
    const healthy = Array.from({ length: 500 }, () => times(150, opened, told));
    const broken = { ...noChannel, told: 60_000, lost: 20_000, deaths: 5_000, days: 100 };
    const [without, together] = [pushPriorOf(healthy), pushPriorOf([...healthy, broken])];
    assert.ok(together.loss < without.loss + 0.002, `${together.loss}, ${without.loss}`);
    assert.ok(together.deathsPerDay < without.deathsPerDay + 0.01, `${together.deathsPerDay}`);
  });
});
