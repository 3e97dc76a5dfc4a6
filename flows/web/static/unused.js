// List of scenes that were skipped or failed and of rejected items, each with its reason.
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

/** Fill the list; hide it if it is empty. */
export function showUnused(rows) {
  const all = rows[0]?.of_all ?? 0;
  panel.hidden = all === 0;
  const shown = rows.length < all ? ` (newest ${rows.length} shown)` : "";
  panel.querySelector("summary").textContent = `${all} scenes or items not observed${shown}`;
  panel.querySelector("ul").replaceChildren(...rows.map(line));
}
