// What the server said about a draft, in words. Pure functions.
import { area, count, day } from "../words";
import type { CatalogCheck, Preview, Trial } from "./types";

const km2 = (value: number) => `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : 0 })} km²`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: bytes < 1e7 ? 1 : 0 })} MB`;

export function seconds(value: number): string {
  return value < 90 ? `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} s` : `${Math.round(value / 60)} min`;
}

const DEMONSTRATION = "demonstration model, no basis for decisions";

/** Names and values of a preview: size, scenes, cost, model. */
export function describePreview(preview: Preview): [string, string][] {
  const scenes = preview.scenes === null ? `unknown: ${preview.catalog_note}`
    : `${count(preview.scenes, "scene")}${preview.scenes_are_all ? "" : " or more"}${preview.catalog_note ? ` (${preview.catalog_note})` : ""}`;
  const tiles = preview.tiles_per_scene === null ? "" : `${count(preview.tiles_per_scene, "tile")}, `;
  const time = preview.seconds_per_scene === null ? "" : `, ${seconds(preview.seconds_per_scene)} of computing`;
  return [
    ["area", km2(preview.area_km2)],
    ["scenes", scenes],
    ["each scene", `${tiles}${megabytes(preview.bytes_per_scene)} to read${time}${preview.is_measured ? "" : " (estimated)"}`],
    ["targets", preview.targets.join(", ") || "from the instruction"],
    ["model", `${preview.model}${preview.demonstration ? `: ${DEMONSTRATION}` : ""}`],
  ];
}

export function describeCheck(check: CatalogCheck): string {
  if (check.problem) return check.problem;
  if (!check.answers) return "The catalog does not answer.";
  if (check.scenes === null) return "The catalog answers; how many scenes it has there is unknown.";
  const span = check.first_at && check.last_at ? `, ${day(check.first_at)} to ${day(check.last_at)}` : "";
  const rejected = check.rejected ? `; ${count(check.rejected, "item")} cannot be used` : "";
  return `The catalog answers: ${count(check.scenes, "scene")}${check.complete ? "" : " or more"}${span}${rejected}.`;
}

/** How far a trial is, or why it failed. */
export function describeTrial(trial: Trial): string {
  if (trial.state === "failed") return `The trial failed: ${trial.reason ?? "the server gives no reason"}`;
  if (trial.state === "done") return describeFound(trial);
  const progress = trial.progress ? `, ${trial.progress.done} of ${count(trial.progress.total, "tile")}` : "";
  return `Trial ${trial.state}: ${trial.stage ?? "waiting"}${progress}${trial.reason ? `; ${trial.reason}` : ""} …`;
}

function describeFound(trial: Trial): string {
  const found = (trial.totals ?? []).filter((one) => one.polygons > 0);
  const where = trial.scene ? ` on the scene of ${day(trial.scene.acquired_at)}, ${Math.round(trial.scene.clear_share * 100)} % clear` : "";
  if (!found.length) return `Nothing found${where}.`;
  const [drawn, all] = [trial.polygons?.features.length ?? 0, trial.polygons_of_all ?? 0];
  const cut = drawn < all ? ` ${drawn} of ${all} polygons are drawn, the largest.` : "";
  return `${found.map((one) => `${count(one.polygons, "polygon")} of ${one.target}, ${area(one.area_m2)}`).join("; ")}${where}.${cut}`;
}

/** Names and values of a finished trial. */
export function describeCost({ cost, model, demonstration }: Trial): [string, string][] {
  const failed = cost?.tiles_failed ? `, ${cost.tiles_failed} failed` : "";
  return [
    ...(model ? [["model", `${model}${demonstration ? `: ${DEMONSTRATION}` : ""}`] as [string, string]] : []),
    ...(cost ? [["cost", `${seconds(cost.seconds)}, ${megabytes(cost.bytes_read)} read, ${count(cost.tiles, "tile")}${failed}, ${km2(cost.km2)}`] as [string, string]] : []),
  ];
}
