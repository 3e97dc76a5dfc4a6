// What the layers of objects show, as expressions of the MapLibre style specification. Pure functions.
import type { ExpressionSpecification, FilterSpecification } from "maplibre-gl";
import { COMPARED, GONE, KINDS } from "../palette";
import { NOT_JUDGED } from "../words";

/** Whether a feature shows a change that was refuted, while refuted changes are hidden. */
const showsHidden = (statuses: string[]): ExpressionSpecification =>
  statuses.includes("refuted") ? ["literal", false] as unknown as ExpressionSpecification : ["==", ["get", "change_status"], "refuted"];

/** What a feature shows: an object without its change where that was refuted and is hidden. */
const shown = (statuses: string[]): ExpressionSpecification => ["case", showsHidden(statuses), "as before", ["get", "shows"]];

export function colour(statuses: string[]): ExpressionSpecification {
  const pairs = KINDS.flatMap((one) => [one.shows, one.colour]);
  return ["match", shown(statuses), ...pairs, "#009e73"] as unknown as ExpressionSpecification;
}

const isGone = (statuses: string[]): ExpressionSpecification => ["in", shown(statuses), ["literal", GONE]];
const isProvisional: ExpressionSpecification = ["==", ["coalesce", ["get", "status"], NOT_JUDGED], "provisional"];
const not = (one: ExpressionSpecification): ExpressionSpecification => ["!", one];

/** Features that hold at a time, milliseconds since 1970: the tiles have several scenes. */
export const holdsAt = (at: number): ExpressionSpecification => ["all", ["<=", ["get", "begin"], at], [">", ["get", "end"], at]];

/** Features of the chosen statuses and targets; an object whose appearance was refuted and is hidden was never there. */
function chosen(statuses: string[], targets: string[]): ExpressionSpecification[] {
  return [
    ["in", ["coalesce", ["get", "status"], NOT_JUDGED], ["literal", statuses]],
    not(["all", showsHidden(statuses), ["in", ["get", "shows"], ["literal", ["appeared", "reappeared"]]]]),
    // dots count objects of several targets, and have none
    ...(targets.length ? [["any", not(["has", "target"]), ["in", ["get", "target"], ["literal", targets]]] as ExpressionSpecification] : []),
  ];
}

export interface ObjectFilters {
  fill: FilterSpecification;
  confirmed: FilterSpecification;
  provisional: FilterSpecification;
  gone: FilterSpecification;
  dots: FilterSpecification;
  unseen: FilterSpecification;
}

export function makeFilters(statuses: string[], targets: string[], at: number): ObjectFilters {
  const wanted = [holdsAt(at), ...chosen(statuses, targets)];
  const there = not(isGone(statuses));
  return {
    fill: ["all", ...wanted, there],
    confirmed: ["all", ...wanted, there, not(isProvisional)],
    provisional: ["all", ...wanted, there, isProvisional],
    gone: ["all", ...wanted, isGone(statuses)],
    dots: ["all", ...wanted],
    unseen: holdsAt(at),
  };
}

/** Colour of an object by what became of it between two dates. */
export const comparedColour: ExpressionSpecification =
  ["match", ["get", "change"], ...COMPARED.flatMap((one) => [one.shows, one.colour]), "#009e73"] as unknown as ExpressionSpecification;

/** Objects of a comparison, by the chosen statuses and targets. */
export const comparedFilter = (statuses: string[], targets: string[]): FilterSpecification => ["all",
  ["in", ["coalesce", ["get", "status"], NOT_JUDGED], ["literal", statuses]],
  ...(targets.length ? [["any", not(["has", "target"]), ["in", ["get", "target"], ["literal", targets]]] as ExpressionSpecification] : []),
];

export const dotOpacity = (statuses: string[]): ExpressionSpecification => ["case", isGone(statuses), 0.35, 0.9];
