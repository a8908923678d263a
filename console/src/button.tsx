import type { ComponentProps } from "react";

type Props = ComponentProps<"button"> & {
  /** A click does nothing, such as while its wish is carried out. */
  isOff: boolean;
};

/** A button that keeps the focus while it does nothing: one that is disabled would lose it. */
export function Button({ isOff, onClick, type = "button", ...rest }: Props) {
  return (
    <button
      {...rest}
      type={type}
      aria-disabled={isOff}
      // Prevented, a click does not send its form either.
      onClick={(event) => (isOff ? event.preventDefault() : onClick?.(event))}
    />
  );
}
