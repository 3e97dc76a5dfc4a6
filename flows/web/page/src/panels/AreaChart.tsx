// The area of an object over time, with its interval, as a small chart; the same numbers follow as a table.
import { instant } from "../times";
import { colourOf } from "../palette";
import type { History, HistoryEntry } from "../types";
import { area, day, describeStatus } from "../words";

const WIDTH = 300;
const HEIGHT = 110;
const LEFT = 54;
const TOP = 8;
const BOTTOM = 20;

export function AreaChart({ history, at }: { history: History; at: string }) {
  const rows = history.observations;
  if (rows.length === 0) return <p class="quiet">No observation of this object is known yet.</p>;
  return (
    <figure class="chart">
      <figcaption>Area over time{rows.some((one) => one.area_low_m2 !== null) ? ", bars: 95 % interval" : ""}</figcaption>
      <Drawing rows={rows} at={at} />
      <details>
        <summary>As a table</summary>
        <table>
          <thead><tr><th scope="col">date</th><th scope="col">area</th><th scope="col">change</th><th scope="col">object</th></tr></thead>
          <tbody>
            {rows.map((one) => (
              <tr key={one.at}>
                <th scope="row">{day(one.at)}</th>
                <td>{one.alive ? area(one.area_m2) : "gone"}{one.area_low_m2 === null ? "" : ` (${area(one.area_low_m2)} to ${area(one.area_high_m2)})`}</td>
                <td>{one.baseline && one.change ? "there when first observed" : one.change ?? ""}</td>
                <td>{describeStatus(one.status, one.confidence)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}

function Drawing({ rows, at }: { rows: HistoryEntry[]; at: string }) {
  const times = rows.map((one) => instant(one.at));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const top = Math.max(...rows.map((one) => one.area_high_m2 ?? one.area_m2), 1);
  const x = (time: number) => LEFT + (last === first ? 0.5 : (time - first) / (last - first)) * (WIDTH - LEFT - 10);
  const y = (value: number) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const points = rows.map((one, index) => [x(times[index] ?? first), y(one.area_m2)] as const);
  const now = instant(at);
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`From ${area(rows[0]?.area_m2)} on ${day(rows[0]?.at)} to ${area(rows.at(-1)?.area_m2)} on ${day(rows.at(-1)?.at)}`}>
      <line class="axis" x1={LEFT} x2={WIDTH} y1={y(0)} y2={y(0)} />
      <text x={LEFT - 4} y={y(top) + 8} text-anchor="end">{area(top)}</text>
      <text x={LEFT - 4} y={y(0)} text-anchor="end">0</text>
      {now >= first && now <= last && <line class="now" x1={x(now)} x2={x(now)} y1={TOP} y2={y(0)} />}
      <polyline class="line" points={points.map((one) => one.join(",")).join(" ")} />
      {rows.map((one, index) => {
        const [px, py] = points[index] ?? [0, 0];
        return (
          <g key={one.at}>
            {one.area_low_m2 !== null && one.area_high_m2 !== null && <line class="bar" x1={px} x2={px} y1={y(one.area_low_m2)} y2={y(one.area_high_m2)} />}
            <circle cx={px} cy={py} r="4" fill={one.change ? colourOf(one.change) : "currentColor"} class={one.status === "provisional" ? "provisional" : ""}>
              <title>{`${day(one.at)}: ${area(one.area_m2)}${one.change ? `, ${one.baseline ? "there when first observed" : one.change}` : ""}`}</title>
            </circle>
          </g>
        );
      })}
      <text x={LEFT} y={HEIGHT - 4}>{day(rows[0]?.at)}</text>
      {rows.length > 1 && <text x={WIDTH - 2} y={HEIGHT - 4} text-anchor="end">{day(rows.at(-1)?.at)}</text>}
    </svg>
  );
}
