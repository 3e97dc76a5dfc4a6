// The state of the page in its address, so that a link restores the view. Pure functions.
import { NOT_JUDGED } from "./words";

export type Mode = "one" | "swipe" | "blink" | "changes";
export type Tab = "alerts" | "object" | "compare" | "watch" | "tools" | "new";
export type Sort = "newest" | "oldest" | "confidence" | "area";

export interface View {
  zoom: number;
  lat: number;
  lon: number;
}

export interface Address {
  watch: string;
  /** Acquisition time of the scene on show; empty: the last one. */
  at: string;
  /** Earlier date of a comparison; empty: the scene before. */
  from: string;
  mode: Mode;
  view: View | null;
  statuses: string[];
  /** Targets on show; empty: all. */
  targets: string[];
  imagery: boolean;
  object: string;
  alert: string;
  tab: Tab;
  marks: string[];
  kinds: string[];
  sort: Sort;
  /** Whether alerts that lie near each other stand together. */
  places: boolean;
  theme: "auto" | "light" | "dark";
}

export const DEFAULTS: Address = {
  watch: "", at: "", from: "", mode: "one", view: null, statuses: ["confirmed", "provisional", NOT_JUDGED], targets: [],
  imagery: true, object: "", alert: "", tab: "alerts", marks: ["open", "acknowledged"], kinds: [], sort: "newest", places: false, theme: "auto",
};

const MODES: Mode[] = ["one", "swipe", "blink", "changes"];
const TABS: Tab[] = ["alerts", "object", "compare", "watch", "tools", "new"];
const SORTS: Sort[] = ["newest", "oldest", "confidence", "area"];
const THEMES = ["auto", "light", "dark"] as const;

const choose = <T extends string>(value: string | null, options: readonly T[], otherwise: T): T =>
  options.find((one) => one === value) ?? otherwise;
const split = (value: string | null, otherwise: string[]) => (value === null ? otherwise : value.split(",").filter(Boolean));

/** Read the fragment, or the query, of an address; what is missing or wrong gets its default. */
export function readAddress(fragment: string): Address {
  const given = new URLSearchParams(fragment.replace(/^[#?]/, ""));
  const text = (name: string) => given.get(name) ?? "";
  return {
    watch: text("watch"),
    at: text("at"),
    from: text("from"),
    mode: choose(given.get("mode"), MODES, DEFAULTS.mode),
    view: readView(text("view")),
    statuses: split(given.get("status"), DEFAULTS.statuses),
    targets: given.getAll("target"),
    imagery: given.get("imagery") !== "off",
    object: text("object"),
    alert: text("alert"),
    tab: choose(given.get("tab"), TABS, DEFAULTS.tab),
    marks: split(given.get("mark"), DEFAULTS.marks),
    kinds: split(given.get("kind"), DEFAULTS.kinds),
    sort: choose(given.get("sort"), SORTS, DEFAULTS.sort),
    places: given.get("group") === "place",
    theme: choose(given.get("theme"), THEMES, DEFAULTS.theme),
  };
}

function readView(given: string): View | null {
  const [zoom, lat, lon] = given.split("/").map(Number);
  if (zoom === undefined || lat === undefined || lon === undefined || ![zoom, lat, lon].every(Number.isFinite)) return null;
  return Math.abs(lat) <= 90 && zoom >= 0 && zoom <= 24 ? { zoom, lat, lon } : null;
}

/** Write the fragment of an address, without what has its default. */
export function writeAddress(address: Address): string {
  const made = new URLSearchParams();
  const put = (name: string, value: string, otherwise = "") => value !== otherwise && made.set(name, value);
  put("watch", address.watch);
  put("at", address.at);
  put("from", address.from);
  put("mode", address.mode, DEFAULTS.mode);
  if (address.view) put("view", `${address.view.zoom.toFixed(2)}/${address.view.lat.toFixed(5)}/${address.view.lon.toFixed(5)}`);
  put("status", address.statuses.join(","), DEFAULTS.statuses.join(","));
  for (const one of address.targets) made.append("target", one);
  put("imagery", address.imagery ? "" : "off");
  put("object", address.object);
  put("alert", address.alert);
  put("tab", address.tab, DEFAULTS.tab);
  put("mark", address.marks.join(","), DEFAULTS.marks.join(","));
  put("kind", address.kinds.join(","), DEFAULTS.kinds.join(","));
  put("sort", address.sort, DEFAULTS.sort);
  put("group", address.places ? "place" : "");
  put("theme", address.theme, DEFAULTS.theme);
  // readable in a message: these characters need no escape in a fragment
  return made.toString().replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%2C", ",");
}
