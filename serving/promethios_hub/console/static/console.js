// Keys and a live count. Everything works without this file, by links and buttons.
"use strict";

document.documentElement.classList.add("js");

const typing = () => /^(input|textarea|select)$/i.test(document.activeElement?.tagName ?? "");
const links = [...document.querySelectorAll("[data-queue] a")];

function step(by) {
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
}

function open(name) {
  const details = document.getElementById(name);
  details.open = true;
  details.querySelector("input[type=radio], textarea").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return document.activeElement?.blur();
  if (typing()) return;
  const button = document.querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
  if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") document.querySelector("input[type=search]")?.focus();
  else if (button) button.click();
  else return;
  event.preventDefault();
});

for (const button of document.querySelectorAll("button[data-open]"))
  button.addEventListener("click", () => open(button.dataset.open));

// A form is sent once: a second click would meet a review that has changed.
for (const form of document.querySelectorAll("form[method=post]"))
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });

const count = document.querySelector("[data-open-count]");
if (count)
  setInterval(async () => {
    const reply = await fetch("/console/count").catch(() => null);
    if (!reply?.ok || reply.redirected) return;
    const now = await reply.json();
    if (count.textContent === String(now.open)) return;
    count.textContent = now.open;
    document.title = document.title.replace(/^\d+/, now.open);
  }, 10_000);
