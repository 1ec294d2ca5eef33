"use strict";
// Draws the figures: each lies as JSON next to its element; colours come from the style sheet.
(function () {
  const scales = {
    light: [[0, "#d5e8f7"], [0.35, "#7db8dd"], [0.7, "#2f79b5"], [1, "#0b2f5c"]],
    dark: [[0, "#1d3f63"], [0.35, "#2c7cb8"], [0.7, "#7cc4e8"], [1, "#fdf3c4"]],
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function layoutOf(figure, width) {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
    const layout = Object.assign({}, figure.layout, {
      width: width,
      autosize: false,
      font: { family: "system-ui, 'DejaVu Sans', sans-serif", size: 12, color: colour("--ink") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    });
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (layout[name]) layout[name] = Object.assign({}, axis, layout[name]);
    }
    return layout;
  }

  function traceOf(trace) {
    const own = Object.assign({}, trace);
    if (trace.type === "heatmap") {
      own.customdata = trace.z;
      own.z = trace.z.map((row) => row.map((count) => (count ? Math.log10(count) : null)));
      own.colorscale = dark.matches ? scales.dark : scales.light;
    }
    return own;
  }

  function draw(element) {
    const figure = JSON.parse(document.getElementById(element.id + "-data").textContent);
    const config = { displayModeBar: false, responsive: false };
    const select = document.getElementById(element.id + "-pick");
    let width = 0;
    const render = () => {
      width = element.clientWidth;
      const data = figure.data.map(traceOf);
      if (select) data.forEach((trace, place) => { trace.visible = place === select.selectedIndex; });
      const layout = Object.assign(layoutOf(figure, width), { height: element.clientHeight });
      return Plotly.react(element, data, layout, config);
    };
    if (select) {
      select.selectedIndex = 0;
      select.addEventListener("change", render);
    }
    dark.addEventListener("change", render);
    window.addEventListener("resize", () => { if (element.clientWidth !== width) render(); });
    render();
  }

  document.querySelectorAll(".chart").forEach(draw);
})();
