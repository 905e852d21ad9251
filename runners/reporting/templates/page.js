"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const make = (tag, className = "", text = "") => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  };

  // -- theme: the system's, until the reader chooses one --------------------------------------------------
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  find("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  });

  if (!find("data")) return;
  const runs = JSON.parse(find("data").textContent).runs;
  const state = { run: 0, shown: [], place: 0, own: null, stage: null };
  find("explorer").hidden = false;

  // -- what a text is ---------------------------------------------------------------------------------------
  const words = (text) => text.sequences
    .map((sequence) => sequence.text.map((token, place) => (sequence.spaced[place] ? " " : "") + token).join(""))
    .join(" ");
  const outcome = (text) => {
    if (text.score === null) return "";
    return text.score >= 99.995 ? "right" : text.score > 0 ? "partly" : "wrong";
  };
  const OUTCOMES = { right: "✓ right", partly: "≈ partly right", wrong: "✗ wrong", "": "" };
  const snippet = (text, run) => {
    const special = run.names.part.indexOf("special tokens");
    const first = text.sequences[0];
    const own = first.text.map((token, place) => (first.part[place] === special ? "" : (first.spaced[place] ? " " : "") + token));
    return own.join("").trim().slice(0, 110);
  };
  const fits = (text, filter, wanted) => {
    if (filter === "changed" ? text.predicted === text.unreduced : filter !== "all" && outcome(text) !== filter) return false;
    if (!wanted) return true;
    text.words = text.words || [text.id, words(text), text.gold, text.predicted].join("\n").toLowerCase();
    return text.words.includes(wanted);
  };

  // -- the list and the controls ---------------------------------------------------------------------------
  const select = () => {
    const filter = find("filter").value, wanted = find("search").value.trim().toLowerCase();
    state.shown = runs[state.run].texts.filter((text) => fits(text, filter, wanted));
    state.place = 0;
    const run = runs[state.run];
    find("list").replaceChildren(...state.shown.map((text, place) => {
      const item = make("li"), button = make("button");
      button.type = "button";
      button.append(make("span", "snippet", snippet(text, run)));
      const notes = [OUTCOMES[outcome(text)], text.speedup.toFixed(1) + "×", text.predicted === text.unreduced ? "" : "changed"];
      button.append(make("span", "state", notes.filter(Boolean).join(" · ")));
      button.addEventListener("click", () => go(place));
      item.append(button);
      return item;
    }));
    go(0);
  };
  const go = (place) => {
    state.own = null;
    state.place = Math.max(0, Math.min(place, state.shown.length - 1));
    draw();
  };

  // -- one text ----------------------------------------------------------------------------------------------
  // Three shades lie between those of the first and the last stage, however many stages there are.
  const shade = (share) => (share < 0.42 ? "l33" : share < 0.58 ? "l50" : "l67");
  const level = (stop, run) => {
    const end = run.layers.length - 1;
    return stop === 0 ? "l0" : stop === end ? "l100" : shade(stop / end);
  };
  const last = (stop, run) => run.places[stop];

  const drawKey = (run) => {
    find("stages").replaceChildren(...run.layers.map((layer, stop) => {
      const button = make("button", level(stop, run), last(stop, run));
      button.type = "button";
      button.setAttribute("aria-pressed", String(state.stage === stop));
      button.addEventListener("click", () => {
        state.stage = state.stage === stop ? null : stop;
        draw();
        find("stages").children[stop].focus();
      });
      return button;
    }));
  };
  const drawAnswers = (text, run) => {
    const stops = text.sequences.flatMap((sequence) => sequence.stop);
    const counts = run.layers.map((_, stage) => stops.filter((stop) => stop >= stage).length);
    const rows = [["gold", text.gold], ["predicted", [text.predicted, OUTCOMES[outcome(text)]].filter(Boolean).join("  ")]];
    if (text.unreduced !== text.predicted) rows.push(["with all tokens", text.unreduced]);
    rows.push(["tokens", counts.join(" → ") + ", " + text.speedup.toFixed(2) + "× fewer FLOPs"]);
    find("answers").replaceChildren(...rows.filter(([, value]) => value !== null).flatMap(([name, value]) => [
      make("dt", "", name), make("dd", name === "tokens" ? "" : "strong", value),
    ]));
  };
  // Neighbours that stop at one layer, with the same marks, are one stretch: the space between them is theirs.
  const alike = (sequence, one, other) => ["stop", "marks"].every((name) => sequence[name][one] === sequence[name][other]);
  const joined = (sequence, place) => place > 0 && place < sequence.text.length
    && (!sequence.spaced[place] || alike(sequence, place - 1, place));
  const drawToken = (sequence, place, names, run) => {
    const part = names.part[sequence.part[place]], kind = names.kind[sequence.kind[place]], stop = sequence.stop[place];
    const marks = sequence.marks[place];
    const space = sequence.spaced[place] && joined(sequence, place) ? " " : "";
    const element = make("span", "token " + level(stop, run), space + sequence.text[place]);
    if (joined(sequence, place)) element.classList.add("joined");
    if (joined(sequence, place + 1)) element.classList.add("open");
    if (part === "special tokens") element.classList.add("special");
    if (marks & 1) element.classList.add("gold");
    if (marks & 2) element.classList.add("predicted");
    if (stop === state.stage) element.classList.add("chosen");
    element.title = [last(stop, run), part, kind === part ? "" : kind.replace(/s$/, "")].filter(Boolean).join(", ");
    if (find("digits").checked && stop < run.layers.length - 1) element.append(make("sub", "", String(run.layers[stop])));
    return element;
  };
  const drawTokens = (text, run, names) => {
    const paragraphs = [];
    text.sequences.forEach((sequence, number) => {
      if (text.sequences.length > 1) paragraphs.push(make("p", "sequence", "sequence " + (number + 1) + " of " + text.sequences.length));
      const paragraph = make("p");
      sequence.text.forEach((_, place) => {
        if (sequence.spaced[place] && !joined(sequence, place)) paragraph.append(" ");
        paragraph.append(drawToken(sequence, place, names, run));
      });
      paragraphs.push(paragraph);
    });
    find("tokens").className = state.stage === null ? "" : "dim";
    find("tokens").replaceChildren(...paragraphs);
  };
  const draw = () => {
    const run = runs[state.run], text = state.own || state.shown[state.place], there = Boolean(text);
    find("nothing").hidden = there;
    find("text").hidden = !there;
    find("position").textContent = state.shown.length ? state.place + 1 + " of " + state.shown.length : "none";
    find("previous").disabled = state.place <= 0;
    find("next").disabled = state.place >= state.shown.length - 1;
    [...find("list").querySelectorAll("button")].forEach((button, place) => {
      const current = !state.own && place === state.place;
      button.setAttribute("aria-current", String(current));
      const list = find("list");
      if (current && (button.offsetTop < list.scrollTop || button.offsetTop + button.offsetHeight > list.scrollTop + list.clientHeight))
        list.scrollTop = button.offsetTop - list.clientHeight / 3;
    });
    if (!there) return;
    find("text-id").textContent = state.own ? "your own text" : text.id;
    drawKey(run);
    drawAnswers(text, run);
    drawTokens(text, run, state.own ? text.names : run.names);
  };

  find("filter").addEventListener("change", select);
  find("search").addEventListener("input", select);
  find("digits").addEventListener("change", draw);
  find("previous").addEventListener("click", () => go(state.place - 1));
  find("next").addEventListener("click", () => go(state.place + 1));
  find("run").addEventListener("change", () => {
    state.run = Number(find("run").value);
    state.stage = null;
    drawFields();
    select();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "ArrowRight") go(state.place + 1);
    else if (event.key === "ArrowLeft") go(state.place - 1);
    else if (event.key === "/") {
      event.preventDefault();
      find("search").focus();
    }
  });

  // -- own text, where a server runs the model --------------------------------------------------------------
  const drawFields = () => {
    if (!find("own")) return;
    find("own-fields").replaceChildren(...runs[state.run].fields.map((field) => {
      const label = make("label", "", field.label), input = make(field.lines > 1 ? "textarea" : "input");
      if (field.hint) label.append(" ", make("small", "", "(" + field.hint + ")"));
      input.name = field.name;
      input.required = field.required;
      if (field.lines > 1) input.rows = field.lines;
      label.append(input);
      return label;
    }));
  };
  const tell = (message, error = false) => {
    find("own-state").textContent = message;
    find("own-state").className = error ? "error" : "";
  };
  const runOwn = async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(find("own")));
    tell("running…");
    try {
      const answer = await fetch("texts", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ run: state.run, values }),
      });
      const found = await answer.json();
      if (found.error) return tell(found.error, true);
      state.own = found;
      tell("predicted: " + found.predicted);
      draw();
      find("text").scrollIntoView({ block: "nearest" });
    } catch (error) {
      tell("the server cannot be reached: is report.py --serve still running?", true);
    }
  };
  if (find("own")) find("own").addEventListener("submit", runOwn);
  drawFields();
  select();
})();
