"use strict";
// Finding, sorting, linking and tips. The page is complete without any of it.
(() => {
  const every = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const byId = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  // What is dear is made when it is first asked for.
  const lazily = (made) => {
    let found;
    return () => (found ??= made());
  };
  // The rows in full stand behind this script, so that who filters need not wait for them.
  const loaded = new Promise((resolve) => {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve, { once: true });
    else resolve();
  });

  // --- what the page carries: facets and leading figures by column, every row in full -----------------------------
  function bytes(base64) {
    const letters = atob(base64);
    const found = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) found[at] = letters.charCodeAt(at);
    return found;
  }

  // Texts that repeat: the different ones, and which of them each row has.
  function coded({ of, at }) {
    const Codes = of.length <= 1 << 8 ? Uint8Array : of.length <= 1 << 16 ? Uint16Array : Uint32Array;
    const codes = at ? new Codes(bytes(at).buffer) : null;
    return { of, code: (row) => (codes ? codes[row] : 0), text: (row) => of[codes ? codes[row] : 0] };
  }

  const catalogue = lazily(() => {
    const found = JSON.parse(byId("catalogue").textContent);
    const ids = found.ids ? found.ids.split(" ") : [];
    const words = found.labels.map(coded);
    const facets = Object.fromEntries(Object.entries(found.facets).map(([name, facet]) => [name, coded(facet)]));
    return {
      ids,
      facets,
      size: ids.length,
      rowOf: lazily(() => new Map(ids.map((id, row) => [`row-${id}`, row]))),
      label: (row) => words.map(({ text }) => text(row)).filter(Boolean).join(" "),
      ranked: bytes(found.ranked),
      figures: found.figures.map((figure) => ({ ...figure, values: new Float32Array(bytes(figure.values).buffer) })),
      workloadOf: facets.workload ? facets.workload.text : () => "",
      why: coded(found.why),
    };
  });
  const figure = (key) => catalogue().figures.find((found) => found.key === key);

  // Resolves to every row in full, as pairs of a column and its value: plain where there are few, else compressed.
  const whole = lazily(async () => {
    await loaded;
    const carried = byId("rows");
    if (carried.type === "application/json") {
      const { columns, rows } = JSON.parse(carried.textContent);
      return { size: rows.length, of: (row) => columns.map((name, at) => [name, rows[row][at]]) };
    }
    const packed = new Blob([bytes(carried.textContent)]).stream();
    const text = new Response(packed.pipeThrough(new DecompressionStream("deflate")));
    const { columns, size } = await text.json();
    const named = Object.entries(columns);
    return { size, of: (row) => named.map(([name, values]) => [name, values[row]]) };
  });

  const unread = () => make("p", { className: "remark" }, "This browser cannot read compressed data; harness report --json prints the rows.");

  const formats = [];
  function digits(value) {
    if (value === null) return "\u2014";
    const places = value === 0 ? 0 : Math.min(20, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
    formats[places] ??= new Intl.NumberFormat("en", { minimumFractionDigits: places, maximumFractionDigits: places });
    return formats[places].format(value).replace("-", "\u2212");
  }

  // Elements about each row, found when they are first asked for.
  let parts;
  function about(row) {
    if (!parts) {
      parts = new Map();
      for (const element of every("main [data-row]")) {
        const key = Number(element.dataset.row);
        if (!parts.has(key)) parts.set(key, []);
        parts.get(key).push(element);
      }
    }
    return parts.get(row) || [];
  }

  // --- the address: #place?facet=...&q=...&sort=table:2d -----------------------------------------------------------
  const filter = document.querySelector(".filter");
  const controls = filter ? every("select, input", filter) : [];
  const sorts = new Map(); // table id -> column and way, such as 2d

  function wanted() {
    return Object.fromEntries(controls.filter((control) => control.value !== "").map((c) => [c.name, c.value]));
  }

  function place() {
    const [target, query] = location.hash.slice(1).split("?");
    return { target, query: new URLSearchParams(query || "") };
  }

  function remember(target, push = false) {
    const query = new URLSearchParams(wanted());
    for (const [table, way] of sorts) query.append("sort", `${table}:${way}`);
    const tail = query.toString() ? `?${query}` : "";
    const address = target || tail ? `#${target}${tail}` : location.pathname + location.search;
    history[push ? "pushState" : "replaceState"](null, "", address);
  }

  // --- sorting: a button in each head; cells without a value stay last whichever way ---------------------------
  const collate = lazily(() => new Intl.Collator("en", { numeric: true }).compare);

  function order(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : collate()(String(a), String(b));
  }

  function key(row, column) {
    const cell = row.cells[column];
    const value = cell.dataset.v;
    if (value === undefined) {
      // Numbers in one unit are ordered by what is shown of them.
      const shown = cell.firstChild ? cell.firstChild.textContent.trim() : "";
      if (cell.tagName === "TH") return cell.textContent.trim();
      const number = Number(shown.replace(/[,+]/g, "").replace("\u2212", "-"));
      return shown === "" || Number.isNaN(number) ? null : number;
    }
    return value.trim() === "" || Number.isNaN(Number(value)) ? value : Number(value);
  }

  function sorted(items, keyOf, descending) {
    const keyed = items.map((item) => [keyOf(item), item]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? order(b, a) : order(a, b);
    });
    return keyed.map(([, item]) => item);
  }

  function headed(table, column, descending) {
    Array.from(table.tHead.rows[0].cells).forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  const given = new Map(); // table -> its rows as they came
  function arrange(table, way) {
    const body = table.tBodies[0];
    if (!given.has(table)) given.set(table, Array.from(body.rows));
    const column = way ? parseInt(way, 10) : -1;
    const descending = Boolean(way) && way.endsWith("d");
    headed(table, column, descending);
    const rows = given.get(table);
    body.append(...(way ? sorted(rows, (row) => key(row, column), descending) : rows));
  }

  function buttons(table, sort) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const label = head.querySelector(".head") || head;
      const button = make("button", { type: "button" }, ...label.childNodes);
      label.append(button);
      button.addEventListener("click", () => {
        const way = `${column}${head.getAttribute("aria-sort") === "ascending" ? "d" : "a"}`;
        sort(way);
        sorts.set(table.id, way);
        remember(place().target);
      });
    });
  }

  for (const table of every("table.data")) buttons(table, (way) => arrange(table, way));

  // --- all rows: a list of which only what is in sight exists -----------------------------------------------------
  const home = byId("all");
  let listed;
  const grid = () => (listed ??= list());
  if (home) {
    home.hidden = false;
    const near = new IntersectionObserver((entries) => {
      if (!entries.at(-1).isIntersecting) return;
      near.disconnect();
      grid();
    }, { rootMargin: "100%" });
    near.observe(home);
  }

  function list() {
    const { label, ids, figures, facets, why, size } = catalogue();
    const texts = Object.entries(facets).filter(([, facet]) => facet.of.length > 1);
    const number = (value) => (Number.isNaN(value) ? null : value);
    const columns = [
      { title: "row", kind: "name", value: label },
      ...figures.map(({ title, unit, values }) => ({ title, unit, kind: "num", value: (row) => number(values[row]) })),
      ...texts.map(([name, facet]) => ({ title: name, kind: "words", value: facet.text })),
      ...(why.of.some((words) => words) ? [{ title: "what there is to say", kind: "why", value: (row) => why.text(row) || null }] : []),
    ];
    const heads = columns.map(({ title, unit, kind }) =>
      make("th", { scope: "col", className: kind }, make("span", { className: "head" }, title),
        ...(unit ? [make("span", { className: "unit" }, unit)] : [])));
    const body = make("tbody");
    const table = make("table", { id: "t-all", tabIndex: 0 }, make("thead", {}, make("tr", {}, ...heads)), body);
    table.setAttribute("role", "grid");
    table.setAttribute("aria-labelledby", "h-all");
    const view = make("div", { className: "scroll grid" }, table);
    const one = make("div", { className: "one", hidden: true, tabIndex: -1 });
    home.append(view, one);

    const natural = Array.from({ length: size }, (_, row) => row);
    let ordered = natural; // every row, as sorted
    let shown = natural; // those of them that the filter keeps
    let active = -1; // place in what is shown
    let height = 0;
    let drawn = "";
    let near = false; // what is far from sight is not drawn

    function cells(row) {
      return columns.map(({ kind, value }) => {
        const found = value(row);
        if (kind === "name") {
          const link = make("a", { href: `#row-${ids[row]}`, tabIndex: -1 }, make("bdi", {}, found));
          return make("th", { scope: "row", className: "name" }, link);
        }
        const text = kind === "num" ? digits(found) : found ?? "\u2014";
        return make("td", { className: kind, title: kind === "why" ? text : "" }, text);
      });
    }

    function draw(force = false) {
      if (!near) { drawn = ""; return; }
      height = height || Math.round(parseFloat(getComputedStyle(view).getPropertyValue("--row")) * parseFloat(getComputedStyle(document.documentElement).fontSize));
      const first = Math.max(0, Math.floor(view.scrollTop / height) - 6);
      const last = Math.min(shown.length, first + Math.ceil(view.clientHeight / height) + 14);
      const now = `${first}-${last}`;
      if (now === drawn && !force) return;
      drawn = now;
      const lines = shown.slice(first, last).map((row, at) => {
        const line = make("tr", { id: `all-${row}`, className: first + at === active ? "marked" : "" }, ...cells(row));
        line.setAttribute("aria-rowindex", first + at + 2);
        return line;
      });
      body.replaceChildren(pad(first), ...lines, pad(shown.length - last));
      table.setAttribute("aria-rowcount", shown.length + 1);
      if (active >= first && active < last) table.setAttribute("aria-activedescendant", `all-${shown[active]}`);
      else table.removeAttribute("aria-activedescendant");
    }

    function pad(count) {
      const line = make("tr", { className: "pad" }, make("td", { colSpan: columns.length }));
      line.style.height = `${count * height}px`;
      line.setAttribute("aria-hidden", "true");
      return line;
    }

    function filterBy(kept) {
      const row = active < 0 ? -1 : shown[active];
      shown = kept ? ordered.filter((each) => kept[each]) : ordered;
      active = row < 0 ? -1 : shown.indexOf(row);
      draw(true);
    }

    function activate(at) {
      active = Math.min(Math.max(0, at), shown.length - 1);
      const top = active * height;
      const head = table.tHead.offsetHeight;
      if (top < view.scrollTop) view.scrollTop = top;
      else if (top + height + head > view.scrollTop + view.clientHeight) view.scrollTop = top + height + head - view.clientHeight;
      draw(true);
    }

    // What the data says of a row for which the page has no particulars.
    let asked;
    async function tell(row) {
      asked = row;
      one.replaceChildren(make("h4", {}, make("bdi", {}, label(row))));
      one.hidden = false;
      const told = await whole().then(({ of }) => make("dl", { className: "facts" }, ...facts(of(row))), unread);
      if (asked === row) one.append(told);
    }

    function facts(pairs) {
      return pairs.filter(([, value]) => value !== null).map(([name, value]) =>
        make("div", {}, make("dt", {}, name), make("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))));
    }

    view.addEventListener("scroll", () => draw(), { passive: true });
    new ResizeObserver(() => draw()).observe(view);
    new IntersectionObserver((entries) => { near = entries.at(-1).isIntersecting; draw(); }, { rootMargin: "100%" }).observe(view);
    table.addEventListener("keydown", (event) => {
      if (event.target !== table || shown.length === 0) return;
      const page = Math.max(1, Math.floor(view.clientHeight / height) - 2);
      const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }[event.key];
      const to = { Home: 0, End: shown.length - 1 }[event.key] ?? (step === undefined ? undefined : Math.max(active, step > 0 ? -1 : 0) + step);
      if (event.key === "Enter" && active >= 0) go(`row-${ids[shown[active]]}`);
      else if (to !== undefined) activate(to);
      else return;
      event.preventDefault();
    });
    buttons(table, (way) => sortBy(way));

    function sortBy(way) {
      const column = way ? parseInt(way, 10) : -1;
      headed(table, column, Boolean(way) && way.endsWith("d"));
      ordered = way && columns[column] ? sorted(natural, columns[column].value, way.endsWith("d")) : natural;
      filterBy(lastKept);
      view.scrollTop = 0;
    }

    if (lastKept) filterBy(lastKept);
    return {
      table, filterBy, sortBy,
      reveal(row) {
        const at = shown.indexOf(row);
        near = true;
        draw();
        if (at >= 0) activate(at);
        tell(row);
        settle(home);
      },
    };
  }

  // --- filtering: facets and a word ----------------------------------------------------------------------------
  let needles;
  let lastKept = null; // null: every row
  const was = lazily(() => new Uint8Array(catalogue().size).fill(1));

  function keep(wish) {
    const { size, label, facets, workloadOf } = catalogue();
    const kept = new Uint8Array(size).fill(1);
    for (const [name, value] of Object.entries(wish)) {
      if (name === "q") {
        needles ??= Array.from({ length: size }, (_, row) => `${label(row)} ${workloadOf(row)}`.toLowerCase());
        const word = value.toLowerCase();
        for (let row = 0; row < size; row += 1) if (!needles[row].includes(word)) kept[row] = 0;
        continue;
      }
      const { of, code } = facets[name];
      const wished = of.indexOf(value);
      for (let row = 0; row < size; row += 1) if (code(row) !== wished) kept[row] = 0;
    }
    return kept;
  }

  function apply() {
    const { size, facets, workloadOf } = catalogue();
    const before = was();
    const wish = wanted();
    const any = Object.keys(wish).length > 0;
    const kept = keep(wish);
    lastKept = any ? kept : null;
    let count = 0;
    const workloads = new Set();
    for (let row = 0; row < size; row += 1) {
      if (kept[row]) { count += 1; workloads.add(workloadOf(row)); }
      if (kept[row] === before[row]) continue;
      before[row] = kept[row];
      for (const element of about(row)) {
        element.classList.toggle(element.matches(".mark, .slot") ? "off" : "gone", !kept[row]);
      }
    }
    const known = new Set(facets.workload ? facets.workload.of : []);
    for (const element of every("main [data-workload]")) {
      const name = element.dataset.workload;
      element.classList.toggle("off", count > 0 && known.has(name) && !workloads.has(name));
    }
    for (const item of every(".incidents > li:not(.more)")) {
      item.classList.toggle("gone", !item.querySelector(".who:not(.gone)"));
    }
    filter.querySelector(".count").textContent = any ? `${count.toLocaleString("en")} of ${size.toLocaleString("en")} rows` : `${size.toLocaleString("en")} rows`;
    tellFastest(any && count > 0 ? kept : null);
    if (listed) listed.filterBy(lastKept);
  }

  // The fastest ranked row of what the filter keeps, of each workload, so that it is found without a scroll.
  const told = 3;
  function tellFastest(kept) {
    const found = filter.querySelector(".found");
    const { size, ids, label, ranked, workloadOf } = catalogue();
    const latency = figure("latency_ms");
    const first = new Map();
    for (let row = 0; kept && latency && row < size; row += 1) {
      if (!kept[row] || !ranked[row] || Number.isNaN(latency.values[row])) continue;
      const name = workloadOf(row);
      if (!first.has(name) || latency.values[row] < latency.values[first.get(name)]) first.set(name, row);
    }
    found.hidden = !kept || !latency;
    if (found.hidden) { found.replaceChildren(); return; }
    const links = Array.from(first).slice(0, told).map(([name, row]) => {
      const link = make("a", { href: `#row-${ids[row]}` }, make("bdi", {}, label(row)));
      const workload = first.size > 1 ? [make("span", { className: "quiet" }, " on ", make("bdi", {}, name))] : [];
      return make("span", { className: "first" }, link, ` ${digits(latency.values[row])} ms`, ...workload);
    });
    const more = first.size > told ? [`and of ${first.size - told} more workloads`] : [];
    found.replaceChildren(...(links.length ? ["Fastest ranked: ", ...links, ...more] : ["None of them is ranked."]));
  }

  // --- going somewhere -----------------------------------------------------------------------------------------
  let marked = [];
  function mark(row) {
    for (const element of marked) element.classList.remove("marked");
    marked = row === undefined ? [] : about(row).filter((element) => element.matches("tr, details, .mark"));
    for (const element of marked) element.classList.add("marked");
  }

  // What comes near is laid out only then and may move the place: look again until it stays.
  function settle(element, tries = 8) {
    element.scrollIntoView({ behavior: "instant" });
    const top = element.getBoundingClientRect().top;
    requestAnimationFrame(() => {
      if (tries > 0 && Math.abs(element.getBoundingClientRect().top - top) > 1) settle(element, tries - 1);
    });
  }

  function reveal(target, focus) {
    const row = target.startsWith("row-") ? catalogue().rowOf().get(target) : undefined;
    mark(row);
    if (row !== undefined && lastKept && !lastKept[row]) {
      for (const control of controls) control.value = "";
      apply();
      remember(target);
    }
    const element = byId(target);
    if (!element) {
      if (row !== undefined && home) grid().reveal(row);
      return;
    }
    if (element.tagName === "DETAILS") element.open = true;
    for (let fold = element.parentElement.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    settle(element);
    if (!focus) return;
    const stop = element.tagName === "DETAILS" ? element.querySelector("summary") : element;
    if (stop.tabIndex < 0 && !stop.hasAttribute("tabindex")) stop.setAttribute("tabindex", "-1");
    stop.focus({ preventScroll: true });
  }

  function go(target) {
    remember(target, true);
    reveal(target, true);
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute("href").slice(1));
  });

  function restore() {
    const { target, query } = place();
    for (const control of controls) {
      const value = query.get(control.name) || "";
      const known = control.tagName !== "SELECT" || Array.from(control.options, (o) => o.value).includes(value);
      control.value = known ? value : "";
    }
    const asked = new Map(query.getAll("sort").map((word) => word.split(/:(?=\d+[ad]$)/)).filter(([, way]) => way));
    for (const id of new Set([...sorts.keys(), ...asked.keys()])) {
      const way = asked.get(id);
      const all = home && id === "t-all";
      const table = all ? grid().table : byId(id);
      if (sorts.get(id) === way || !table || !table.tHead || (way && parseInt(way, 10) >= table.tHead.rows[0].cells.length)) continue;
      if (all) grid().sortBy(way);
      else arrange(table, way);
      if (way) sorts.set(id, way);
      else sorts.delete(id);
    }
    if (filter && (lastKept || Object.keys(wanted()).length > 0)) apply();
    if (target) reveal(target, false);
  }

  if (filter) {
    const act = () => { apply(); remember(place().target); };
    restore();
    filter.hidden = false;
    filter.open = matchMedia("(min-width: 44.01rem)").matches || Object.keys(wanted()).length > 0;
    filter.addEventListener("input", act);
    filter.querySelector(".clear").addEventListener("click", () => {
      for (const control of controls) control.value = "";
      act();
    });
  }
  window.addEventListener("popstate", restore);

  // --- the rows as a file --------------------------------------------------------------------------------------
  const json = byId("json");
  json.hidden = false;
  json.addEventListener("click", () => whole().then(({ size, of }) => {
    const lines = Array.from({ length: size }, (_, row) => Object.fromEntries(of(row)));
    const url = URL.createObjectURL(new Blob([JSON.stringify(lines, null, 1)], { type: "application/json" }));
    make("a", { href: url, download: json.dataset.name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }, () => json.replaceWith(unread())));

  // --- where the reader is -------------------------------------------------------------------------------------
  const links = new Map(every(".bar ul a").map((link) => [link.getAttribute("href").slice(1), link]));
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
  const bar = document.querySelector(".bar");
  new ResizeObserver(() => {
    const covered = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
    document.documentElement.style.scrollPaddingTop = `${covered + 16}px`;
  }).observe(bar);

  // --- tips: on marks, heads and names, under the pointer and under the keyboard --------------------------------
  const tip = make("div", { id: "tip", hidden: true });
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  let described;

  function said(target) {
    const mark = target.closest(".mark");
    if (mark) return [mark, mark.getAttribute("aria-label")];
    const hinted = target.closest("[data-tip]");
    if (hinted) return [hinted, hinted.dataset.tip];
    const name = target.closest("th.name, .who, .folds summary");
    const owner = name && name.closest("[data-row]");
    return owner ? [name, catalogue().why.text(Number(owner.dataset.row))] : [null, ""];
  }

  function show(words, x, y, from) {
    hide();
    if (!words) return;
    tip.textContent = words;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), innerWidth - box.width - 8);
    const top = y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    if (from) {
      described = from;
      from.setAttribute("aria-describedby", "tip");
    }
  }

  function hide() {
    tip.hidden = true;
    if (described) described.removeAttribute("aria-describedby");
    described = null;
  }

  for (const head of every("main th[title]")) {
    head.dataset.tip = head.title;
    head.removeAttribute("title");
  }
  document.addEventListener("pointermove", (event) => {
    if (!(event.target instanceof Element)) return;
    const [owner, words] = said(event.target);
    if (owner) show(words, event.clientX, event.clientY);
    else if (!described) hide();
  });
  document.addEventListener("focusin", (event) => {
    const [owner, words] = said(event.target);
    if (!owner) { hide(); return; }
    const box = (event.target.querySelector(".dot") || event.target).getBoundingClientRect();
    const mark = owner.matches(".mark");
    show(words, mark ? box.right - 8 : box.left, mark ? box.bottom - 8 : box.bottom - 10, mark ? null : event.target);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // One tab stop a chart, arrow keys from mark to mark.
  loaded.then(() => every(".chart > svg").forEach(reachable));
  function reachable(svg) {
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
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const from = marks.indexOf(document.activeElement);
      if (step === undefined || from < 0) return;
      const kept = marks.filter((mark) => !mark.classList.contains("off"));
      const at = kept.indexOf(marks[from]);
      const next = kept[(at + step + kept.length) % kept.length];
      if (!next) return;
      event.preventDefault();
      marks[from].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }

  // --- print: everything unfolded that is read on paper, folded again afterwards --------------------------------
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = every("main details:not([open]):not(.of-chart):not(.folds.many > details)");
    for (const details of folded) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });

  performance.mark("interactive"); // for who measures: from here on the page answers
  loaded.then(() => (self.requestIdleCallback ?? setTimeout)(catalogue));
})();
