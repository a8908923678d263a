import { type KeyObject, sign } from "node:crypto";

/**
 * A self-signed certificate around an RSA key, as PEM. Google publishes its signing keys in this form, and some clients
 * accept no other; nobody checks more of it than the key.
 */
export function selfSigned(
  keys: { publicKey: KeyObject; privateKey: KeyObject },
  commonName: string,
): string {
  const name = sequence(set(sequence(oid("2.5.4.3"), der(0x0c, Buffer.from(commonName)))));
  const algorithm = sequence(oid("1.2.840.113549.1.1.11"), der(0x05)); // sha256WithRSAEncryption
  // Wide enough for wherever the sandbox's clock is put.
  const validity = sequence(
    der(0x17, Buffer.from("200101000000Z")),
    der(0x17, Buffer.from("491231235959Z")),
  );
  const version3 = der(0xa0, der(0x02, Buffer.from([2])));
  const serial = der(0x02, Buffer.from([1]));
  const publicKey = keys.publicKey.export({ type: "spki", format: "der" });
  const content = sequence(version3, serial, algorithm, name, validity, name, publicKey);
  const signature = sign("sha256", content, keys.privateKey);
  const certificate = sequence(content, algorithm, der(0x03, Buffer.from([0]), signature));
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

const sequence = (...parts: Buffer[]) => der(0x30, ...parts);
const set = (...parts: Buffer[]) => der(0x31, ...parts);

// One value of X.690: tag, length, content.
function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const digits = content.length.toString(16);
  const length = Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content]);
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = rest.flatMap((number) => {
    const sevens = [number & 0x7f];
    for (let left = number >>> 7; left > 0; left >>>= 7) sevens.unshift(0x80 | (left & 0x7f));
    return sevens;
  });
  return der(0x06, Buffer.from([first * 40 + second, ...bytes]));
}
