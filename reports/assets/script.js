"use strict";
// Sorting, filtering and tips. The page is complete without any of it.
(() => {
  const every = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // --- sorting: a button in each head; cells without a value stay last whichever way ---------------------------
  const compare = new Intl.Collator("en", { numeric: true }).compare;

  function key(row, column) {
    const cell = row.cells[column];
    if (column === 0) return cell.textContent.trim();
    const value = cell.dataset.v;
    if (value === undefined) return null;
    return value.trim() === "" || Number.isNaN(Number(value)) ? value : Number(value);
  }

  function order(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b));
  }

  function sort(table, column) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const head = heads[column];
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => [key(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? order(b, a) : order(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
  }

  for (const table of every("table.data")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const label = head.querySelector(".head") || head;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...label.childNodes);
      label.append(button);
      button.addEventListener("click", () => sort(table, column));
    });
  }

  // --- filtering: facets and a word, kept in the address as #section?engine=…&q=… -------------------------------
  const facts = new Map(); // row index -> facets, read from the catalogue that the page carries
  for (const item of every("#catalogue > data")) facts.set(item.value, item.dataset);
  const filter = document.querySelector(".filter");
  const controls = filter ? every("select, input", filter) : [];

  function wanted() {
    return Object.fromEntries(controls.filter((control) => control.value !== "").map((c) => [c.name, c.value]));
  }

  function matches(fact, wish) {
    return Object.entries(wish).every(([name, value]) =>
      name === "q" ? fact.label.toLowerCase().includes(value.toLowerCase()) : fact[name] === value);
  }

  function apply() {
    const wish = wanted();
    const kept = new Set();
    const workloads = new Set();
    for (const [index, fact] of facts) {
      if (!matches(fact, wish)) continue;
      kept.add(index);
      workloads.add(fact.workload);
    }
    for (const element of every("[data-row]")) {
      const out = !kept.has(element.dataset.row);
      element.classList.toggle(element.matches(".mark, .slot") ? "off" : "gone", out);
    }
    for (const element of every("[data-workload]")) {
      element.classList.toggle("off", kept.size > 0 && !workloads.has(element.dataset.workload));
    }
    const count = filter.querySelector(".count");
    count.textContent = kept.size === facts.size ? `${facts.size} rows` : `${kept.size} of ${facts.size} rows`;
  }

  function place() {
    const [section, query] = location.hash.slice(1).split("?");
    return { section, query: new URLSearchParams(query || "") };
  }

  function remember(section) {
    const query = new URLSearchParams(wanted()).toString();
    const hash = `${section}${query ? `?${query}` : ""}`;
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function restore() {
    const { section, query } = place();
    for (const control of controls) {
      const value = query.get(control.name) || "";
      const known = control.tagName !== "SELECT" || Array.from(control.options, (o) => o.value).includes(value);
      control.value = known ? value : "";
    }
    if (filter) apply();
    const target = section && document.getElementById(section);
    if (target && location.hash.includes("?")) target.scrollIntoView();
  }

  restore();
  if (filter) {
    filter.hidden = false;
    filter.open = matchMedia("(min-width: 44.01rem)").matches || Object.keys(wanted()).length > 0;
    filter.addEventListener("input", () => { apply(); remember(place().section); });
    filter.querySelector(".clear").addEventListener("click", () => {
      for (const control of controls) control.value = "";
      apply();
      remember(place().section);
    });
  }
  for (const link of every(".bar a")) {
    link.addEventListener("click", (event) => {
      if (Object.keys(wanted()).length === 0) return;
      event.preventDefault();
      const section = link.getAttribute("href").slice(1);
      remember(section);
      document.getElementById(section).scrollIntoView();
    });
  }
  window.addEventListener("hashchange", restore);

  // --- where the reader is -------------------------------------------------------------------------------------
  const links = new Map(every(".bar a").map((link) => [link.getAttribute("href").slice(1), link]));
  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const first = [...links.keys()].find((id) => seen.has(id));
    for (const [id, link] of links) {
      if (id === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of every("main > section")) watcher.observe(section);

  // --- tips on marks: one tab stop a chart, arrow keys from mark to mark ----------------------------------------
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);

  function show(mark, x, y) {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), innerWidth - box.width - 8);
    const top = y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  function hide() { tip.hidden = true; }

  for (const svg of every(".chart > svg")) {
    const marks = every(".mark", svg);
    const name = svg.querySelector(":scope > title");
    svg.setAttribute("aria-label", name.textContent);
    svg.removeAttribute("aria-labelledby");
    svg.setAttribute("role", "group");
    name.remove();
    marks.forEach((mark, index) => {
      const title = mark.querySelector(":scope > title");
      mark.setAttribute("aria-label", title.textContent);
      mark.setAttribute("role", "img");
      mark.setAttribute("tabindex", index === 0 ? "0" : "-1");
      title.remove();
      mark.addEventListener("pointermove", (event) => show(mark, event.clientX, event.clientY));
      mark.addEventListener("pointerleave", hide);
      mark.addEventListener("blur", hide);
      mark.addEventListener("focus", () => {
        const box = (mark.querySelector(".dot") || mark).getBoundingClientRect();
        show(mark, box.right - 8, box.bottom - 8);
      });
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const from = marks.indexOf(document.activeElement);
      if (event.key === "Escape") hide();
      if (step === undefined || from < 0) return;
      const shown = marks.filter((mark) => !mark.classList.contains("off"));
      const at = shown.indexOf(marks[from]);
      const next = shown[(at + step + shown.length) % shown.length];
      if (!next) return;
      event.preventDefault();
      marks[from].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }

  // --- print: everything unfolded, folded again afterwards ------------------------------------------------------
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = every("main details:not([open])");
    for (const details of folded) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });
})();
