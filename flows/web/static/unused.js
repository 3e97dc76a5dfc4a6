// Scenes that were skipped or failed, and items that were rejected, each with its reason.
const panel = document.getElementById("unused");

function line(row) {
  const entry = document.createElement("li");
  const title = document.createElement("strong");
  title.textContent = `${row.acquired_at ? row.acquired_at.slice(0, 10) : "unknown date"} ${row.state}`;
  const name = (row.item_hrefs?.[0] ?? "").split("/").filter(Boolean).at(-1) ?? "";
  entry.append(title, ` ${row.reason ?? ""} `, small(name));
  return entry;
}

function small(text) {
  const made = document.createElement("small");
  made.textContent = text;
  return made;
}

/** Fill the list; without anything in it, it is hidden. */
export function showUnused(rows) {
  const all = rows[0]?.of_all ?? 0;
  panel.hidden = all === 0;
  const shown = rows.length < all ? ` (the newest ${rows.length} shown)` : "";
  panel.querySelector("summary").textContent = `${all} not observed${shown}: why`;
  panel.querySelector("ul").replaceChildren(...rows.map(line));
}
