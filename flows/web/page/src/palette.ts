// Colours by change, from the palette of Okabe and Ito, which colour-blind readers can tell apart
// (https://jfly.uni-koeln.de/color/). What has no change is grey: colour means change.

export type Theme = "light" | "dark";

interface Kind {
  shows: string[];
  label: string;
  colour: string;
  gone?: boolean;
}

/** In the order of the legend. */
export const KINDS: Kind[] = [
  { shows: ["appeared"], label: "appeared on this date", colour: "#d55e00" },
  { shows: ["grew"], label: "grew", colour: "#e69f00" },
  { shows: ["reappeared"], label: "reappeared", colour: "#f0e442" },
  { shows: ["shrank"], label: "shrank", colour: "#56b4e9" },
  { shows: ["moved", "split", "merged"], label: "moved, split or merged", colour: "#0072b2" },
  { shows: ["as before"], label: "changed earlier", colour: "#009e73" },
  { shows: ["baseline"], label: "there when first observed", colour: "#8d969e" },
  { shows: ["disappeared"], label: "disappeared on this date", colour: "#cc79a7", gone: true },
  { shows: ["gone"], label: "disappeared earlier", colour: "#8a7f85", gone: true },
];

/** What a comparison of two dates says about an object; the others are as in the legend of one date. */
export const COMPARED: Kind[] = [
  ...KINDS.filter((one) => !["as before", "baseline", "gone", "disappeared"].includes(one.shows[0] ?? "")).map((one) => ({ ...one, label: one.label.replace(" on this date", "") })),
  { shows: ["disappeared"], label: "disappeared", colour: "#cc79a7", gone: true },
  { shows: ["unchanged"], label: "seen, and unchanged", colour: "#8d969e" },
  { shows: ["not seen"], label: "not seen in between", colour: "#4d4d4d" },
];

export const GONE = KINDS.filter((one) => one.gone).flatMap((one) => one.shows);

export const colourOf = (shows: string) => KINDS.find((one) => one.shows.includes(shows))?.colour ?? "#009e73";

interface Ground {
  sea: string;
  land: string;
  border: string;
  text: string;
  halo: string;
  /** Line under coloured lines, so that they hold on any ground. */
  casing: string;
  hatch: string;
}

export const GROUND: Record<Theme, Ground> = {
  light: { sea: "#cfdbe3", land: "#f4f3ee", border: "#9aa3a8", text: "#333c42", halo: "#ffffff", casing: "#ffffff", hatch: "#4a5560" },
  dark: { sea: "#10161c", land: "#232a31", border: "#59646e", text: "#c9d1d8", halo: "#10161c", casing: "#0c1116", hatch: "#aab4bd" },
};
