"use strict";
const part = (id) => document.getElementById(id);
const log = part("log"), question = part("question"), status = part("status");
const secret = document.querySelector('meta[name="page-secret"]').content;
const remembers = document.body.dataset.remembers === "yes";
let messages = [], asking = null;

function turn(kind, title) {
  const empty = log.querySelector(".empty");
  if (empty) empty.remove();
  const box = document.createElement("article");
  const head = document.createElement("h2");
  const said = document.createElement("div");
  box.className = "turn " + kind;
  head.textContent = title;
  said.className = "said";
  box.append(head, said);
  log.append(box);
  box.scrollIntoView({ block: "end" });
  return said;
}

function asked() {
  const body = { messages: [...messages] };
  const system = part("system");
  if (system && system.value.trim()) body.messages.unshift({ role: "system", content: system.value });
  for (const name of ["temperature", "top_p", "max_new_tokens"]) {
    if (part(name).value !== "") body[name] = Number(part(name).value);
  }
  return body;
}

function busy(on) {
  part("send").disabled = on;
  part("again").disabled = on;
  part("stop").disabled = !on;
  log.setAttribute("aria-busy", String(on));
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const whole = text.split("\n\n");
    text = whole.pop();
    for (const event of whole) yield JSON.parse(event.slice("data: ".length));
  }
}

async function answer(said) {
  const response = await fetch("answer", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Page-Secret": secret },
    body: JSON.stringify(asked()),
    signal: asking.signal,
  });
  if (!response.ok) throw new Error((await response.json()).error);
  let last = null;
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error);
    if (event.text !== undefined) said.textContent += event.text;
    else last = event;
    said.scrollIntoView({ block: "end" });
  }
  return last;
}

const ENDS = { stop: "", length: ", cut off: it is as long as allowed", user: ", stopped" };

async function ask() {
  const text = question.value;
  if (!text.trim() || asking) return;
  question.value = "";
  if (!remembers) messages = [];
  messages.push({ role: "user", content: text });
  turn("user", "You").textContent = text;
  const said = turn("model", "Model");
  asking = new AbortController();
  busy(true);
  status.textContent = "The model answers";
  const began = performance.now();
  try {
    const end = await answer(said);
    const seconds = (performance.now() - began) / 1000;
    status.textContent = end ? `${end.tokens} tokens in ${seconds.toFixed(1)} s${ENDS[end.end] || ""}` : "The server is gone";
    messages.push({ role: "assistant", content: said.textContent });
  } catch (error) {
    if (error.name === "AbortError") {
      status.textContent = "Stopped";
      messages.push({ role: "assistant", content: said.textContent });
    } else {
      messages.pop();
      said.closest(".turn").remove();
      turn("wrong", "Not answered").textContent = error.message;
      status.textContent = "";
    }
  }
  asking = null;
  busy(false);
  question.focus();
}

part("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
});
part("stop").addEventListener("click", () => { if (asking) asking.abort(); });
part("again").addEventListener("click", () => {
  messages = [];
  log.replaceChildren();
  status.textContent = "A new conversation";
  question.focus();
});
