// Small parts that several panels share.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { identity } from "../api";
import type { Loaded } from "../store";

/** Names and values, as a description list. */
export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return <dl>{rows.map(([name, value]) => [<dt key={name}>{name}</dt>, <dd key={`${name}.`}>{value}</dd>])}</dl>;
}

/** What was loaded, or that it is loading, or why it could not be. */
export function Await<T>({ of, what, retry, children }: { of: Loaded<T>; what: string; retry: () => void; children: (value: T) => ComponentChildren }) {
  if (of.is === "loading") return <p role="status" class="quiet">Loading {what} …</p>;
  if (of.is === "failed") {
    return (
      <div role="alert" class="problem">
        <p>The {what} could not be loaded: {of.why}</p>
        <button type="button" onClick={retry}>Try again</button>
      </div>
    );
  }
  return <>{children(of.value)}</>;
}

export interface Said {
  words: string;
  good: boolean;
}

export const SILENT: Said = { words: "", good: true };

export function Answer({ said, id }: { said: Said; id?: string }) {
  return <p id={id} class="answer" role="status" data-good={said.good}>{said.words}</p>;
}

/** Fields for the name and the token of the person; both stay in this tab. */
export function Who({ note, setNote, ids = false }: { note: string; setNote: (note: string) => void; ids?: boolean }) {
  const [{ person, token }, keep] = useState(identity.read());
  const change = (next: { person: string; token: string }) => {
    keep(next);
    identity.keep(next.person, next.token);
  };
  return (
    <div class="who">
      <label>Name <input id={ids ? "person" : undefined} maxLength={2000} autocomplete="name" value={person} onInput={(event) => change({ person: event.currentTarget.value, token })} /></label>
      <label>Note <input id={ids ? "note" : undefined} maxLength={2000} autocomplete="off" value={note} onInput={(event) => setNote(event.currentTarget.value)} /></label>
      <label>Token <input id={ids ? "token" : undefined} type="password" autocomplete="off" value={token} onInput={(event) => change({ person, token: event.currentTarget.value })} /></label>
    </div>
  );
}

/** Say what is missing or wrong before anything is sent; empty if nothing is. */
export function findProblem(purpose: string, scope: string): string {
  const { person, token } = identity.read();
  if (!person.trim()) return `Enter your name, so that others see who ${purpose}.`;
  if (!token.trim()) return `Enter a token with the scope ${scope}; the operator of this server creates it.`;
  // fetch refuses other characters in a header with an unhelpful message
  return /^[\x21-\x7e]+$/.test(token.trim()) ? "" : "The token contains invalid characters.";
}
