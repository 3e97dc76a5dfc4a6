// A list of which only one entry is a tab stop; the arrow keys move to the others.
import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";

interface Props<T> {
  label: string;
  rows: T[];
  id: (row: T) => string;
  current: string;
  /** Ids of selected rows; without it, the list selects only one. */
  picked?: string[];
  className?: (row: T) => string;
  open: (row: T) => void;
  pick?: (row: T) => void;
  children: (row: T) => ComponentChildren;
}

export function Roving<T>({ label, rows, id, current, picked, className, open, pick, children }: Props<T>) {
  const list = useRef<HTMLUListElement>(null);
  const [active, setActive] = useState(0);
  const stop = Math.min(active, rows.length - 1);

  function move(to: number) {
    const index = Math.max(0, Math.min(rows.length - 1, to));
    setActive(index);
    (list.current?.children[index] as HTMLElement | undefined)?.focus();
  }

  function onKey(event: KeyboardEvent, row: T, index: number) {
    const steps: Record<string, number> = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1, PageDown: index + 10, PageUp: index - 10 };
    const to = steps[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "Enter") open(row);
    else if (event.key === " ") (pick ?? open)(row);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return (
    <ul ref={list} role="listbox" aria-label={label} aria-multiselectable={picked ? true : undefined} class="roving">
      {rows.map((row, index) => (
        <li
          key={id(row)} role="option" tabIndex={index === stop ? 0 : -1} class={className?.(row) ?? ""}
          aria-selected={picked ? picked.includes(id(row)) : id(row) === current} data-current={id(row) === current}
          onFocus={() => setActive(index)} onClick={() => open(row)} onKeyDown={(event) => onKey(event, row, index)}
        >
          {children(row)}
        </li>
      ))}
    </ul>
  );
}
