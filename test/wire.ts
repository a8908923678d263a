import { connect, createServer, type NetConnectOpts, type Socket } from "node:net";

/** A wire between us and a server, which tests can break. */
export type Wire = {
  port: number;
  /** Ends what is open, and every new connection at once. */
  cut(): void;
  /** Connections stay and new ones are taken, but nothing comes through. */
  stall(): void;
  restore(): void;
  [Symbol.asyncDispose](): Promise<void>;
};

export async function openWire(target: NetConnectOpts): Promise<Wire> {
  const sockets = new Set<Socket>();
  let state: "open" | "cut" | "stalled" = "open";
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  };
  const join = (from: Socket, to: Socket) => {
    from.on("data", (chunk) => state === "open" && to.write(chunk));
    from.on("close", () => to.destroy());
  };
  const server = createServer((near) => {
    keep(near);
    if (state === "cut") {
      near.destroy();
      return;
    }
    const far = connect(target);
    keep(far);
    join(near, far);
    join(far, near);
  });
  const endAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  const { promise, resolve } = Promise.withResolvers<number>();
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    resolve(typeof address === "object" && address ? address.port : 0);
  });
  return {
    port: await promise,
    cut: () => {
      state = "cut";
      endAll();
    },
    stall: () => {
      state = "stalled";
    },
    // What was lost on the way cannot be sent again.
    restore: () => {
      if (state === "stalled") endAll();
      state = "open";
    },
    [Symbol.asyncDispose]: async () => {
      endAll();
      server.close();
    },
  };
}

/** Where a database URL leads to: a port, or the socket in a folder. */
export function serverOf(url: string): NetConnectOpts {
  const { hostname, port, searchParams } = new URL(url);
  const folder = searchParams.get("host");
  return folder?.startsWith("/")
    ? { path: `${folder}/.s.PGSQL.${port || 5432}` }
    : { host: hostname, port: Number(port || 5432) };
}
