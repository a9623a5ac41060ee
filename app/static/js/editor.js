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
    .replace(/<[a-z][^>]*>/gi, (tag) => tag.replace(/\sstyle\s*=/gi, " data-style="));

  // ── Letters: no style sheet goes with them, so what Quill says by classes is written as styles, and read as such ──
  const LETTER_FORMATS = [
    "align", "blockquote", "bold", "field", "header", "indent", "italic", "link", "list", "picture", "strike", "underline",
  ];
  const CLASS_OF = [
    [/text-align:\s*(center|right|justify)/i, (found) => `ql-align-${found[1].toLowerCase()}`],
    [/padding-left:\s*(\d+)em/i, (found) => `ql-indent-${Math.min(8, Math.round(found[1] / 3))}`],
  ];
  const withClasses = (html) => html.replace(/(<(?:p|h[1-6]|li|blockquote)\b[^>]*?)\sstyle="([^"]*)"/gi, (whole, before, style) => {
    const known = style.split(";").filter((part) => part.trim()).map((part) => {
      const rule = CLASS_OF.find(([sign]) => sign.test(part));
      return rule && rule[1](part.match(rule[0]));
    });
    return known.every(Boolean) ? `${before} class="${known.join(" ")}"` : whole;
  });
  const withStyles = (html) => html
    .replace(/\sclass="([^"]*\bql-[^"]*)"/g, (_, names) => {
      const styles = names.split(/\s+/).map((name) => {
        const [, kind, value] = name.match(/^ql-(align|indent)-(\w+)$/) ?? [];
        if (kind === "align") return `text-align:${value}`;
        return kind ? `padding-left:${value * 3}em` : "";
      });
      return styles.some(Boolean) ? ` style="${styles.filter(Boolean).join(";")}"` : "";
    })
    .replaceAll("<p></p>", "<p><br></p>"); // an empty paragraph has no height in a letter

  // Whether the page to write on can hold all of it: no tables, no styles of somebody's own.
  const TOO_MUCH = /<\/?(?:html|head|body|style|script|link|meta|table|div|center|font|svg|form|section)\b|<!(?!--)/i;
  const HELD = Object.fromEntries("P BR B STRONG I EM U S STRIKE DEL H1 H2 H3 H4 OL UL LI BLOCKQUOTE".split(" ").map((tag) => [tag, []]));
  HELD.A = ["href", "rel", "target"];
  HELD.IMG = ["src", "alt", "width", "height", "data-style"];
  const isHeld = ({ name, value }, tag) => HELD[tag].includes(name) || (name === "class" && /^(ql-(align|indent)-\w+ ?)+$/.test(value));
  const isSimple = (html) => {
    if (TOO_MUCH.test(html)) return false;
    const { body } = new DOMParser().parseFromString(withoutStyles(withClasses(html)), "text/html");
    return [...body.querySelectorAll("*")].every(({ tagName, attributes }) => (
      HELD[tagName] && [...attributes].every((attribute) => isHeld(attribute, tagName))
    ));
  };

  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const quoted = (text) => escaped(text).replaceAll('"', "&quot;");
  const Embed = Quill.import("blots/embed");

  // A merge field, as a chip that can't be torn apart.
  class Field extends Embed {
    static blotName = "field";
    static tagName = "span";
    static className = "ql-field";
    static create(source) {
      const node = super.create();
      node.dataset.field = source;
      node.textContent = source;
      return node;
    }
    static value(node) {
      return node.dataset.field;
    }
    html() {
      return escaped(`{{ ${Field.value(this.domNode)} }}`);
    }
  }
  // A picture of a letter. Those of other sites may not be loaded into this page: they stand there by their names.
  const isOwn = (src) => {
    const url = URL.parse?.(src ?? "", location.href);
    return url?.origin === location.origin && /^\/pictures\/[0-9a-f]{32}\.(?:jpg|png)$/.test(url.pathname);
  };
  const tagOf = (attributes) => `<img${Object.entries(attributes).map(([name, value]) => ` ${name}="${quoted(value)}"`).join("")}>`;
  class Picture extends Embed {
    static blotName = "picture";
    static tagName = "span";
    static className = "ql-picture";
    static create(attributes) {
      const node = super.create();
      node.dataset.picture = JSON.stringify(attributes);
      if (isOwn(attributes.src)) {
        const { src, alt = "" } = attributes;
        node.append(Object.assign(document.createElement("img"), { src, alt }));
      } else node.textContent = attributes.alt || decodeURI(attributes.src ?? "").split("/").pop() || "…";
      return node;
    }
    static value(node) {
      return JSON.parse(node.dataset.picture);
    }
    html() {
      return tagOf(Picture.value(this.domNode));
    }
  }
  Quill.register({ "formats/field": Field, "formats/picture": Picture });

  const FIELD = /(\{\{[^{}]*\}\})/;
  const readFields = (_node, delta) => delta.reduce((read, op) => {
    if (typeof op.insert !== "string") return read.push(op);
    for (const part of op.insert.split(FIELD).filter(Boolean)) {
      read.insert(FIELD.test(part) ? { field: part.slice(2, -2).trim() } : part, op.attributes);
    }
    return read;
  }, new Delta());
  const readPicture = (image, delta) => {
    const names = ["src", "alt", "width", "height"].filter((name) => image.hasAttribute(name));
    const attributes = Object.fromEntries(names.map((name) => [name, image.getAttribute(name)]));
    if (image.dataset.style) attributes.style = image.dataset.style;
    return new Delta().insert({ picture: attributes }, delta.ops[0]?.attributes);
  };

  class StylelessClipboard extends Clipboard {
    convertHTML(html) {
      if (this.options.letter) return super.convertHTML(withoutStyles(withClasses(html)));
      return super.convertHTML(withoutStyles(html).replace(/<(\/?)h1\b/gi, "<$1h2")); // the page's own h1 is the title
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

  // Put into a plain field, where its caret is or was.
  const insertText = (input, text) => {
    input.setRangeText(text, input.selectionStart, input.selectionEnd, "end");
    input.focus();
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  document.addEventListener("editor:insert", ({ target, detail }) => {
    if (target.matches("input, textarea")) insertText(target, `{{ ${detail} }}`);
  });

  // What people type for an address, as an address.
  const address = (text) => {
    text = text.trim();
    if (!text || /^([a-z][a-z+.-]*:|[/#]|\{\{)/i.test(text)) return text;
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
    const isLetter = "letter" in words;

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
        if (isLetter) {
          say(words.uploaded);
          return await editPicture(index, null, { ...STYLED, src, width: String(width), alt });
        }
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

    // In a letter: by its whole address, for it has to be there for whoever opens the letter. One that was just uploaded
    // stays also when nobody says what it shows. Gives the place after it.
    const STYLED = { style: "max-width:100%;height:auto" };
    const editPicture = async (index, blot = null, uploaded = null) => {
      const dialog = document.getElementById("picture-dialog");
      const [source, alt] = [dialog.querySelector("#picture-address"), dialog.querySelector("#picture-alt")];
      const shown = dialog.querySelector("#picture-shown");
      const known = uploaded ?? (blot ? Picture.value(blot.domNode) : STYLED);
      [source.value, alt.value] = [known.src ?? "", known.alt ?? ""];
      shown.hidden = !isOwn(known.src);
      if (!shown.hidden) shown.src = known.src;
      dialog.querySelector("[data-answer=remove]").hidden = !blot && !uploaded;
      dialog.querySelector("[data-answer=upload]").hidden = Boolean(blot ?? uploaded);
      if (known.src) setTimeout(() => alt.focus());
      const caret = [textarea.selectionStart, textarea.selectionEnd]; // gone when the dialog gives the focus back
      let answer = await ask(dialog);
      if (answer === "upload") choosePictures(index);
      if (uploaded && !answer) answer = "done";
      if (!answer || answer === "upload") return index;
      const src = answer === "remove" ? "" : address(source.value);
      const picture = { ...known, src, alt: alt.value.trim() };
      if (page.hidden) {
        textarea.setSelectionRange(...caret);
        if (src) insertText(textarea, tagOf(picture));
        return index;
      }
      const at = blot ? quill.getIndex(blot) : Math.min(index, quill.getLength() - 1);
      const change = new Delta().retain(at);
      if (blot) change.delete(1);
      if (src) change.insert({ picture });
      quill.updateContents(change, "user");
      const after = answer === "remove" ? at : at + 1;
      quill.setSelection(after, 0);
      return after;
    };

    const choosePictures = (index) => {
      const input = document.createElement("input");
      input.type = "file";
      input.multiple = true;
      input.accept = PICTURES.join(",");
      input.addEventListener("change", () => uploadAll({ index }, [...input.files]));
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
      formats: isLetter ? LETTER_FORMATS : FORMATS,
      modules: {
        toolbar: {
          container: toolbar,
          handlers: {
            image: () => {
              const index = page.hidden ? 0 : quill.getSelection(true).index;
              if (isLetter) editPicture(index);
              else choosePictures(index);
            },
            link: editLink,
            undo: () => quill.history.undo(),
            redo: () => quill.history.redo(),
          },
        },
        uploader: { mimetypes: PICTURES, handler: uploadAll },
        clipboard: {
          letter: isLetter,
          matchers: [
            ["img", isLetter ? readPicture : keepOwn],
            ["span[data-style]", readStyle],
            ["script, noscript, title", () => new Delta()],
            ...(isLetter ? [[Node.TEXT_NODE, readFields]] : []),
          ],
        },
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
    const written = () => quill.getSemanticHTML().replaceAll("&nbsp;", " ");
    const html = () => (quill.getLength() < 2 ? "" : isLetter ? withStyles(written()) : written());
    const load = () => {
      quill.setContents(quill.clipboard.convert({ html: textarea.value }), "silent");
      quill.history.clear();
    };
    const tell = () => textarea.dispatchEvent(new Event("input", { bubbles: true }));

    const keepsSource = isLetter && !isSimple(textarea.value);
    if (!keepsSource) load();
    quill.on("text-change", () => {
      textarea.value = html();
      tell();
    });
    quill.root.addEventListener("click", ({ target }) => {
      if (target.tagName === "IMG") describe(quill.getIndex(Quill.find(target)));
      const picture = target.closest(".ql-picture");
      if (picture) editPicture(0, Quill.find(picture));
    });
    if (isLetter) {
      // Who pastes a whole letter wants it as it is.
      quill.root.addEventListener("paste", (event) => {
        const pasted = event.clipboardData?.getData("text/html") ?? "";
        if (quill.getLength() > 1 || !/<table\b/i.test(pasted)) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        textarea.value = pasted.replace(/^[^]*<!--StartFragment-->|<!--EndFragment-->[^]*$/g, "").trim();
        showSource(true);
        say(words.keptSource);
        tell();
      }, true);
      root.addEventListener("editor:insert", ({ detail }) => {
        if (!source.hidden) return insertText(textarea, `{{ ${detail} }}`);
        const { index } = quill.getSelection(true);
        quill.insertEmbed(index, "field", detail, "user");
        quill.setSelection(index + 1, 0);
      });
    }

    const { root: paper } = quill;
    paper.setAttribute("role", "textbox");
    paper.setAttribute("aria-multiline", "true");
    paper.setAttribute("aria-labelledby", `${textarea.id}-label`);
    paper.setAttribute("aria-describedby", textarea.getAttribute("aria-describedby"));
    paper.setAttribute("aria-invalid", String(textarea.classList.contains("is-invalid")));
    root.querySelector("label").addEventListener("click", () => quill.focus());

    // ── HTML, for those who want it ──
    if (isLetter) {
      const pictures = (files) => [...(files ?? [])].filter(({ type }) => PICTURES.includes(type));
      for (const [kind, its] of [["paste", "clipboardData"], ["drop", "dataTransfer"]]) {
        textarea.addEventListener(kind, (event) => {
          const files = pictures(event[its]?.files);
          if (!files.length) return;
          event.preventDefault();
          uploadAll({ index: 0 }, files);
        });
      }
    }
    const sourceSwitch = root.querySelector("[data-editor-source-switch]");
    const showSource = async (wanted) => {
      if (!wanted && isLetter && !isSimple(textarea.value)) {
        if ((await ask(document.getElementById("simplify-dialog"))) !== "done") return;
        load();
        textarea.value = html();
        tell();
      } else if (!wanted) load();
      say("");
      source.hidden = !wanted;
      page.hidden = wanted;
      for (const button of toolbar.querySelectorAll("[data-label]")) button.disabled = wanted && !(isLetter && button.matches(".ql-image"));
      sourceSwitch.setAttribute("aria-pressed", String(wanted));
    };
    sourceSwitch.addEventListener("click", () => showSource(source.hidden));
    frame.hidden = false;
    source.hidden = true;
    if (keepsSource) {
      showSource(true);
      say(words.keptSource);
    }
  };

  const startAll = () => document.querySelectorAll("[data-editor]").forEach((root) => started.has(root) || start(root));
  startAll();
  document.addEventListener("htmx:after:swap", startAll);
})();
