// How sure a series is of objects and changes: words, and the choice of what the map shows.
const element = (id) => document.getElementById(id);
const NOT_JUDGED = "not judged";

/** Status of a change or object for the choice; null means that nothing was judged. */
const statusOf = (property) => ["coalesce", ["get", property], NOT_JUDGED];
const observations = (count) => count === 1 ? "one observation" : `${count} observations`;

/** Confidence as per cent; neither 0 % nor 100 %, because observations do not make it certain. */
function percent(confidence) {
  if (confidence >= 0.995) return "over 99 %";
  return confidence < 0.005 ? "under 1 %" : `${Math.round(confidence * 100)} %`;
}

/** Describe the belief of an alert's change, such as "confirmed by 3 observations, 97 % sure". */
export function describeAlert(alert) {
  const { change_status: status, observations_for: agree, observations_against: disagree } = alert;
  if (!status) return NOT_JUDGED;
  const calibrated = describeCalibrated(alert.confidence_calibrated);
  // another change may explain it, although no observation contradicts it
  if (status === "refuted") return `refuted${disagree ? ` by ${observations(disagree)}` : ""}, ${percent(alert.confidence)} likely${calibrated}`;
  const words = status === "confirmed" ? `confirmed by ${observations(agree)}` : `provisional: ${observations(agree)} so far`;
  return `${words}, ${percent(alert.confidence)} sure${calibrated}`;
}

/** The confidence that labels and reviews correct, beside the raw one; nothing where the series is not calibrated. */
const describeCalibrated = (confidence) => confidence == null ? "" : ` (calibrated: ${percent(confidence)})`;

/** Describe a status with its confidence, such as "provisional, 62 % sure (calibrated: 40 %)". */
export function describeStatus(status, confidence, calibrated) {
  if (!status) return NOT_JUDGED;
  return `${status}, ${percent(confidence)} ${status === "refuted" ? "likely" : "sure"}${describeCalibrated(calibrated)}`;
}

/** List the statuses that the user wants to see. */
export function listStatuses() {
  return [...element("statuses").querySelectorAll("input:checked")].map((box) => box.value);
}

/** Call a function whenever the user changes the choice. */
export function onStatuses(changed) {
  element("statuses").addEventListener("change", changed);
}

/** Whether a feature shows a change that was refuted, while refuted changes are hidden. */
const showsHidden = (statuses) =>
  statuses.includes("refuted") ? false : ["==", ["get", "change_status"], "refuted"];

/** What a feature shows: an object without its change where that was refuted and is hidden. */
export function shownChange(statuses) {
  return ["case", showsHidden(statuses), "as before", ["get", "shows"]];
}

/** Filter of features by status; an object whose appearance was refuted and is hidden was never there. */
export function chosenObjects(statuses) {
  return ["all",
    ["in", statusOf("status"), ["literal", statuses]],
    ["!", ["all", showsHidden(statuses), ["in", ["get", "shows"], ["literal", ["appeared", "reappeared"]]]]],
  ];
}

/** Say how many refuted objects and alerts the choice hides. */
export function showHidden(objects, alerts) {
  const hidden = !listStatuses().includes("refuted");
  const parts = [[objects, "on the map"], [alerts, "in the list of alerts"]].filter(([count]) => count > 0);
  element("hidden").textContent = hidden ? parts.map(([count, where]) => `${count} refuted hidden ${where}`).join(", ") : "";
}
