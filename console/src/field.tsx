import { type ReactNode, useEffect, useId, useRef } from "react";
import { ApiError } from "./api.ts";

type Shared = {
  name: string;
  label: string;
  hint?: string | undefined;
  error?: string | undefined;
};
type FieldProps = Shared & {
  most: number;
  /** More than one: a larger box. */
  rows?: number;
  value?: string | undefined;
  isRequired?: boolean;
  placeholder?: string;
};

/** A labelled field of a form that is read when it is sent. */
export function Field({ most, rows, value, isRequired, placeholder, ...shared }: FieldProps) {
  const id = useId();
  const own = {
    ...describedBy(id, shared),
    name: shared.name,
    maxLength: most,
    defaultValue: value,
    required: isRequired,
    placeholder,
  };
  return (
    <Labelled id={id} {...shared}>
      {rows ? <textarea rows={rows} {...own} /> : <input autoComplete="off" {...own} />}
    </Labelled>
  );
}

type ChoiceProps = Shared & {
  value: string;
  options: readonly (readonly [value: string, name: string])[];
  /** With it the choice is `value`, whatever is chosen; without it `value` is what it begins with. */
  onChange?: (value: string) => void;
};

/** A labelled choice of a form, likewise. */
export function Choice({ value, options, onChange, ...shared }: ChoiceProps) {
  const id = useId();
  return (
    <Labelled id={id} {...shared}>
      <select
        {...describedBy(id, shared)}
        name={shared.name}
        {...(onChange
          ? { value, onChange: ({ target }) => onChange(target.value) }
          : { key: value, defaultValue: value })}
      >
        {options.map(([option, name]) => (
          <option key={option} value={option}>
            {name}
          </option>
        ))}
      </select>
    </Labelled>
  );
}

/** A label above, and below what helps and what is wrong. What stands in it takes {@link describedBy}. */
export function Labelled({
  id,
  label,
  hint,
  error,
  children,
}: Omit<Shared, "name"> & { id: string; children: ReactNode }) {
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      {children}
      {error && (
        <p id={`${id}-error`} className="wrong">
          {error}
        </p>
      )}
      {hint && (
        <p id={`${id}-hint`} className="faint">
          {hint}
        </p>
      )}
    </div>
  );
}

/** What ties a control to its label, its hint and what is wrong with it. */
export function describedBy(id: string, { hint, error }: Pick<Shared, "hint" | "error">) {
  const ids = [...(error ? [`${id}-error`] : []), ...(hint ? [`${id}-hint`] : [])];
  return {
    id,
    ...(error ? { "aria-invalid": true } : {}),
    ...(ids.length > 0 ? { "aria-describedby": ids.join(" ") } : {}),
  };
}

/** What the API says of the first of these fields that it finds wrong. */
export function errorAt(error: Error | null, ...names: string[]): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  const found = error.fields.find(({ path }) =>
    path.split(".").some((part) => names.includes(part)),
  );
  if (!found) return undefined;
  return /^[a-z]/.test(found.message) ? `It ${found.message}.` : `${found.message}.`;
}

type OutcomeProps = {
  wish: { error: Error | null; isSuccess: boolean };
  /** Those that say themselves what is wrong with them. */
  fields: readonly string[];
  done: string;
};

/** How sending a form ended: refused, its fields say why, of which the first has the focus then, or else a box here. */
export function Outcome({ wish: { error, isSuccess }, fields, done }: OutcomeProps) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (error)
      place.current?.closest("form")?.querySelector<HTMLElement>("[aria-invalid]")?.focus();
  }, [error]);
  const isAtField = errorAt(error, ...fields) !== undefined;
  return (
    <div ref={place} aria-live="polite" className="outcome">
      {error && !isAtField && <p className="notice warn">{error.message}</p>}
      {isSuccess && <p className="state good">{done}</p>}
    </div>
  );
}

/** What was written into a field of a form. */
export function textOf(form: FormData, name: string): string {
  return String(form.get(name) ?? "").trim();
}

/** What stands between commas or on lines of its own, each once. */
export function listOf(form: FormData, name: string, between = /[,;\n]+/): string[] {
  const words = textOf(form, name).split(between);
  return [...new Set(words.map((word) => word.trim()).filter(Boolean))];
}
