// Lines over time, by uPlot, in the page's colours.

import { h } from "./dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Seconds that a chart shows at least: over less, one mark reads as the next one, and over none it would be days. */
const LEAST = 10;

/** A chart: lines are [title, colour, filled]; `update` takes times and one list of values for each line. */
export function chart(title, lines, form) {
  const place = h("div", { class: "chart" });
  const legend = h("div", { class: "legend" }, lines.map(([name, tint]) => {
    const mark = h("i");
    mark.style.background = `var(${tint})`;
    return h("span", null, mark, name);
  }));
  const element = h("section", { class: "sheet" }, h("h2", null, title), legend, place);
  let plot = null;
  let last = null;

  const options = (width) => ({
    // Without times there is no axis below: the lowest mark needs room of its own.
    width, height: 190, padding: [8, 4, ({ data }) => (data?.[0].length > 0 ? 0 : 8), 0],
    cursor: { y: false, points: { size: 6 } }, legend: { show: false },
    scales: { x: { time: true, range: (_, first, last) => (last - first < LEAST ? [last - LEAST, last] : [first, last]) }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { stroke: colour("--soft"), grid: { show: false }, ticks: { show: false }, size: 28, space: 80, font: "12px system-ui",
        values: (_, marks) => marks.map((mark) => new Date(mark * 1000).toLocaleTimeString([], { hour12: false })) },
      { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, size: 62, space: 36,
        font: "12px system-ui", values: (_, marks) => marks.map(form) },
    ],
    series: [{}, ...lines.map(([name, tint, filled]) => ({
      label: name, stroke: colour(tint), width: 2, points: { show: false }, spanGaps: false,
      fill: filled ? `${colour(tint)}22` : undefined,
    }))],
  });

  const draw = () => {
    plot?.destroy();
    plot = new uPlot(options(place.clientWidth || 300), last ?? [[], ...lines.map(() => [])], place);
  };
  const sized = new ResizeObserver(() => {
    if (plot && place.clientWidth > 0 && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: 190 });
  });
  sized.observe(place);

  return {
    element,
    update(times, ...values) {
      last = [times, ...values];
      if (plot) plot.setData(last);
      else if (place.isConnected) draw();
    },
    /** Colours have changed. */
    recolour() { if (plot) draw(); },
    end() { sized.disconnect(); plot?.destroy(); },
  };
}
