/** Milliseconds that this thread computes until `act` is done, whatever else keeps the machine busy meanwhile. */
export async function computingMs(act: () => unknown): Promise<number> {
  const before = process.threadCpuUsage();
  await act();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}
