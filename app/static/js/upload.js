// golubUpload(url, file, onPercent): sends one picture, resolves with what the server says about it. A refusal rejects
// with the server's own sentence, a lost connection with an empty one.
globalThis.golubUpload = (url, file, onPercent = () => {}) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  const body = new FormData();
  body.append("picture", file);
  request.open("POST", url);
  request.responseType = "json";
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", document.querySelector("input[name=csrf_token]")?.value ?? "");
  request.upload.addEventListener("progress", ({ loaded, total }) => onPercent(Math.round((loaded / total) * 100)));
  request.addEventListener("load", () => {
    if (request.status === 201) resolve(request.response);
    else reject(new Error(request.response?.error ?? ""));
  });
  request.addEventListener("error", () => reject(new Error("")));
  request.send(body);
});
