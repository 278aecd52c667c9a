// Panels drawn beforehand: a moved control shows another picture and its line of numbers.
for (const panel of document.querySelectorAll(".frames")) {
  const { address, sizes } = panel.dataset;
  const lines = JSON.parse(panel.querySelector("script").textContent);
  const controls = [...panel.querySelectorAll("input, select")];
  const counts = sizes.split(",").map(Number);
  const picture = (place) => `${address}/${String(place).padStart(2, "0")}.webp`;
  const show = () => {
    const place = controls.reduce((sum, c, k) => sum * counts[k] + Number(c.value), 0);
    panel.querySelector("img").src = picture(place);
    panel.querySelector("pre").textContent = lines[place];
    for (const slider of panel.querySelectorAll("input")) {
      slider.nextElementSibling.textContent = JSON.parse(slider.dataset.texts)[slider.value];
    }
  };
  // A browser may keep what was set before the page was loaded again.
  show();
  const fetchAll = () => lines.forEach((_, place) => { new Image().src = picture(place); });
  panel.addEventListener("pointerenter", fetchAll, { once: true });
  panel.addEventListener("input", show);
  panel.querySelector(".frames-controls").hidden = false;
}
