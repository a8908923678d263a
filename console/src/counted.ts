/** A number and what it counts, such as “1 try” or “2,000 tries”. */
export function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}
