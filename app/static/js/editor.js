// [data-editor]: its textarea becomes a page to write on (Quill). The textarea keeps the HTML, and tells of each change
// by an `input` event of its own, so whatever listens to the form hears it. Words stand in data attributes.
(() => {
  const FORMATS = [
    "align", "blockquote", "bold", "code", "code-block", "header", "image", "indent", "italic", "link", "list",
    "strike", "underline",
  ];
  const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
  const Delta = Quill.import("delta");
  const Clipboard = Quill.import("modules/clipboard");
  const started = new WeakSet();

  // What is pasted has style attributes, which our Content-Security-Policy refuses loudly. So they get another name
  // before anything parses them, and what they say about the letters is read from there.
  const withoutStyles = (html) => html
    .replace(/<b\b([^>]*font-weight:\s*normal)/gi, "<span$1") // the frame in which Google Docs puts everything
    .replace(/<(\/?)h1\b/gi, "<$1h2") // the page's own h1 is the title
    .replace(/<[a-z][^>]*>/gi, (tag) => tag.replace(/\sstyle\s*=/gi, " data-style="));
  class StylelessClipboard extends Clipboard {
    convertHTML(html) {
      return super.convertHTML(withoutStyles(html));
    }
  }
  Quill.register("modules/clipboard", StylelessClipboard, true);

  const STYLES = [
    [/font-weight:\s*(bold|[6-9]00)/i, { bold: true }],
    [/font-style:\s*italic/i, { italic: true }],
    [/text-decoration[^;]*:[^;]*line-through/i, { strike: true }],
    [/text-decoration[^;]*:[^;]*underline/i, { underline: true }],
  ];
  const readStyle = (node, delta) => {
    const formats = Object.assign({}, ...STYLES.filter(([sign]) => sign.test(node.dataset.style)).map(([, format]) => format));
    return delta.compose(new Delta().retain(delta.length(), formats));
  };

  const filled = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

  // A question in one of the dialogs: resolves with what the button says, empty for Escape. Enter means "done".
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("dialog [data-answer]");
    button?.closest("dialog").close(button.dataset.answer);
  });
  const ask = (dialog) => new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    dialog.showModal();
  });

  // What people type for an address, as an address.
  const address = (text) => {
    text = text.trim();
    if (!text || /^([a-z][a-z+.-]*:|[/#])/i.test(text)) return text;
    return /^[^\s/@]+@[^\s/@]+$/.test(text) ? `mailto:${text}` : `https://${text}`;
  };

  const start = (root) => {
    started.add(root);
    const textarea = root.querySelector("textarea");
    const frame = root.querySelector("[data-editor-frame]");
    const page = root.querySelector("[data-editor-page]");
    const toolbar = root.querySelector("[data-editor-toolbar]");
    const source = root.querySelector("[data-editor-source]");
    const status = root.querySelector("[data-editor-status]");
    const words = root.dataset;

    const say = (text, isBad = false) => {
      status.textContent = text;
      status.classList.toggle("is-bad", isBad);
    };

    // ── Pictures: ours stay, those of other sites can't ──
    const ownPath = (image) => {
      const url = new URL(image.getAttribute("src") ?? "", location.href);
      return url.origin === location.origin && url.pathname.startsWith(words.ownPictures) ? url.pathname : null;
    };
    const keepOwn = (image, delta) => {
      const path = ownPath(image);
      if (!path) {
        say(words.foreign, true);
        return new Delta();
      }
      return new Delta().insert({ image: path }, delta.ops[0]?.attributes);
    };

    const describe = async (index) => {
      const [image] = quill.getLeaf(index + 1);
      const node = image?.domNode;
      if (node?.tagName !== "IMG") return;
      const dialog = document.getElementById("alt-dialog");
      const text = dialog.querySelector("#alt-text");
      const shown = dialog.querySelector("#alt-picture");
      shown.src = node.getAttribute("src");
      shown.hidden = false;
      text.value = node.getAttribute("alt") ?? "";
      const answer = await ask(dialog);
      const at = quill.getIndex(image);
      if (answer === "remove") quill.deleteText(at, 1, "user");
      else quill.formatText(at, 1, "alt", text.value.trim(), "user");
      quill.setSelection(answer === "remove" ? at : at + 1, 0);
    };

    const upload = async (index, file) => {
      if (file.size > Number(words.largest)) {
        say(filled(words.tooLarge, { name: file.name }), true);
        return index;
      }
      const progress = (percent) => say(filled(words.uploading, { name: file.name, percent }));
      progress(0);
      try {
        const { src, width, height, alt } = await golubUpload(words.uploadUrl, file, progress);
        const at = Math.min(index, quill.getLength() - 1);
        quill.updateContents(new Delta().retain(at).insert({ image: src }, { width, height, alt }), "user");
        say(words.uploaded);
        await describe(at);
        return at + 1;
      } catch (error) {
        say(error.message || filled(words.failed, { name: file.name }), true);
        return index;
      }
    };
    // One after the other: each asks for its words.
    const uploadAll = async (range, files) => {
      let index = range.index;
      for (const file of files) index = await upload(index, file);
    };

    const choosePictures = () => {
      const range = quill.getSelection(true);
      const input = document.createElement("input");
      input.type = "file";
      input.multiple = true;
      input.accept = PICTURES.join(",");
      input.addEventListener("change", () => uploadAll(range, [...input.files]));
      input.click();
    };

    const editLink = async () => {
      const range = quill.getSelection(true);
      const [leaf] = quill.getLeaf(range.index + (range.length ? 1 : 0));
      const link = leaf?.domNode.parentElement?.closest("a");
      const dialog = document.getElementById("link-dialog");
      const input = dialog.querySelector("#link-address");
      input.value = link?.getAttribute("href") ?? "";
      dialog.querySelector("[data-answer=remove]").hidden = !link;
      const answer = await ask(dialog);
      const found = link && Quill.find(link);
      const [at, length] = found && !range.length ? [quill.getIndex(found), found.length()] : [range.index, range.length];
      quill.setSelection(at, length);
      const href = answer === "remove" ? "" : address(input.value);
      if (!answer) return;
      if (length) quill.formatText(at, length, "link", href || false, "user");
      else if (href) quill.insertText(at, href, "link", href, "user");
    };

    // ── The page ──
    const quill = new Quill(page, {
      formats: FORMATS,
      modules: {
        toolbar: {
          container: toolbar,
          handlers: {
            image: choosePictures,
            link: editLink,
            undo: () => quill.history.undo(),
            redo: () => quill.history.redo(),
          },
        },
        uploader: { mimetypes: PICTURES, handler: uploadAll },
        clipboard: { matchers: [["img", keepOwn], ["span[data-style]", readStyle], ["script, noscript, title", () => new Delta()]] },
        // The Tab key leads on, as everywhere: nobody shall be caught in the text.
        keyboard: {
          bindings: Object.fromEntries(
            ["tab", "indent", "outdent", "indent code-block", "outdent code-block", "remove tab"].map((name) => [name, null]),
          ),
        },
      },
    });
    for (const button of toolbar.querySelectorAll("[data-label]")) button.setAttribute("aria-label", button.dataset.label);

    // Quill writes &nbsp; for each blank; those that were typed as such are characters, and stay.
    const html = () => (quill.getLength() < 2 ? "" : quill.getSemanticHTML().replaceAll("&nbsp;", " "));
    const load = () => {
      quill.setContents(quill.clipboard.convert({ html: textarea.value }), "silent");
      quill.history.clear();
    };
    const tell = () => textarea.dispatchEvent(new Event("input", { bubbles: true }));

    load();
    quill.on("text-change", () => {
      textarea.value = html();
      tell();
    });
    quill.root.addEventListener("click", ({ target }) => {
      if (target.tagName === "IMG") describe(quill.getIndex(Quill.find(target)));
    });

    const { root: paper } = quill;
    paper.setAttribute("role", "textbox");
    paper.setAttribute("aria-multiline", "true");
    paper.setAttribute("aria-labelledby", `${textarea.id}-label`);
    paper.setAttribute("aria-describedby", textarea.getAttribute("aria-describedby"));
    paper.setAttribute("aria-invalid", String(textarea.classList.contains("is-invalid")));
    root.querySelector("label").addEventListener("click", () => quill.focus());

    // ── HTML, for those who want it ──
    const sourceSwitch = root.querySelector("[data-editor-source-switch]");
    const showSource = (wanted) => {
      if (!wanted) load();
      source.hidden = !wanted;
      page.hidden = wanted;
      for (const button of toolbar.querySelectorAll("[data-label]")) button.disabled = wanted;
      sourceSwitch.setAttribute("aria-pressed", String(wanted));
    };
    sourceSwitch.addEventListener("click", () => showSource(source.hidden));
    frame.hidden = false;
    source.hidden = true;
  };

  const startAll = () => document.querySelectorAll("[data-editor]").forEach((root) => started.has(root) || start(root));
  startAll();
  document.addEventListener("htmx:after:swap", startAll);
})();
