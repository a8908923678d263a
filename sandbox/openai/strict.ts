const forbidden = [
  ...["allOf", "not", "if", "then", "else", "patternProperties", "propertyNames", "prefixItems"],
  ...["minProperties", "maxProperties", "contains", "uniqueItems", "dependentRequired"],
];

/** What strict structured outputs refuse in a schema, in words; null when they take it. Source: OpenAI's guide to them. */
export function schemaProblem(schema: unknown, at = "root", depth = 0): string | null {
  if (typeof schema !== "object" || schema === null) return `${at} is no schema`;
  if (depth > 10) return "more than 10 levels";
  const one = schema as Record<string, unknown>;
  if (at === "root" && one.type !== "object") return "the root has to be an object";
  const wrong = forbidden.find((keyword) => keyword in one);
  if (wrong) return `${at}: '${wrong}' is not permitted`;
  const children: [string, unknown][] = [];
  if (one.type === "object") {
    if (one.additionalProperties !== false) return `${at}: 'additionalProperties' has to be false`;
    const properties = Object.entries((one.properties ?? {}) as Record<string, unknown>);
    const required = Array.isArray(one.required) ? one.required : [];
    const missing = properties.find(([name]) => !required.includes(name));
    if (missing) return `${at}: '${missing[0]}' has to be in 'required'`;
    children.push(...properties);
  }
  if (one.items) children.push(["items", one.items]);
  if (Array.isArray(one.anyOf)) {
    if (at === "root") return "the root may not be an 'anyOf'";
    children.push(...one.anyOf.map((each, index): [string, unknown] => [String(index), each]));
  }
  for (const [name, child] of children) {
    const problem = schemaProblem(child, `${at}.${name}`, depth + 1);
    if (problem) return problem;
  }
  return null;
}
