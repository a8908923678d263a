/** Where the time comes from. Passed in as an argument, so that tests and the sandbox can move it. */
export type Clock = { now(): Date };

/** The machine's own time. */
export const systemClock: Clock = { now: () => new Date() };
