// A line chart as SVG. It is drawn at the width it has on the page, so that its letters stay readable on a phone.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190, LEFT = 46, RIGHT = 12, TOP = 14, BOTTOM = 30;

function made(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

const day = (moment) => moment.toLocaleDateString(undefined, { month: "short", year: "numeric" });

/** A step of 1, 2 or 5 times a power of ten that divides `span` into about four. */
function step(span) {
  const power = 10 ** Math.floor(Math.log10(span / 4));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => span / one <= 5);
}

function scales(points, width) {
  const days = points.map((one) => one.at.getTime()), values = points.map((one) => one.value);
  const [first, last] = [Math.min(...days), Math.max(...days)];
  const room = Math.max((Math.max(...values) - Math.min(...values)) * 0.15, 1);
  const [low, high] = [Math.min(...values) - room, Math.max(...values) + room];
  return {
    first, last, low, high,
    x: (moment) => (last === first ? width / 2 : LEFT + ((moment - first) / (last - first)) * (width - LEFT - RIGHT)),
    y: (value) => TOP + ((high - value) / (high - low)) * (HEIGHT - TOP - BOTTOM),
  };
}

/** What the chart shows, in a sentence: for those who do not see it. */
function told(name, lines, points) {
  const spans = lines.filter((line) => line.points.length).map((line) => {
    const values = line.points.map((one) => one.value);
    return `${line.label} ${Math.min(...values)} to ${Math.max(...values)} ${line.unit}`.trim();
  });
  return `${name}, ${points.length} values: ${spans.join(", ")}. All values are in the table.`;
}

/** Draw `lines` (`{label, unit, points: [{at, value}]}`) into `figure`, which is emptied. */
export function draw(figure, name, lines) {
  const points = lines.flatMap((line) => line.points);
  const caption = document.createElement("figcaption");
  const unit = lines.find((line) => line.unit)?.unit;
  caption.textContent = unit ? `${name} (${unit})` : name;
  figure.replaceChildren(caption);
  if (!points.length) return figure.append("No values.");
  const width = Math.max(figure.clientWidth, 260);
  const { first, last, low, high, x, y } = scales(points, width);
  const svg = made("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": told(name, lines, points) });
  const by = step(high - low);
  for (let value = Math.ceil(low / by) * by; value <= high; value += by) {
    svg.append(made("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    svg.append(made("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, String(Number(value.toFixed(6)))));
  }
  svg.append(made("text", { x: LEFT, y: HEIGHT - 8 }, day(new Date(first))));
  if (last > first) svg.append(made("text", { x: width - RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, day(new Date(last))));
  lines.forEach((line, index) => {
    const way = line.points.map((one) => `${x(one.at.getTime()).toFixed(1)},${y(one.value).toFixed(1)}`).join(" ");
    svg.append(made("polyline", { class: `line line-${index}`, points: way }));
    const begin = line.points[0];
    if (line.label && begin) {
      svg.append(made("text", { x: x(begin.at.getTime()) + 4, y: y(begin.value) - 10 }, line.label));
    }
    for (const one of line.points) {
      const dot = made("circle", { class: `dot line-${index}`, cx: x(one.at.getTime()), cy: y(one.value), r: 3.2 });
      dot.append(made("title", {}, `${one.at.toLocaleDateString()}: ${line.label} ${one.value} ${line.unit}`));
      svg.append(dot);
    }
  });
  figure.append(svg);
}
