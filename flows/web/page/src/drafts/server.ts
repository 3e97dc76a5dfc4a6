// Requests about a draft; those for trials ask again until the trial ends.
import { get, send } from "../api";
import { store } from "../store";
import type { CatalogCheck, Draft, Preview, Saved, Sources, Trial } from "./types";

const POLL_MS = 2000;

export const loadSources = async (): Promise<Sources> => (await get<Sources>("/api/sources")).value;

const body = ({ source, instruction, area }: Draft) => ({ source, instruction: instruction.trim(), area });

export const checkCatalog = ({ source, area }: Draft): Promise<CatalogCheck> => send("/api/catalog/check", { source, area });

export const preview = (draft: Draft): Promise<Preview> => send("/api/watches/preview", body(draft));

export interface Settings {
  name: string;
  /** RFC 3339. */
  start: string;
  /** Cron, UTC; empty: none. */
  schedule: string;
  alerts: boolean;
}

export function save(draft: Draft, { schedule, ...settings }: Settings): Promise<Saved> {
  return send("/api/watches", { ...body(draft), ...settings, ...(schedule ? { schedule } : {}) });
}

/** Change the draft, which stays while other panels are open. */
export const change = (patch: Partial<Draft>): void => store.set({ draft: { ...store.state.draft, ...patch } });

/** Try the draft on the newest clear scene; the draft holds how far the trial is. */
export async function tryDraft(draft: Draft): Promise<void> {
  let trial = await send<Trial>("/api/trials", body(draft));
  change({ trial });
  while (trial.state === "queued" || trial.state === "running") {
    await new Promise((resolve) => window.setTimeout(resolve, POLL_MS));
    const { value } = await get<Trial>(`/api/trials/${trial.id}`);
    // another trial may have been started meanwhile
    if (store.state.draft.trial?.id !== trial.id) return;
    trial = value;
    change({ trial });
  }
}
