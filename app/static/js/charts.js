// [data-chart]: draws what its JSON says with uPlot, anew when it changes, with the theme's colours.
//   kind      "bars", one upon another, or "lines"
//   x         seconds since 1970 with `step` (seconds) and `timezone`; or numbers from 0 on, with `labels`
//   series    [{label, ink, values}], ink: a class that sets --part; null where there is no value
//   unit      "seconds" for spans of time
// Say in words what it shows in the element's aria-label, and give the same figures as a table.
(() => {
  const drawn = new WeakMap();
  const language = document.documentElement.lang || "en";
  const number = new Intl.NumberFormat(language);

  const span = (seconds) => {
    const [divisor, unit] = seconds < 120 ? [1, "second"] : seconds < 7200 ? [60, "minute"] : seconds < 172800 ? [3600, "hour"] : [86400, "day"];
    return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1 }).format(seconds / divisor);
  };
  const formatOf = (spec) => (value) => (value == null ? "–" : spec.unit === "seconds" ? span(value) : number.format(value));

  const colour = (holder, ink) => {
    const probe = document.createElement("i");
    probe.className = `chart-ink ${ink}`;
    holder.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };

  // ── Time ──
  const clock = (spec, options) => new Intl.DateTimeFormat(language, { timeZone: spec.timezone, ...options });
  const timesOf = (spec) => {
    const day = { day: "numeric", month: "short" };
    const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(spec.step === 1 && { second: "2-digit" }) };
    const isLong = spec.x.at(-1) - spec.x[0] > 86400;
    const short = clock(spec, spec.step >= 86400 ? day : isLong ? { ...day, hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : time);
    const long = clock(spec, spec.step >= 86400 ? { ...day, weekday: "short" } : { ...day, ...time });
    return { short: (at) => short.format(at * 1000), long: (at) => (at == null ? "–" : long.format(at * 1000)) };
  };
  const namesOf = (spec) => ({ short: (at) => spec.labels[at] ?? "", long: (at) => spec.labels[at] ?? "–" });

  // ── Bars upon one another: the highest is drawn first, and the lower ones over it ──
  const heaps = (series) => series.map((_one, last) => series[0].values.map((_value, at) =>
    series.slice(0, last + 1).reduce((sum, one) => sum + (one.values[at] ?? 0), 0)));

  const draw = (holder) => {
    const text = holder.dataset.chart;
    const width = Math.floor(holder.clientWidth);
    if (!width) return;
    const spec = JSON.parse(text);
    const names = spec.labels ? namesOf(spec) : timesOf(spec);
    const format = formatOf(spec);
    const isBars = spec.kind === "bars";
    const tops = isBars ? heaps(spec.series) : spec.series.map((one) => one.values);
    const order = spec.series.map((_one, at) => at).reverse();
    const ink = colour(holder, "text-secondary");
    const lines = colour(holder, "chart-line");
    const margin = (spec.step ?? 1) * 0.75;
    const axis = { stroke: ink, grid: { stroke: lines, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const options = {
      width,
      height: parseInt(getComputedStyle(holder).minHeight, 10) - 28,
      scales: {
        x: { time: false, range: () => [spec.x[0] - margin, spec.x.at(-1) + margin] },
        y: { range: (_plot, _low, high) => [0, Math.max(high, 1) * 1.05] },
      },
      cursor: { drag: { x: false, y: false }, y: false },
      axes: [
        {
          ...axis,
          space: spec.labels ? 150 : 80,
          grid: { show: false },
          incrs: spec.labels ? [1, 2, 5, 10, 20, 50] : [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 604800].filter((one) => one >= spec.step),
          values: (_plot, splits) => splits.map(names.short),
        },
        { ...axis, size: 64, values: (_plot, splits) => splits.map((one) => (Number.isInteger(one) || spec.unit ? format(one) : "")) },
      ],
      series: [
        { label: "", value: (_plot, at) => names.long(at) },
        ...order.map((at) => {
          const tone = colour(holder, spec.series[at].ink);
          return {
            label: spec.series[at].label,
            value: (_plot, _top, _series, place) => (place == null ? "" : format(spec.series[at].values[place])),
            stroke: tone,
            ...(isBars
              ? { fill: tone, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 48], radius: 0.05 }) }
              : { width: 2, points: { show: true, size: 6, fill: tone } }),
          };
        }),
      ],
    };
    drawn.get(holder)?.plot.destroy();
    drawn.set(holder, { text, width, plot: new uPlot(options, [spec.x, ...order.map((at) => tops[at])], holder) });
  };

  // ── When: as soon as it can be seen, and again when its width, its figures or the theme change ──
  const watched = new WeakSet();
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (drawn.get(target)?.width !== Math.floor(target.clientWidth)) draw(target);
  }));
  const look = () => document.querySelectorAll("[data-chart]").forEach((holder) => {
    if (!watched.has(holder)) {
      watched.add(holder);
      sizes.observe(holder);
    } else if (drawn.has(holder) && drawn.get(holder).text !== holder.dataset.chart) draw(holder);
  });
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);
  look();
  document.addEventListener("htmx:after:swap", look);
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
})();
